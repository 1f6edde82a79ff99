// The connection in words: a short state that is always there, and a notice when there is something to do or to know.

import type { ConnectionState } from "./connection";
import { byId, make } from "./dom";

const SHORT: Record<ConnectionState["phase"], string> = {
  connecting: "Connecting",
  live: "Live",
  offline: "Offline, retrying",
  refused: "Refused",
};

interface Notice {
  title: string;
  text: string;
  action: string | null;
}

const OFFLINE_TITLE = "The server is out of reach";
const OFFLINE_WRITING = "Keep writing. Your edits stay in this tab and are sent as soon as it answers.";
const OFFLINE_READING = "This is the text as it was. It goes on as soon as the server answers.";
const OFFLINE_UNOPENED = "The document opens as soon as it answers.";

const KEPT = "What you see here is your own copy. Save what you need of it, then open the document anew.";

const REFUSALS: Record<number, Notice> = {
  4401: { title: "Your sign-in is not accepted", text: "Sign in again to go on.", action: "Sign in again" },
  4403: {
    title: "You may not open this document",
    text: "Ask its owner for access, or open another document.",
    action: "Choose another document",
  },
  4404: {
    title: "There is no such document",
    text: "Check its name, or open another document.",
    action: "Choose another document",
  },
  4409: { title: "An edit of yours was refused", text: KEPT, action: "Open it anew" },
  4410: { title: "This document was restored", text: KEPT, action: "Open it anew" },
  4414: { title: "This document is full", text: KEPT, action: "Open it anew" },
};

/** Refusals of a copy, not of a person: it holds edits that nobody else has. */
const KEEPS_COPY: ReadonlySet<number> = new Set([4409, 4410, 4414]);

const OTHER_REFUSAL: Notice = {
  title: "The server closed this connection",
  text: "It asked this page not to try again by itself.",
  action: "Back to sign-in",
};

/** How far the reader got: nothing on screen yet, a text to read, or a text to write. */
export type Reached = "nothing" | "reading" | "writing";

/** What to tell the reader about `state`; nothing when all is well. */
function noticeFor(state: ConnectionState, reached: Reached): Notice | null {
  if (state.phase === "offline") {
    const text = { nothing: OFFLINE_UNOPENED, reading: OFFLINE_READING, writing: OFFLINE_WRITING }[reached];
    return { title: OFFLINE_TITLE, text, action: null };
  }
  if (state.phase !== "refused") return null;
  const known = (state.code === null ? undefined : REFUSALS[state.code]) ?? OTHER_REFUSAL;
  if (reached === "nothing" && known.text === KEPT) return { ...known, text: sentence(state.reason) };
  const reason = known.text === KEPT ? "" : sentence(state.reason);
  return { ...known, text: reason === "" ? known.text : `${reason} ${known.text}` };
}

// A commit takes a few milliseconds: what is stored sooner than this was never worth a word.
const WORTH_A_WORD_MS = 400;
let slow = 0;

/** Tells in `place` whether everything written here is stored; what takes a moment only goes unmentioned. */
export function showStored(place: HTMLElement, everything: boolean): void {
  if (everything) {
    window.clearTimeout(slow);
    slow = 0;
    place.textContent = "All edits stored";
    place.dataset["stored"] = "all";
  } else if (slow === 0) {
    slow = window.setTimeout(() => {
      place.textContent = "Not stored yet";
      place.dataset["stored"] = "waiting";
    }, WORTH_A_WORD_MS);
  }
}

function sentence(reason: string): string {
  const trimmed = reason.trim().slice(0, 200);
  if (trimmed === "") return "";
  const capital = trimmed.charAt(0).toUpperCase() + trimmed.slice(1);
  return /[.!?]$/.test(capital) ? capital : `${capital}.`;
}

/** What the reader can do about a notice: `leave` goes back to signing in, `save` makes buttons that save the copy. */
export interface WaysOut {
  leave: () => void;
  save: () => HTMLButtonElement[];
}

/** Shows `state`. A text that has been on screen stays readable behind the notice. */
export function showStatus(state: ConnectionState, reached: Reached, ways: WaysOut): void {
  const opened = reached !== "nothing";
  byId("workspace").dataset["phase"] = state.phase;
  byId("workspace").toggleAttribute("data-opened", opened);
  byId("status").dataset["phase"] = state.phase;
  byId("status-text").textContent = SHORT[state.phase];
  const notice = noticeFor(state, reached);
  const card = byId("notice");
  card.hidden = notice === null;
  card.classList.toggle("alone", !opened);
  byId("editor").classList.toggle("absent", !opened && notice !== null);
  if (notice === null) return;
  byId("notice-title").textContent = notice.title;
  byId("notice-text").textContent = notice.text;
  const keeps = opened && state.phase === "refused" && state.code !== null && KEEPS_COPY.has(state.code);
  const actions = notice.action === null ? [] : [actionButton(notice.action, ways.leave)];
  byId("notice-actions").replaceChildren(...(keeps ? ways.save() : []), ...actions);
}

function actionButton(label: string, act: () => void): HTMLButtonElement {
  const button = make("button", "main-button", label);
  button.type = "button";
  button.addEventListener("click", act);
  return button;
}
