"""What the writers of one document sent, what they were told is durable, and what they deleted: the books of a run.

Every edit inserts one token that no other edit has, all of one width, so a text that nobody has cut into is a row of
whole tokens. Pure. Called by the writers, which report, and by the checker, which judges.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field

TOKEN = re.compile(r"⟦c\d{2}-\d{6}⟧")
WIDTH = 12
"""Of a token in UTF-16 units, as yjs counts."""

WIDTH_UTF8 = 16
"""Of the same token in bytes, as pycrdt counts."""

MOST_WRITERS = 100
MOST_TOKENS = 1_000_000


class ImpossibleReport(Exception):
    """A writer reported what cannot be: an acknowledgement of something never sent. The kit itself is wrong."""


def token(writer: int, number: int) -> str:
    """The token of a writer's edit of that number. Raises ValueError when it would be wider than all others."""
    if not (0 <= writer < MOST_WRITERS and 0 <= number < MOST_TOKENS):
        raise ValueError(f"no token for edit {number} of writer {writer}")
    return f"⟦c{writer:02}-{number:06}⟧"


def writer_of(name: str) -> int:
    """Whose token this is."""
    return int(name[2:4])


@dataclass(frozen=True, slots=True)
class Told:
    """What one writer reports: tokens it sent, deletions it sent, and what of both it was told is durable."""

    sent: tuple[str, ...] = ()
    acknowledged: tuple[str, ...] = ()
    deleted: tuple[str, ...] = ()
    deletions_acknowledged: tuple[str, ...] = ()


@dataclass(slots=True)
class Ledger:
    """The books of one document."""

    sent: set[str] = field(default_factory=set)
    acknowledged: set[str] = field(default_factory=set)
    deleted: set[str] = field(default_factory=set)
    deletions_acknowledged: set[str] = field(default_factory=set)

    def note(self, told: Told) -> None:
        """Enter a report. Raises ImpossibleReport."""
        _enter_once(self.sent, told.sent)
        _enter(self.deleted, told.deleted, self.sent, "deletes")
        _enter(self.acknowledged, told.acknowledged, self.sent, "was acknowledged")
        _enter(self.deletions_acknowledged, told.deletions_acknowledged, self.deleted, "was acknowledged to delete")

    @property
    def must_be_there(self) -> set[str]:
        """Acknowledged, and nobody has begun to delete it."""
        return self.acknowledged - self.deleted

    @property
    def must_be_gone(self) -> set[str]:
        """Its deletion was acknowledged."""
        return self.deletions_acknowledged

    @property
    def acknowledgements(self) -> int:
        """Edits that were acknowledged: insertions and deletions."""
        return len(self.acknowledged) + len(self.deletions_acknowledged)


def _enter_once(page: set[str], names: Iterable[str]) -> None:
    for name in names:
        if name in page:
            raise ImpossibleReport(f"{name} was sent twice")
        page.add(name)


def _enter(page: set[str], names: Iterable[str], known: set[str], what: str) -> None:
    for name in names:
        if name not in known:
            raise ImpossibleReport(f"a writer {what} {name}, which it never sent")
        page.add(name)
