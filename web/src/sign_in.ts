// The sign-in card: a name, a document, a role. It decides nothing: it asks, and says what the server answered.

import { byId, memory } from "./dom";
import { DOCUMENT_NAME, suggestName } from "./names";
import { toneOfName } from "./palette";
import { type PageConfig, type Role, SignInRefused, type Wanted } from "./session";

const LEADS: Record<PageConfig["auth"], string> = {
  dev: "Pick a name and a document. No account is needed on your own machine.",
  open: "Pick a name and a document. Everyone who reaches this server may edit.",
  cognito: "Paste the access token of your account and choose a document.",
};
const NAME_KEY = "name";

const field = (id: string) => byId<HTMLInputElement>(id);

/** Prepares the card from the address (`?document=demo&name=Ada&role=editor`) and calls `open` with what was chosen. */
export function startSignIn(config: PageConfig, open: (wanted: Wanted) => Promise<void>): void {
  const asked = new URLSearchParams(location.search);
  field("name").value = asked.get("name")?.slice(0, 60) ?? memory.get(NAME_KEY) ?? suggestName([]);
  field("document").value = asked.get("document") ?? "demo";
  if (asked.get("role") === "viewer") roleInput("viewer").checked = true;
  byId("sign-in-lead").textContent = LEADS[config.auth];
  byField("token").hidden = config.auth !== "cognito";
  byField("name").hidden = config.auth === "cognito";
  byField("role").hidden = config.auth !== "dev";
  field("name").addEventListener("input", showName);
  byId("another-name").addEventListener("click", anotherName);
  byId("sign-in-form").addEventListener("submit", (event) => {
    event.preventDefault();
    void submit(config, open);
  });
  showName();
}

export function showSignIn(): void {
  document.title = "Write together";
  byId("workspace").hidden = true;
  byId("sign-in").hidden = false;
  byId("open").focus(); // everything is filled in: Enter goes on, Shift+Tab changes it
}

function showName(): void {
  const name = field("name").value.trim();
  byId("headline-name").textContent = name === "" ? "you" : name;
  document.querySelector(".headline-caret")!.className = `headline-caret tone-${toneOfName(name)}`;
}

function anotherName(): void {
  field("name").value = suggestName([field("name").value]);
  showName();
}

async function submit(config: PageConfig, open: (wanted: Wanted) => Promise<void>): Promise<void> {
  clearErrors();
  const wanted = chosen();
  const complaint = complaintAbout(wanted, config);
  if (complaint !== null) return complain(complaint);
  const button = byId<HTMLButtonElement>("open");
  button.setAttribute("aria-busy", "true");
  try {
    await open(wanted);
    if (config.auth !== "cognito") memory.set(NAME_KEY, wanted.name);
    field("token").value = "";
  } catch (error) {
    complain(error instanceof SignInRefused ? error : new SignInRefused("Something went wrong in this page. Reload it."));
  } finally {
    button.removeAttribute("aria-busy");
  }
}

function chosen(): Wanted {
  return {
    name: field("name").value.trim(),
    document: field("document").value.trim(),
    role: roleInput("viewer").checked ? "viewer" : "editor",
    token: field("token").value.trim(),
  };
}

function complaintAbout(wanted: Wanted, config: PageConfig): SignInRefused | null {
  if (config.auth === "cognito" && wanted.token === "") return new SignInRefused("Paste an access token.", "token");
  if (config.auth !== "cognito" && wanted.name === "") return new SignInRefused("Pick a name.", "name");
  if (DOCUMENT_NAME.test(wanted.document)) return null;
  return new SignInRefused("Use letters, digits and . _ : - and start with a letter or digit.", "document");
}

function complain(refused: SignInRefused): void {
  const place = refused.field === null ? null : document.getElementById(`${refused.field}-error`);
  (place ?? byId("form-error")).textContent = refused.message;
  if (place === null || refused.field === null) return;
  field(refused.field).setAttribute("aria-invalid", "true");
  field(refused.field).focus();
}

function clearErrors(): void {
  for (const place of document.querySelectorAll(".field-error, .form-error")) place.textContent = "";
  for (const input of document.querySelectorAll("[aria-invalid]")) input.removeAttribute("aria-invalid");
}

function byField(name: string): HTMLElement {
  return document.querySelector<HTMLElement>(`[data-field=${name}]`)!;
}

function roleInput(role: Role): HTMLInputElement {
  return document.querySelector<HTMLInputElement>(`input[name=role][value=${role}]`)!;
}
