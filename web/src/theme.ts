// Light and dark: the system's choice until the reader makes one, which is then remembered.

import { memory } from "./dom";

const KEY = "theme";
const dark = window.matchMedia("(prefers-color-scheme: dark)");

const SUN = '<svg viewBox="0 0 20 20" aria-hidden="true"><circle cx="10" cy="10" r="3.2"/><path d="M10 2.5v2M10 15.5v2M2.5 10h2M15.5 10h2M4.7 4.7l1.4 1.4M13.9 13.9l1.4 1.4M15.3 4.7l-1.4 1.4M6.1 13.9l-1.4 1.4"/></svg>';
const MOON = '<svg viewBox="0 0 20 20" aria-hidden="true"><path d="M16 11.8A6.5 6.5 0 0 1 8.2 4a6.5 6.5 0 1 0 7.8 7.8Z"/></svg>';

function current(): "light" | "dark" {
  const chosen = memory.get(KEY);
  if (chosen === "light" || chosen === "dark") return chosen;
  return dark.matches ? "dark" : "light";
}

export function applyTheme(): void {
  document.documentElement.dataset["theme"] = current();
}

/** Keeps the page and its toggle buttons in step with the choice, the system and the other tabs. */
export function startTheme(): void {
  const buttons = document.querySelectorAll<HTMLButtonElement>("[data-action=theme]");
  const show = () => {
    applyTheme();
    const other = current() === "dark" ? "light" : "dark";
    for (const button of buttons) {
      button.innerHTML = other === "dark" ? MOON : SUN; // our own markup, no input in it
      button.setAttribute("aria-label", `Switch to the ${other} theme`);
      button.title = `Switch to ${other}`;
    }
  };
  for (const button of buttons) {
    button.addEventListener("click", () => {
      memory.set(KEY, current() === "dark" ? "light" : "dark");
      show();
    });
  }
  dark.addEventListener("change", show);
  window.addEventListener("storage", show);
  show();
}
