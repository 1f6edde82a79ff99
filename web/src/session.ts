// Who the reader is: signing in, and keeping the token fresh while the page is open.
// The token lives in this object only: never in the address, never in storage.

export type Role = "editor" | "viewer";

export interface PageConfig {
  websocket_url: string;
  auth: "dev" | "open" | "cognito";
  build: string;
}

export interface Wanted {
  name: string;
  document: string;
  role: Role;
  /** Only where the reader brings an access token of their own. */
  token: string;
}

/** Says which field to look at, where the server knows. */
export class SignInRefused extends Error {
  constructor(message: string, readonly field: string | null = null) {
    super(message);
  }
}

interface Signed {
  token: string;
  name: string;
  role: Role;
  expires_at: number;
}

// Renewed with this share of its life left: early enough for a server that is away for a while.
const RENEW_AT_SHARE = 0.2;
const CHECK_EVERY_MS = 15_000;

export async function loadConfig(): Promise<PageConfig> {
  const response = await fetch("/config.json", { cache: "no-store" });
  if (!response.ok) throw new Error(`the server answered ${response.status}`);
  return (await response.json()) as PageConfig;
}

export class Session {
  private renewAtMs = Number.POSITIVE_INFINITY;
  private timer = 0;

  private constructor(
    private readonly config: PageConfig,
    private readonly wanted: Wanted,
    private token: string | null,
    readonly name: string,
    readonly role: Role,
  ) {}

  static async start(config: PageConfig, wanted: Wanted): Promise<Session> {
    if (config.auth === "open") return new Session(config, wanted, null, wanted.name, "editor");
    if (config.auth === "cognito") return new Session(config, wanted, wanted.token, nameIn(wanted.token), "editor");
    const signed = await signInByName(wanted);
    const session = new Session(config, wanted, signed.token, signed.name, signed.role);
    session.planRenewal(signed.expires_at);
    return session;
  }

  get document(): string {
    return this.wanted.document;
  }

  /** Query parameters of the next connection. */
  get params(): Record<string, string> {
    return this.token === null ? {} : { token: this.token };
  }

  get canRenew(): boolean {
    return this.config.auth === "dev";
  }

  /** Signs in again as the same person. Raises when the server is away or refuses. */
  async renew(): Promise<void> {
    const signed = await signInByName(this.wanted);
    this.token = signed.token;
    this.planRenewal(signed.expires_at);
  }

  /** Calls `renewed` after each renewal. A clock that is looked at often survives a laptop that sleeps; a long timer does not. */
  keepFresh(renewed: () => void): void {
    this.timer = window.setInterval(() => {
      if (Date.now() < this.renewAtMs) return;
      this.renew().then(renewed, () => undefined); // the server is away: asked again at the next look
    }, CHECK_EVERY_MS);
  }

  end(): void {
    window.clearInterval(this.timer);
  }

  private planRenewal(expiresAt: number): void {
    const lifeMs = expiresAt * 1000 - Date.now();
    this.renewAtMs = Date.now() + lifeMs * (1 - RENEW_AT_SHARE);
  }
}

async function signInByName(wanted: Wanted): Promise<Signed> {
  const { name, document, role } = wanted;
  let response: Response;
  try {
    response = await fetch("/dev/sign-in", {
      method: "POST",
      headers: { "Content-Type": "application/json" },
      body: JSON.stringify({ name, document, role }),
    });
  } catch {
    throw new SignInRefused("The server does not answer. Is it running?");
  }
  if (response.ok) return (await response.json()) as Signed;
  throw await refusal(response);
}

async function refusal(response: Response): Promise<SignInRefused> {
  try {
    const problem = (await response.json()) as { detail?: string; errors?: { pointer: string; detail: string }[] };
    const first = problem.errors?.[0];
    if (first !== undefined) return new SignInRefused(`${first.detail}.`, first.pointer.replace("#/", ""));
    return new SignInRefused(problem.detail ?? `The server answered ${response.status}.`);
  } catch {
    return new SignInRefused(`The server answered ${response.status}.`);
  }
}

/** The name to show for a token of somebody else's making. The server reads and verifies the token; this only labels. */
function nameIn(token: string): string {
  try {
    const payload = token.split(".")[1]!.replaceAll("-", "+").replaceAll("_", "/");
    const claims = JSON.parse(atob(payload)) as Record<string, unknown>;
    return String(claims["name"] ?? claims["username"] ?? "You").slice(0, 60);
  } catch {
    throw new SignInRefused("This is not a token. Paste the whole access token.", "token");
  }
}
