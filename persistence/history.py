"""The history of documents: folded rows and older generations, which are kept for a while and then dropped.

It must never drop a row that a kept generation lacks, nor one that is not in three verified generations, nor let go of
rows without noting it where `Documents` sees it (the floor). Called by the pruner.
"""

from collections.abc import Collection
from dataclasses import dataclass, field
from datetime import datetime
from typing import Protocol
from uuid import UUID

from persistence.checkpoints import KEPT_GENERATIONS, Checkpoint, CheckpointsUnavailable

HistoryUnavailable = CheckpointsUnavailable
"""The same tables: what keeps one from answering keeps the other."""

FIRST_ID = UUID(int=0)


@dataclass(slots=True)
class Named:
    """The blobs one document's kept generations name: the newest generation (0: none) and every key."""

    newest: int = 0
    keys: set[str] = field(default_factory=set)


class History(Protocol):
    """Folded rows and generations of all documents. Every method may raise `HistoryUnavailable`.

    Any number of tasks may call at once: none waits long for another, and each row and generation goes once.
    """

    async def page(self, after: UUID, limit: int, keep: int = KEPT_GENERATIONS) -> list[UUID]:
        """The next `limit` documents, by ascending id after `after`, that have at least `keep` generations."""

    async def forget(self, documents: Collection[UUID], keep: int = KEPT_GENERATIONS) -> list[Checkpoint]:
        """Forget all but the newest `keep` generations of these documents; return the forgotten, whose blobs remain."""

    async def drop(
        self, documents: Collection[UUID], before: datetime, limit: int, keep: int = KEPT_GENERATIONS
    ) -> int:
        """Drop up to `limit` rows older than `before` that the newest `keep` generations hold; return how many.

        Fewer than `limit` means that nothing more is to be dropped now. Raises the floor of each document to the
        newest generation that a dropped row was folded into, in the same transaction.
        """

    async def oldest_row(self, documents: Collection[UUID]) -> datetime | None:
        """When the oldest folded row of these documents was made."""

    async def named(self, first: UUID, last: UUID) -> dict[UUID, Named]:
        """Every document from `first` to `last`, both included, with the blobs its generations name."""
