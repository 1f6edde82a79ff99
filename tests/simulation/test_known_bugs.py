"""Bugs that were made before, here or elsewhere, put back into the real classes: the simulation finds each of them.

This is what says that a night without a broken promise means something.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import datetime
from uuid import UUID

import pytest

from collab_server.rooms.registry import Registry
from collab_server.rooms.room import Room
from persistence.catalog import Document
from persistence.checkpointer import Checkpointer
from persistence.checkpoints import Checkpoint
from persistence.checkpoints_memory import MemoryCheckpointTable
from persistence.documents import Recovered
from persistence.fold import FoldResult, Row, fold
from tests.simulation.world import REAL, Failed, Parts, Plan, simulate

MOST_SEEDS = 10_000


class ClearsMarksAfterTheWrite(Registry):
    """An edit made while the checkpoint is written is forgotten with those it holds (habit 9)."""

    async def checkpoint(self, room: Room) -> bool:
        try:
            await self._recorder.flush(room.ticket)
            await self._checkpointer.checkpoint(room.document)
        except Exception:
            if self.rooms.get(room.document.name) is room:
                self._triggers.failed(room, self._clock())
            return False
        room.dirty_updates = room.dirty_bytes = 0
        return True


class PrunesWhatAnOlderGenerationNeeds(MemoryCheckpointTable):
    """Once the newest generation holds a row, it is dropped, although a kept older one does not hold it."""

    def drop_folded(self, document_id: UUID, through: int, before: datetime, limit: int) -> int:
        super().drop_folded(document_id, through, before, limit)
        dropped, self.folded[document_id] = self.folded[document_id], []
        return len(dropped)


class RecordsBeforeItStores(Checkpointer):
    """The pointer moves, and rows are let go of, before the blob lies in storage and was read back."""

    async def _store(self, document: Document, found: Recovered, folded: FoldResult) -> Checkpoint:
        checkpoint = await super()._store(document, found, folded)
        await self._blobs.delete(checkpoint.key)  # so it is not there yet when it is recorded
        return checkpoint


class RecordsAStaleGeneration(MemoryCheckpointTable):
    """A task that stood still puts its generation in after it was made, outlived and pruned (F08)."""

    async def record(self, checkpoint: Checkpoint, contained: Sequence[int]) -> bool:  # type: ignore[override]
        generations = self.generations[checkpoint.document_id]
        if checkpoint.generation in generations:
            return False
        generations[checkpoint.generation] = checkpoint
        return True


def fold_with_what_waits(previous: bytes | None, rows: Sequence[Row]) -> FoldResult:
    """A row that waits for another one counts as contained, and is lost when that other one comes (decision 2)."""
    return replace(fold(previous, rows), contained_ids=tuple(row_id for row_id, _, _ in rows))


def busy(plan: Plan) -> bool:
    """Many checkpoints, and much that comes between."""
    return plan.misfortunes >= 4 and plan.rules.checkpoint_after_updates <= 2 and plan.pause_s < 1


def anything(_plan: Plan) -> bool:
    """Any world will do."""
    return True


def with_an_outsider(plan: Plan) -> bool:
    """Rows are committed before those they build on."""
    return plan.has_outsider


def quiet_after_the_last_edit(plan: Plan) -> bool:
    """Nothing but the forgotten mark could bring the last edit into a checkpoint."""
    return not plan.has_outsider and plan.rules.grace_s > 0


@pytest.mark.parametrize(
    ("parts", "where", "broken"),
    [
        (Parts(registry=ClearsMarksAfterTheWrite), quiet_after_the_last_edit, "in no checkpoint"),
        (Parts(table=PrunesWhatAnOlderGenerationNeeds), anything, "lacks something"),
        (Parts(checkpointer=RecordsBeforeItStores), anything, "before its blob"),
        (Parts(table=RecordsAStaleGeneration), busy, "was recorded after"),
        (Parts(instead={fold: fold_with_what_waits}), with_an_outsider, "lacks something"),
    ],
    ids=["marks", "prune", "store", "stale", "waiting"],
)
def test_a_bug_that_is_put_back_is_found_and_its_world_is_well_without_it(
    parts: Parts, where: Callable[[Plan], bool], broken: str
) -> None:
    failure = first_failure(parts, where, broken)
    assert failure.trace
    assert simulate(failure.seed, REAL).steps


def first_failure(parts: Parts, where: Callable[[Plan], bool], broken: str) -> Failed:
    """The first world of that kind that these parts do not survive, in the way that is looked for."""
    for seed in range(MOST_SEEDS):
        if where(Plan.of(seed)):
            try:
                simulate(seed, parts)
            except Failed as failure:
                if broken in str(failure):
                    return failure
    pytest.fail(f"not found in {MOST_SEEDS} worlds")
