// Whether everything written in this tab is stored: the server counts what is durable, this counts what was sent.
//
// Agreed on as the subprotocol `yjs.ack`: after each commit comes message 121 with the number of Updates and SyncStep2 of
// this connection that are stored (docs/protocol.md). What was written while there was no connection goes out with the
// SyncStep2 of the next one.

import type { WebsocketProvider } from "y-websocket";
import * as decoding from "lib0/decoding";
import * as encoding from "lib0/encoding";

export const ACK_SUBPROTOCOL = "yjs.ack";
const MESSAGE_SYNC = 0;
const MESSAGE_DURABLE = 121;
const SYNC_STEP_2 = 1;

export class Stored {
  private sent = 0;
  private durable = 0;
  private written = false; // since the last connection was lost

  constructor(provider: WebsocketProvider, private readonly changed: () => void) {
    const synchronise = provider.messageHandlers[MESSAGE_SYNC]!;
    provider.messageHandlers[MESSAGE_SYNC] = (encoder, decoder, ...rest) => {
      synchronise(encoder, decoder, ...rest);
      const reply = encoding.toUint8Array(encoder); // sent by the provider when this returns
      if (reply.length > 1 && reply[0] === MESSAGE_SYNC && reply[1] === SYNC_STEP_2) this.count();
    };
    provider.messageHandlers[MESSAGE_DURABLE] = (_encoder, decoder) => {
      this.durable = decoding.readVarUint(decoder);
      if (this.durable === this.sent) this.written = false;
      this.changed();
    };
    provider.on("status", ({ status }) => {
      if (status === "connected") this.sent = this.durable = 0;
    });
    provider.doc.on("update", (_update: Uint8Array, origin: unknown) => {
      if (origin === provider) return;
      this.written = true;
      if (provider.wsconnected) this.count();
      else this.changed();
    });
  }

  /** Whether this tab holds nothing that a crash of the server, or closing the tab, could lose. */
  get everything(): boolean {
    return !this.written;
  }

  private count(): void {
    this.sent += 1;
    this.changed();
  }
}
