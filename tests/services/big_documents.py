"""Big documents as people make them: several authors, many chapters, most edits small, some deleted again.

Made once for each size and kept in a folder below the system's own for temporary files: 20 MB take a while.
"""

from __future__ import annotations

import hashlib
import os
import random
import tempfile
from pathlib import Path
from typing import Any

from pycrdt import Array, Doc, Text, TransactionEvent

AUTHORS = 5
SESSIONS_A_CHAPTER, EDITS_A_SESSION = 10, 120
DELETED_SHARE = 0.12
WORDS = [
    "the",
    "of",
    "and",
    "scene",
    "night",
    "camera",
    "moves",
    "slowly",
    "across",
    "room",
    "while",
    "she",
    "waits",
    "straße",
    "Zürich",
    "日本",
    "café",
]
SIZE_CHECK_EVERY = 5  # chapters: encoding all of it costs more than writing one


def big_document(size_bytes: int, seed: int = 1) -> bytes:
    """A Yjs update of at least `size_bytes`: nested texts, several clients that refer to each other, a delete set."""
    source = hashlib.sha256(Path(__file__).read_bytes()).hexdigest()[:12]
    kept = Path(tempfile.gettempdir()) / f"collab-big-document-{os.getuid()}-{size_bytes}-{seed}-{source}.yjs"
    if kept.exists():
        return kept.read_bytes()
    made = _make(size_bytes, seed)
    writing = kept.with_suffix(f".{os.getpid()}")
    writing.write_bytes(made)
    writing.rename(kept)
    return made


def _make(size_bytes: int, seed: int) -> bytes:
    chance = random.Random(seed)
    authors: list[Doc[Any]] = [Doc(client_id=1_000_000_007 * (number + 1) % 2**32) for number in range(AUTHORS)]
    written: list[bytes] = []

    def wrote(event: TransactionEvent) -> None:
        written.append(event.update)

    def by(author: Doc[Any]) -> None:
        """Show everyone else what `author` just wrote."""
        news, written[:] = list(written), []
        for other in authors:
            if other is not author:
                for update in news:
                    other.apply_update(update)
        written.clear()

    for author in authors:
        author.observe(wrote)
    first = authors[0]
    chapters = first.get("chapters", type=Array)
    number = 0
    while number % SIZE_CHECK_EVERY or len(first.get_update()) < size_bytes:
        chapters.append(Text())
        by(first)
        for session in range(SESSIONS_A_CHAPTER):
            author = authors[session % AUTHORS]
            with author.transaction():
                _write(author.get("chapters", type=Array)[number], chance)
            by(author)
        number += 1
    return first.get_update()


def _write(chapter: Text, chance: random.Random) -> None:
    """Edit for a while, jumping about. Positions are bytes for pycrdt: they must not fall into a character."""
    text = bytearray(str(chapter).encode())
    for _ in range(EDITS_A_SESSION):
        at = _boundary(text, chance.randrange(len(text) + 1))
        if len(text) > 100 and chance.random() < DELETED_SHARE:
            end = _boundary(text, min(len(text), at + chance.randrange(1, 30)))
            if end > at:
                del chapter[at:end]
                del text[at:end]
        else:
            words = (chance.choice(WORDS) + " ") * chance.choice((1, 1, 1, 2, 8))
            chapter.insert(at, words)
            text[at:at] = words.encode()


def _boundary(text: bytearray, at: int) -> int:
    while at < len(text) and text[at] & 0xC0 == 0x80:
        at -= 1
    return at
