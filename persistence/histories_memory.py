"""The histories in memory, for tests: beside a `MemoryJournal` and its `MemoryCheckpointTable`, as the tables stand
together.
"""

from collections.abc import Sequence
from datetime import UTC, datetime
from uuid import UUID

from persistence.catalog_memory import MemoryCatalog
from persistence.checkpoints import Checkpoint
from persistence.checkpoints_memory import MemoryCheckpointTable
from persistence.histories import Generation, History, bequest
from persistence.journal_memory import MemoryJournal
from persistence.state_vectors import decode


class MemoryHistories:
    """See `Histories`. Atomic because `replace` does not await between its first change and its last."""

    def __init__(self, catalog: MemoryCatalog, journal: MemoryJournal, table: MemoryCheckpointTable) -> None:
        self._catalog = catalog
        self._journal = journal
        self._table = table
        self._histories: dict[UUID, History] = {}

    async def current(self, document_id: UUID) -> History | None:
        await self._journal.ping()
        return self._histories.get(document_id)

    async def epochs(self, document_ids: Sequence[UUID]) -> dict[UUID, int]:
        await self._journal.ping()
        return {wanted: self._histories[wanted].epoch for wanted in document_ids if wanted in self._histories}

    async def generations(self, document_id: UUID) -> list[Generation]:
        await self._journal.ping()
        return [Generation(kept, datetime.fromtimestamp(0, UTC)) for kept in self._table.kept(document_id)]

    async def replace(self, state: Checkpoint, marker: int) -> bool:
        rows = (await self._table.snapshot(state.document_id, 0)).rows
        kept = self._table.kept(state.document_id)
        follows = (
            self._catalog.knows(state.document_id) and state.epoch == self._catalog.epoch_of(state.document_id) + 1
        )
        if not follows or state.generation != (kept[0].generation + 1 if kept else 1):
            return False
        before = self._histories.get(state.document_id)
        held = [decode(held) for held in (*(row.reach for row in rows), *(old.state_vector for old in kept))]
        left = bequest(before.ever if before else {}, held, decode(state.state_vector))
        self._journal.begin_epoch(state.document_id)
        self._catalog.begin_epoch(state.document_id, state.epoch)
        self._histories[state.document_id] = History(state.epoch, marker, left.ever, left.dead)
        self._table.begin_epoch(state)
        return True
