// Who is here: reads awareness states, which other people's programs write, and trusts none of them.

import type { Awareness } from "y-protocols/awareness";

import { byId, make } from "./dom";
import { freeTone, TONES, toneOfColor, toneOfName } from "./palette";

export interface Person {
  clientId: number;
  name: string;
  role: string;
  tone: number;
  isSelf: boolean;
}

const SHOWN_AVATARS = 4; // as many as fit a phone next to the count
const ROLE_WORDS: Record<string, string> = { owner: "owns it", editor: "can edit", commenter: "can comment", viewer: "can view" };

export function roleWords(role: string): string {
  return ROLE_WORDS[role] ?? "is here";
}

/** The people in `awareness`, oneself first, then by name. */
export function peopleIn(awareness: Awareness): Person[] {
  const people = [...awareness.getStates()].flatMap(([clientId, state]) => {
    const person = personOf(clientId, state as Record<string, unknown>, clientId === awareness.clientID);
    return person === null ? [] : [person];
  });
  return people.sort((a, b) => Number(b.isSelf) - Number(a.isSelf) || a.name.localeCompare(b.name) || a.clientId - b.clientId);
}

/** The person behind one awareness state, or null while it names nobody. */
export function personOf(clientId: number, state: Record<string, unknown>, isSelf: boolean): Person | null {
  const user = state["user"];
  if (typeof user !== "object" || user === null) return null;
  const { name, role, color } = user as Record<string, unknown>;
  const shown = typeof name === "string" ? name.trim().slice(0, 60) : "";
  return {
    clientId,
    name: shown === "" ? "Somebody" : shown,
    role: typeof role === "string" ? role : "",
    tone: toneOfColor(color, clientId),
    isSelf,
  };
}

/** Tells the others who we are. The server puts its own, verified name in place of ours. */
export function announce(awareness: Awareness, name: string, role: string): void {
  const taken = peopleIn(awareness).filter((person) => !person.isSelf).map((person) => person.tone);
  const color = TONES[freeTone(toneOfName(name), taken)]!;
  awareness.setLocalStateField("user", { name, role, color, colorLight: `${color}33` });
}

/** Keeps the avatars, the count and the list in step with `awareness`. Returns how to stop. */
export function showPeople(awareness: Awareness, changed: (people: Person[]) => void): () => void {
  let shown = "";
  const show = () => {
    const people = peopleIn(awareness);
    const now = JSON.stringify(people);
    if (now === shown) return; // a cursor moved: the people are the same
    shown = now;
    render(people);
    changed(people);
  };
  awareness.on("change", show);
  show();
  return () => awareness.off("change", show);
}

function render(people: readonly Person[]): void {
  const rest = people.length - SHOWN_AVATARS;
  const avatars = people.slice(0, SHOWN_AVATARS).map(avatar);
  if (rest > 0) avatars.push(make("span", "avatar more", `+${rest}`));
  byId("avatars").replaceChildren(...avatars);
  byId("people-count").textContent = `${people.length} here`;
  byId("people").setAttribute("aria-label", `Who is here: ${people.map((person) => person.name).join(", ")}`);
  byId("people-list").replaceChildren(...people.map(listEntry));
}

function avatar(person: Person): HTMLElement {
  const element = make("span", `avatar tone-${person.tone}`, initials(person.name));
  if (person.role === "viewer") element.classList.add("is-viewer");
  element.title = `${person.name} ${roleWords(person.role)}`;
  return element;
}

function listEntry(person: Person): HTMLElement {
  const name = make("span", "person-name", person.name);
  if (person.isSelf) name.append(make("span", "person-self", " you"));
  const disc = avatar(person);
  disc.setAttribute("aria-hidden", "true");
  return make("li", "person", disc, name, make("span", "role-badge", roleWords(person.role)));
}

function initials(name: string): string {
  const words = name.split(/\s+/u).filter((word) => word !== "");
  const letters = [words[0], words.length > 1 ? words.at(-1) : undefined].map((word) => [...(word ?? "")][0] ?? "");
  return letters.join("").toUpperCase();
}
