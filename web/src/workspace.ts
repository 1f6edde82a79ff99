// An open document: puts connection, editor, people and status together, and takes them apart again.

import { Connection } from "./connection";
import { showCounts } from "./counts";
import { byId } from "./dom";
import { openEditor, type TextEditor } from "./editor";
import { suggestName } from "./names";
import { announce, roleWords, showPeople } from "./presence";
import { saveButtons } from "./saving";
import type { PageConfig, Session } from "./session";
import { showStatus, showStored } from "./status";

const EMPTY_TEXT = "Nothing here yet. Write the first line, or open a second tab and watch it arrive.";
const EMPTY_TEXT_FOR_VIEWERS = "Nothing here yet. What others write will appear as they type.";

export class Workspace {
  private readonly connection: Connection;
  private readonly editor: TextEditor;
  private readonly stops: (() => void)[] = [];
  private opened = false;
  private suggestion: string | null = null;

  constructor(config: PageConfig, private readonly session: Session, private readonly left: () => void) {
    this.connection = new Connection(config, session, () => this.follow(), () => this.tellStored());
    const { provider, text } = this.connection;
    announce(provider.awareness, session.name, this.connection.role);
    this.editor = openEditor(byId("editor"), text, provider.awareness, `Text of ${session.document}`);
    this.stops.push(showCounts(text, byId("counts")));
    this.stops.push(showPeople(provider.awareness, (people) => this.offerSecondTab(people.map((person) => person.name))));
    this.listenToTheBar();
    this.show();
    this.follow();
  }

  leave(): void {
    for (const stop of this.stops) stop();
    this.editor.view.destroy();
    this.connection.end();
    this.left();
  }

  private show(): void {
    const { document: documentName } = this.session;
    document.title = `${documentName} · Write together`;
    byId("document-name").textContent = documentName;
    history.replaceState(null, "", this.linkTo({})); // the address is the document's: safe to share, right to reload
    byId("sign-in").hidden = true;
    byId("workspace").hidden = false;
  }

  private follow(): void {
    const { state } = this.connection;
    const first = state.phase === "live" && !this.opened;
    this.opened ||= first;
    const { role, writes } = this.connection;
    byId("own-role").textContent = `You ${roleWords(role).replace(/^is here$/, "are here")}`;
    this.tellStored();
    showStatus(state, this.opened ? (writes ? "writing" : "reading") : "nothing", {
      leave: () => this.leave(),
      save: () => saveButtons(this.session.document, this.connection.doc, this.connection.text),
    });
    const writing = writes && this.opened && state.phase !== "refused";
    this.editor.allow(writing, this.emptyText(writing));
    if (!first) return;
    announce(this.connection.provider.awareness, this.session.name, role); // now the taken colours are known
    this.editor.view.focus();
  }

  /** Called from within an edit too: nothing here may touch the editor. */
  private tellStored(): void {
    if (this.opened && this.connection.writes) showStored(byId("stored"), this.connection.stored.everything);
  }

  private emptyText(writing: boolean): string {
    if (!this.opened) return "Opening…";
    return writing ? EMPTY_TEXT : EMPTY_TEXT_FOR_VIEWERS;
  }

  private listenToTheBar(): void {
    const listening = new AbortController();
    const options = { signal: listening.signal };
    this.stops.push(() => listening.abort());
    byId("leave").addEventListener("click", () => this.leave(), options);
    byId("copy-link").addEventListener("click", () => void this.copyLink(), options);
    const warn = (event: BeforeUnloadEvent) => !this.connection.stored.everything && event.preventDefault();
    window.addEventListener("beforeunload", warn, options);
  }

  private offerSecondTab(taken: readonly string[]): void {
    // A link that changes under the pointer is worse than one that could be better: only a taken name is replaced.
    if (this.suggestion !== null && !taken.includes(this.suggestion)) return;
    this.suggestion = suggestName(taken);
    byId<HTMLAnchorElement>("second-tab").href = this.linkTo({ name: this.suggestion, role: "editor" });
  }

  private linkTo(more: Record<string, string>): string {
    return `/?${new URLSearchParams({ document: this.session.document, ...more }).toString()}`;
  }

  private async copyLink(): Promise<void> {
    const button = byId<HTMLButtonElement>("copy-link");
    try {
      await navigator.clipboard.writeText(new URL(this.linkTo({}), location.href).href);
      button.dataset["said"] = "Copied";
    } catch {
      button.dataset["said"] = "See address bar"; // no clipboard on a page that is neither https nor on this machine
    }
    window.setTimeout(() => delete button.dataset["said"], 1_800);
  }
}
