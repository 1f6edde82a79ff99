// A copy that the server does not take any more, saved as files: the text to read, and all of it for a Yjs program.
// It must never change the copy: what is saved is what is on screen.

import * as Y from "yjs";

import { make } from "./dom";

const FREE_AFTER_MS = 60_000; // a browser may ask where to put the file before it reads it

/** Buttons that save `doc`, whose text is `text`, under the name of its document. */
export function saveButtons(name: string, doc: Y.Doc, text: Y.Text): HTMLButtonElement[] {
  const stem = `${name.replaceAll(/[^\w.-]/g, "_")}-my-copy`;
  return [
    saveButton("Save text", `${stem}.txt`, () => new Blob([text.toString()], { type: "text/plain;charset=utf-8" })),
    saveButton("Save as .yjs", `${stem}.yjs`, () => new Blob([new Uint8Array(Y.encodeStateAsUpdate(doc))])),
  ];
}

function saveButton(label: string, file: string, content: () => Blob): HTMLButtonElement {
  const button = make("button", "edged-button", label);
  button.type = "button";
  button.addEventListener("click", () => {
    const link = document.createElement("a");
    link.href = URL.createObjectURL(content());
    link.download = file;
    link.click();
    window.setTimeout(() => URL.revokeObjectURL(link.href), FREE_AFTER_MS);
  });
  return button;
}
