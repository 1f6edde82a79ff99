"""The checkpoint table in memory: for tests and for servers that keep nothing.

It must never be named where a checkpoint is to outlive the process. It stands beside a `MemoryJournal`, as the two
PostgreSQL tables stand side by side, and keeps the folded rows that the journal lets go of.
"""

from collections import defaultdict
from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from persistence.checkpoints import Checkpoint, Snapshot
from persistence.journal import JournalRow
from persistence.journal_memory import MemoryJournal


@dataclass(frozen=True, slots=True)
class Folded:
    """A row, when it was made, and the generation it was first folded into."""

    row: JournalRow
    row_made_at: datetime
    into: int


class MemoryCheckpointTable:
    """See `CheckpointTable`. Atomic because no method awaits between its first change and its last."""

    def __init__(self, journal: MemoryJournal) -> None:
        self._journal = journal
        self.generations: defaultdict[UUID, dict[int, Checkpoint]] = defaultdict(dict)
        self.folded: defaultdict[UUID, list[Folded]] = defaultdict(list)
        self.floors: defaultdict[UUID, int] = defaultdict(int)

    async def snapshot(self, document_id: UUID, base: int | None = None) -> Snapshot:
        unfolded = await self._journal.unfolded(document_id)
        generations = self.newest_first(document_id)
        if base is None:
            base = generations[0].generation if generations else 0
        rows = unfolded + [folded.row for folded in self.folded[document_id] if folded.into > base]
        epoch = self._journal.epoch_of(document_id)
        return Snapshot(generations, tuple(sorted(rows, key=lambda row: row.id)), self.floors[document_id], epoch)

    async def newest(self, document_id: UUID) -> Checkpoint | None:
        return next(iter(self.newest_first(document_id)), None)

    async def record(self, checkpoint: Checkpoint, contained: Collection[int]) -> bool:
        unfolded = await self._journal.unfolded(checkpoint.document_id)
        generations, epoch = self.generations[checkpoint.document_id], self._journal.epoch_of(checkpoint.document_id)
        if max(generations, default=0) >= checkpoint.generation or checkpoint.epoch != epoch:
            return False
        generations[checkpoint.generation] = checkpoint
        wanted = set(contained)
        for row in unfolded:
            if row.id in wanted:
                made_at = self._journal.take_folded(checkpoint.document_id, row.id)
                self.folded[checkpoint.document_id].append(Folded(row, made_at, checkpoint.generation))
        return True

    def kept(self, document_id: UUID) -> tuple[Checkpoint, ...]:
        """Every generation of every epoch, newest first."""
        generations = self.generations[document_id]
        return tuple(generations[generation] for generation in sorted(generations, reverse=True))

    def newest_first(self, document_id: UUID) -> tuple[Checkpoint, ...]:
        """The kept generations of a document's present history."""
        epoch = self._journal.epoch_of(document_id)
        return tuple(checkpoint for checkpoint in self.kept(document_id) if checkpoint.epoch == epoch)

    def begin_epoch(self, state: Checkpoint) -> None:
        """Begin a history with `state`: only that and what follows makes the document."""
        self.generations[state.document_id][state.generation] = state
        self.folded.pop(state.document_id, None)
        self.floors[state.document_id] = state.generation

    def drop_folded(self, document_id: UUID, through: int, before: datetime, limit: int) -> int:
        """Drop up to `limit` rows made before then and folded into generations up to `through`, and note the floor."""
        rows = sorted(self.folded[document_id], key=lambda folded: folded.row_made_at)
        doomed = [folded for folded in rows if folded.into <= through and folded.row_made_at < before][:limit]
        self.folded[document_id] = [folded for folded in rows if folded not in doomed]
        self.floors[document_id] = max([self.floors[document_id], *(folded.into for folded in doomed)])
        return len(doomed)
