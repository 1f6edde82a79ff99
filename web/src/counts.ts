// Words and characters, counted when the typing pauses: counting a long text at every key would be felt.

import type * as Y from "yjs";

const PAUSE_MS = 250;

export function showCounts(text: Y.Text, target: HTMLElement): () => void {
  let timer = 0;
  const count = () => {
    const content = text.toString();
    const words = content.match(/[\p{L}\p{N}]+(?:['’-][\p{L}\p{N}]+)*/gu)?.length ?? 0;
    const characters = [...content].length;
    target.textContent = `${plural(words, "word")} · ${plural(characters, "character")}`;
  };
  const soon = () => {
    window.clearTimeout(timer);
    timer = window.setTimeout(count, PAUSE_MS);
  };
  text.observe(soon);
  count();
  return () => {
    window.clearTimeout(timer);
    text.unobserve(soon);
  };
}

function plural(number: number, word: string): string {
  return `${number.toLocaleString("en")} ${word}${number === 1 ? "" : "s"}`;
}
