// One document over one stock WebsocketProvider, and what to think of its state.
// It must never go on knocking after the server has said no, and never take a lost network for a refusal.

import { WebsocketProvider } from "y-websocket";
import * as Y from "yjs";
import * as decoding from "lib0/decoding";
import * as encoding from "lib0/encoding";

import type { PageConfig, Session } from "./session";
import { ACK_SUBPROTOCOL, Stored } from "./stored";

export type ConnectionState =
  | { phase: "connecting" }
  | { phase: "live" }
  | { phase: "offline" }
  | { phase: "refused"; code: number | null; reason: string };

const MESSAGE_SYNC = 0;
const SYNC_STEP_1 = 0;
const MESSAGE_AUTH = 2; // y-protocols auth.js: permission denied, then a reason
const MESSAGE_RENEW = 122; // our own: a newer token for this seat, answered with
const MESSAGE_RENEWED = 123; // when the seat ends now
const TOKEN_REFUSED = 4401;
const GRACE_AFTER_DENIAL_MS = 1_000; // a server that denies also closes; one that does not is left by us

export class Connection {
  readonly doc = new Y.Doc();
  readonly text = this.doc.getText("content");
  readonly provider: WebsocketProvider;
  readonly stored: Stored;
  state: ConnectionState = { phase: "connecting" };
  /** What the server last said we may do here. */
  role: string;

  private denial: string | null = null;
  private renewed = false;
  private renewing = false;

  constructor(
    config: PageConfig,
    private readonly session: Session,
    private readonly changed: () => void,
    storedChanged: () => void,
  ) {
    this.role = session.role;
    this.provider = new WebsocketProvider(config.websocket_url, session.document, this.doc, {
      params: session.params,
      protocols: [ACK_SUBPROTOCOL],
      disableBc: true, // tabs of one browser would else talk past the server, and past its roles
      shouldReconnect: (event) => this.denial === null && !(event.code >= 4400 && event.code < 4500),
      connect: false,
    });
    this.stored = new Stored(this.provider, storedChanged);
    this.listen();
    session.keepFresh(() => this.bring());
    this.provider.connect();
  }

  get writes(): boolean {
    return this.role === "editor" || this.role === "owner";
  }

  end(): void {
    this.session.end();
    this.provider.destroy();
    this.doc.destroy();
  }

  private listen(): void {
    const { provider } = this;
    provider.on("sync", (synced) => {
      if (!synced) return;
      this.renewed = false;
      if (this.denial !== null) this.becomes("viewer"); // the seat is ours: the document is frozen
      this.denial = null;
      this.become({ phase: "live" });
    });
    provider.on("connection-close", () => {
      this.renewing = false;
      if (this.state.phase !== "refused") this.become({ phase: "offline" });
    });
    provider.on("closed", ({ code, reason }) => void this.refused(code, reason));
    provider.messageHandlers[MESSAGE_AUTH] = (_encoder, decoder) => this.denied(decoder);
    provider.messageHandlers[MESSAGE_RENEWED] = (_encoder, decoder) => {
      decoding.readVarUint(decoder);
      this.renewing = false;
    };
    const synchronise = provider.messageHandlers[MESSAGE_SYNC]!;
    provider.messageHandlers[MESSAGE_SYNC] = (encoder, decoder, ...rest) => {
      // The server asks those for what they have who may write.
      if (decoding.peekVarUint(decoder) === SYNC_STEP_1 && !this.writes) this.becomes("editor");
      synchronise(encoder, decoder, ...rest);
    };
    const { awareness } = provider;
    // Our own state comes back with a newer clock only when the server has changed it: our role here is another now.
    awareness.on("change", ({ updated }: { updated: number[] }, origin: unknown) => {
      if (origin !== provider || !updated.includes(awareness.clientID)) return;
      const user = awareness.getLocalState()?.["user"] as { role?: unknown } | undefined;
      if (typeof user?.role === "string") this.becomes(user.role);
    });
  }

  private becomes(role: string): void {
    if (role === this.role) return;
    this.role = role;
    this.changed();
  }

  /** Brings the new token to the open seat, which would else end with the old one, and to the connections after it. */
  private bring(): void {
    this.provider.params = this.session.params;
    const { token } = this.session.params;
    if (token === undefined || !this.provider.wsconnected) return;
    const encoder = encoding.createEncoder();
    encoding.writeVarUint(encoder, MESSAGE_RENEW);
    encoding.writeVarString(encoder, token);
    this.renewing = true;
    this.provider.ws?.send(encoding.toUint8Array(encoder));
  }

  private denied(decoder: decoding.Decoder): void {
    decoding.readVarUint(decoder); // the only kind there is: permission denied
    const reason = decoding.readVarString(decoder);
    if (this.state.phase === "live") {
      // Of what we tried, not of the seat, which would be closed: a token, or to write.
      if (!this.renewing && this.writes) this.becomes("viewer");
      return;
    }
    this.denial = reason;
    const socket = this.provider.ws;
    window.setTimeout(() => {
      if (this.provider.ws !== socket || socket === null || this.denial === null) return;
      this.provider.disconnect();
      void this.refused(null, "");
    }, GRACE_AFTER_DENIAL_MS);
  }

  private async refused(code: number | null, reason: string): Promise<void> {
    const shown = this.denial ?? reason;
    this.denial = null;
    if (code === TOKEN_REFUSED && this.session.canRenew && !this.renewed && (await this.signedInAgain())) return;
    this.provider.disconnect();
    this.become({ phase: "refused", code, reason: shown });
  }

  /** One silent attempt to come back with a new token: the usual end of a token that ran out while asleep. */
  private async signedInAgain(): Promise<boolean> {
    this.renewed = true;
    try {
      await this.session.renew();
    } catch {
      return false;
    }
    this.provider.params = this.session.params;
    this.provider.connect();
    return true;
  }

  private become(state: ConnectionState): void {
    if (state.phase === this.state.phase) return;
    this.state = state;
    this.changed();
  }
}
