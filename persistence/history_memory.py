"""History in memory: for tests and for servers that keep nothing.

It must never be named where a document is to outlive the process. It stands on a `MemoryCheckpointTable`, as the
PostgreSQL one stands on the same tables.
"""

from collections.abc import Collection
from datetime import datetime
from uuid import UUID

from persistence.catalog_memory import MemoryCatalog
from persistence.checkpoints import KEPT_GENERATIONS, Checkpoint
from persistence.checkpoints_memory import MemoryCheckpointTable
from persistence.history import Named


class MemoryHistory:
    """See `History`. Atomic because no method awaits."""

    def __init__(self, table: MemoryCheckpointTable, catalog: MemoryCatalog) -> None:
        self._table = table
        self._catalog = catalog

    async def page(self, after: UUID, limit: int, keep: int = KEPT_GENERATIONS) -> list[UUID]:
        full = (document for document, kept in self._table.generations.items() if len(kept) >= keep)
        return sorted(document for document in full if document > after)[:limit]

    async def forget(self, documents: Collection[UUID], keep: int = KEPT_GENERATIONS) -> list[Checkpoint]:
        return [
            self._table.generations[document].pop(checkpoint.generation)
            for document in documents
            for checkpoint in self._table.newest_first(document)[keep:]
        ]

    async def drop(
        self, documents: Collection[UUID], before: datetime, limit: int, keep: int = KEPT_GENERATIONS
    ) -> int:
        dropped = 0
        for document in documents:
            kept = self._table.newest_first(document)[:keep]
            if len(kept) == keep:
                dropped += self._table.drop_folded(document, kept[-1].generation, before, limit - dropped)
        return dropped

    async def oldest_row(self, documents: Collection[UUID]) -> datetime | None:
        made = (folded.row_made_at for document in documents for folded in self._table.folded[document])
        return min(made, default=None)

    async def named(self, first: UUID, last: UUID) -> dict[UUID, Named]:
        return {
            document: Named(
                max((checkpoint.generation for checkpoint in self._table.kept(document)), default=0),
                {checkpoint.key for checkpoint in self._table.kept(document)},
            )
            for document in self._catalog.ids()
            if first <= document <= last
        }
