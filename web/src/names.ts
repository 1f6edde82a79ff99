// Friendly names to start with, and what a document may be called.

const NAMES = [
  "Ada", "Alan", "Anita", "Barbara", "Donald", "Edith", "Edsger", "Evelyn", "Frances", "Grace", "Hedy",
  "Jean", "Joan", "Karen", "Katherine", "Kateryna", "Lynn", "Margaret", "Mary", "Radia", "Rosa", "Sophie", "Tim",
];

/** The server's own rule for document names, so that the page can explain it before asking. */
export const DOCUMENT_NAME = /^[A-Za-z0-9][A-Za-z0-9._:-]{0,127}$/;

export function suggestName(taken: readonly string[]): string {
  const free = NAMES.filter((name) => !taken.includes(name));
  const pool = free.length > 0 ? free : NAMES;
  return pool[Math.floor(Math.random() * pool.length)]!;
}
