"""The checkpoint table in memory: for tests and for servers that keep nothing.

It must never be named where a checkpoint is to outlive the process. It stands beside a `MemoryJournal`, as the two
PostgreSQL tables stand side by side, and keeps the folded rows that the journal lets go of.
"""

from collections import defaultdict
from collections.abc import Collection
from dataclasses import dataclass
from uuid import UUID

from persistence.checkpoints import KEPT_GENERATIONS, Checkpoint, Snapshot
from persistence.journal import JournalRow
from persistence.journal_memory import MemoryJournal


@dataclass(frozen=True, slots=True)
class Folded:
    """A row and the generation it was first folded into."""

    row: JournalRow
    into: int


class MemoryCheckpointTable:
    """See `CheckpointTable`. Atomic because no method awaits between its first change and its last."""

    def __init__(self, journal: MemoryJournal) -> None:
        self._journal = journal
        self._generations: defaultdict[UUID, dict[int, Checkpoint]] = defaultdict(dict)
        self._folded: defaultdict[UUID, list[Folded]] = defaultdict(list)

    async def snapshot(self, document_id: UUID, base: int | None = None) -> Snapshot:
        unfolded = await self._journal.unfolded(document_id)
        generations = self._newest_first(document_id)
        if base is None:
            base = generations[0].generation if generations else 0
        rows = unfolded + [folded.row for folded in self._folded[document_id] if folded.into > base]
        return Snapshot(generations, tuple(sorted(rows, key=lambda row: row.id)))

    async def newest(self, document_id: UUID) -> Checkpoint | None:
        return next(iter(self._newest_first(document_id)), None)

    async def record(self, checkpoint: Checkpoint, contained: Collection[int]) -> bool:
        unfolded = await self._journal.unfolded(checkpoint.document_id)
        generations = self._generations[checkpoint.document_id]
        if checkpoint.generation in generations:
            return False
        generations[checkpoint.generation] = checkpoint
        rows = [row for row in unfolded if row.id in set(contained)]
        self._folded[checkpoint.document_id] += [Folded(row, checkpoint.generation) for row in rows]
        self._journal.mark_folded(checkpoint.document_id, [row.id for row in rows], checkpoint.generation)
        return True

    async def prune(self, document_id: UUID, keep: int = KEPT_GENERATIONS) -> tuple[Checkpoint, ...]:
        generations = self._newest_first(document_id)
        kept, forgotten = generations[:keep], generations[keep:]
        if forgotten:
            oldest = kept[-1].generation
            self._generations[document_id] = {checkpoint.generation: checkpoint for checkpoint in kept}
            self._folded[document_id] = [folded for folded in self._folded[document_id] if folded.into > oldest]
            self._journal.drop_folded(document_id, below=oldest + 1)
        return forgotten

    def _newest_first(self, document_id: UUID) -> tuple[Checkpoint, ...]:
        generations = self._generations[document_id]
        return tuple(generations[generation] for generation in sorted(generations, reverse=True))
