// Other people's cursors and selections in the text, and ours for them.
//
// y-codemirror.next brings its own; this one speaks the same awareness fields (`cursor.anchor`, `cursor.head`) and
// differs where it matters here: what others send never becomes a style attribute, names are always readable, a name
// that changes is redrawn, and a label near the right edge turns inwards.

import { Annotation, RangeSet, type Range } from "@codemirror/state";
import { Decoration, type DecorationSet, EditorView, ViewPlugin, type ViewUpdate, WidgetType } from "@codemirror/view";
import type { Awareness } from "y-protocols/awareness";
import * as Y from "yjs";

import { make } from "./dom";
import { type Person, personOf } from "./presence";

const othersMoved = Annotation.define<true>();
const LABEL_ROOM_PX = 120; // a caret closer than this to the right edge gets its label on the left

class CaretWidget extends WidgetType {
  constructor(readonly person: Person) {
    super();
  }

  override eq(other: CaretWidget): boolean {
    const { clientId, name, tone } = this.person;
    return other.person.clientId === clientId && other.person.name === name && other.person.tone === tone;
  }

  override toDOM(): HTMLElement {
    const label = make("span", "caret-label", this.person.name);
    const caret = make("span", `caret tone-${this.person.tone}`, "\u2060", label, "\u2060"); // word joiners: never a line break
    caret.setAttribute("aria-hidden", "true"); // who is here is told elsewhere; the text is read as text
    return caret;
  }

  override ignoreEvent(): boolean {
    return true;
  }
}

class Carets {
  decorations: DecorationSet = RangeSet.empty;
  private readonly listener: (change: { added: number[]; updated: number[]; removed: number[] }) => void;

  constructor(private readonly view: EditorView, private readonly text: Y.Text, private readonly awareness: Awareness) {
    this.listener = ({ added, updated, removed }) => {
      const others = [...added, ...updated, ...removed].some((id) => id !== awareness.clientID);
      if (others) view.dispatch({ annotations: othersMoved.of(true) });
    };
    awareness.on("change", this.listener);
    this.decorations = this.drawn();
  }

  destroy(): void {
    this.awareness.off("change", this.listener);
  }

  update(update: ViewUpdate): void {
    if (update.docChanged || update.selectionSet || update.focusChanged) this.publish();
    const moved = update.transactions.some((transaction) => transaction.annotation(othersMoved) === true);
    if (update.docChanged || moved) this.decorations = this.drawn();
    if (update.docChanged || moved || update.geometryChanged) this.turnLabels();
  }

  /** Shares our selection. It stays where it was when the page loses focus: the reader is still here. */
  private publish(): void {
    if (!this.view.hasFocus || this.awareness.getLocalState() === null) return;
    const { anchor, head } = this.view.state.selection.main;
    const cursor = {
      anchor: Y.createRelativePositionFromTypeIndex(this.text, anchor),
      head: Y.createRelativePositionFromTypeIndex(this.text, head),
    };
    const known = this.awareness.getLocalState()?.["cursor"];
    if (JSON.stringify(known) !== JSON.stringify(cursor)) this.awareness.setLocalStateField("cursor", cursor);
  }

  private drawn(): DecorationSet {
    const ranges = [...this.awareness.getStates()].flatMap(([clientId, state]) => {
      if (clientId === this.awareness.clientID) return [];
      const person = personOf(clientId, state, false);
      return person === null ? [] : this.drawnFor(person, state["cursor"]);
    });
    return Decoration.set(ranges, true);
  }

  private drawnFor(person: Person, cursor: unknown): Range<Decoration>[] {
    const { anchor, head } = (cursor ?? {}) as { anchor?: unknown; head?: unknown };
    const [from, to] = [this.indexOf(anchor), this.indexOf(head)];
    if (from === null || to === null) return [];
    const caret = Decoration.widget({ widget: new CaretWidget(person), side: to > from ? -1 : 1 }).range(to);
    if (from === to) return [caret];
    const selected = Decoration.mark({ class: `selected-by tone-${person.tone}` });
    return [selected.range(Math.min(from, to), Math.max(from, to)), caret];
  }

  /** Where a relative position of another client is in our text; null for one that is not in it, or is no position. */
  private indexOf(position: unknown): number | null {
    if (typeof position !== "object" || position === null) return null;
    try {
      const relative = Y.createRelativePositionFromJSON(position);
      const absolute = Y.createAbsolutePositionFromRelativePosition(relative, this.text.doc!);
      return absolute?.type === this.text ? Math.min(absolute.index, this.view.state.doc.length) : null;
    } catch {
      return null; // another client may send anything
    }
  }

  private turnLabels(): void {
    this.view.requestMeasure({
      key: this,
      read: (view) => {
        const edge = view.contentDOM.getBoundingClientRect().right - LABEL_ROOM_PX;
        const carets = [...view.contentDOM.querySelectorAll<HTMLElement>(".caret")];
        return carets.map((caret) => [caret, caret.getBoundingClientRect().left > edge] as const);
      },
      write: (carets) => carets.forEach(([caret, inwards]) => caret.classList.toggle("inwards", inwards)),
    });
  }
}

export function carets(text: Y.Text, awareness: Awareness) {
  return ViewPlugin.define((view) => new Carets(view, text, awareness), { decorations: (plugin) => plugin.decorations });
}
