// The text on screen: CodeMirror bound to a Y.Text. It must never change the text of a reader who may only view.

import { defaultKeymap, indentWithTab } from "@codemirror/commands";
import { markdown } from "@codemirror/lang-markdown";
import { HighlightStyle, syntaxHighlighting } from "@codemirror/language";
import { Compartment, EditorState, type Extension } from "@codemirror/state";
import { drawSelection, EditorView, keymap, placeholder } from "@codemirror/view";
import { tags } from "@lezer/highlight";
import { yCollab, yUndoManagerKeymap } from "y-codemirror.next";
import type { Awareness } from "y-protocols/awareness";
import type * as Y from "yjs";

import { carets } from "./carets";

export interface TextEditor {
  view: EditorView;
  /** Whether the reader may write now, and what an empty page says. */
  allow(writing: boolean, emptyText: string): void;
}

const HIGHLIGHT = HighlightStyle.define([
  { tag: tags.heading1, fontSize: "1.6em", fontWeight: "600", lineHeight: "1.3" },
  { tag: tags.heading2, fontSize: "1.3em", fontWeight: "600", lineHeight: "1.35" },
  { tag: tags.heading, fontWeight: "600" },
  { tag: tags.strong, fontWeight: "650" },
  { tag: tags.emphasis, fontStyle: "italic" },
  { tag: tags.strikethrough, textDecoration: "line-through" },
  { tag: tags.quote, color: "var(--soft)", fontStyle: "italic" },
  { tag: tags.monospace, fontFamily: "var(--mono)", fontSize: "0.88em" },
  { tag: [tags.link, tags.url], color: "var(--accent)" },
  { tag: [tags.processingInstruction, tags.contentSeparator, tags.labelName], color: "var(--faint)" },
]);

const LOOK = EditorView.theme({
  "&": { height: "100%", color: "var(--ink)", backgroundColor: "transparent" },
  "&.cm-focused": { outline: "none" },
  ".cm-scroller": { fontFamily: "var(--serif)", fontSize: "var(--text-size)", lineHeight: "1.75", overflowX: "hidden" },
  ".cm-content": { width: "100%", maxWidth: "46rem", margin: "0 auto", padding: "var(--page-top) 1.5rem 40vh", caretColor: "var(--ink)" },
  ".cm-line": { padding: "0" },
  ".cm-placeholder": { color: "var(--soft)", fontStyle: "italic" },
  ".cm-cursor": { borderLeftColor: "var(--ink)", borderLeftWidth: "2px", marginLeft: "-1px" },
  ".cm-selectionBackground, &.cm-focused > .cm-scroller > .cm-selectionLayer .cm-selectionBackground": {
    backgroundColor: "var(--selection)",
  },
});

// CodeMirror counts a line break as one character whatever its bytes, Yjs counts characters: text with "\r\n" in it
// would put the two out of step. So only "\n" breaks a line, and pasted text is brought to that form.
const ONE_LINE_BREAK: Extension = [
  EditorState.lineSeparator.of("\n"),
  EditorView.clipboardInputFilter.of((text) => text.replaceAll(/\r\n?/g, "\n")),
];

export function openEditor(parent: HTMLElement, text: Y.Text, awareness: Awareness, label: string): TextEditor {
  const permission = new Compartment();
  const extensions: Extension = [
    ONE_LINE_BREAK,
    yCollab(text, null),
    carets(text, awareness),
    permission.of(permitted(false, "")),
    keymap.of([...yUndoManagerKeymap, ...defaultKeymap, indentWithTab]),
    drawSelection(),
    markdown(),
    syntaxHighlighting(HIGHLIGHT),
    EditorView.lineWrapping,
    EditorView.contentAttributes.of({ "aria-label": label, spellcheck: "true", autocapitalize: "sentences" }),
    EditorView.cspNonce.of(pageNonce()),
    LOOK,
  ];
  const view = new EditorView({ parent, state: EditorState.create({ doc: text.toString(), extensions }) });
  return {
    view,
    allow: (writing, emptyText) => view.dispatch({ effects: permission.reconfigure(permitted(writing, emptyText)) }),
  };
}

function permitted(writing: boolean, emptyText: string): Extension {
  const reading: Extension = [
    EditorState.readOnly.of(true),
    EditorView.editable.of(false),
    // Not editable takes it out of the tab order; a reader still scrolls and selects by keyboard.
    EditorView.contentAttributes.of({ tabindex: "0", "aria-readonly": "true" }),
  ];
  return [placeholder(emptyText), writing ? [] : reading];
}

/** The nonce under which the page's policy lets CodeMirror write its style sheets. */
function pageNonce(): string {
  return document.querySelector<HTMLScriptElement>("script[nonce]")?.nonce ?? "";
}
