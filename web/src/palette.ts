// The colours of people. Each is a tone with a class `tone-N` in styles.css, chosen for AA contrast in light and dark.
// A colour that another client claims is only ever matched against this table: it never reaches a style.

export const TONES = ["#b3401f", "#0f6f66", "#4250b5", "#8c3a86", "#5a6610", "#1a6a9c", "#b02a5b", "#7a5220"] as const;

export function toneOfName(name: string): number {
  let hash = 0;
  for (const character of name) hash = (hash * 31 + character.codePointAt(0)!) >>> 0;
  return hash % TONES.length;
}

export function toneOfColor(color: unknown, clientId: number): number {
  const known = TONES.findIndex((tone) => tone === color);
  return known === -1 ? clientId % TONES.length : known;
}

/** `wanted` unless somebody here already has it; then the least used tone that comes next. */
export function freeTone(wanted: number, taken: readonly number[]): number {
  const uses = (tone: number) => taken.filter((other) => other === tone).length;
  let best = wanted;
  for (let step = 1; step < TONES.length; step += 1) {
    const tone = (wanted + step) % TONES.length;
    if (uses(tone) < uses(best)) best = tone;
  }
  return best;
}
