"""The quarantine: updates that were refused, kept so that an operator can look at them, replay them or throw them away.

Rows are written through the journal's connection to storage (`Journal.quarantine`), because that is where a refusal is
found; this module is what a row holds, how much of it is kept, and the port that reads and settles rows. It must never
let what was refused back into a document by itself. Read by the admin port, the supervisor's bars and the sweep.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol
from uuid import UUID

from persistence.errors import StorageUnavailable

CRASH = "crash"  # the reason of an update in whose application a process ended; such a row bars its actor
KILLED = "killed"  # the same, but from outside (kill -9, out of memory): the second in one document bars
SHARE_OF_DOCUMENT = 10  # rows a document may have, in actors who have used up their own rows
SHARE_OF_ACTOR = 16  # content an actor may have in all documents, in updates of the largest size that is kept


class QuarantineUnavailable(StorageUnavailable):
    """The quarantine cannot answer now: retry later."""


@dataclass(frozen=True, slots=True)
class QuarantineBounds:
    """How much is kept: an update's content up to `max_bytes`, and `max_rows` of one actor in one document."""

    max_bytes: int = 4 * 1024 * 1024
    max_rows: int = 100

    def content(self, refused: RefusedUpdate) -> bytes | None:
        """What of `refused` may be kept."""
        return None if refused.update is None or len(refused.update) > self.max_bytes else refused.update


USUAL_BOUNDS = QuarantineBounds()


@dataclass(frozen=True, slots=True)
class RefusedUpdate:
    """An update that was set aside: who sent it, why, its digest and size, and its bytes where they are at hand."""

    document_id: UUID
    actor_id: str
    reason: str
    sha256: bytes
    size_bytes: int
    update: bytes | None = None

    @classmethod
    def of(cls, document_id: UUID, actor_id: str, reason: str, update: bytes) -> RefusedUpdate:
        """With the digest made here: 0.4 ms a MiB."""
        return cls(document_id, actor_id, reason, hashlib.sha256(update).digest(), len(update), update)


@dataclass(frozen=True, slots=True)
class KeptUpdate:
    """One row. `document` is None once the document is gone; `unkept` counts refusals after it that have no row."""

    id: int
    document_id: UUID
    document: str | None
    epoch: int | None
    actor_id: str
    reason: str
    sha256: bytes
    size_bytes: int
    has_content: bool
    unkept: int
    created_at: datetime
    replayed_at: datetime | None


@dataclass(frozen=True, slots=True)
class Crash:
    """What an actor sent to that document ended a process, the last time at `at`."""

    document_id: UUID
    actor_id: str
    at: datetime


class Quarantine(Protocol):
    """The rows of the quarantine. Every call ends in a bounded time; any may raise `QuarantineUnavailable`."""

    async def page(self, document: str | None, before: int | None, limit: int) -> list[KeptUpdate]:
        """At most `limit` rows, newest first: of the document of that name, or of all; only ids below `before`."""

    async def read(self, row_id: int) -> tuple[KeptUpdate, bytes | None] | None:
        """One row with its content, where that was kept; None when there is no such row."""

    async def mark_replayed(self, row_id: int) -> None:
        """Its content is in the document now: the row stays as a trace, without the bytes, and bars nobody."""

    async def drop(self, row_id: int) -> bool:
        """Forget a row; False when there is none."""

    async def sweep(self, older_than_days: float) -> int:
        """Forget rows of that age; returns how many."""

    async def crashes(self) -> list[Crash]:
        """Who ended a process with which document: by a crash, or killed twice. Rows that were settled do not count.

        Newest first, a thousand at most.
        """
