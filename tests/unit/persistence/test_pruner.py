"""Facts about pruning: old rows, generations and blobs go, and nothing that anybody may still need."""

import asyncio
import os
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import UUID, uuid4

import pytest
import pytest_asyncio

from persistence import pruner as pruner_module
from persistence.blobs import Blobs, BlobsUnavailable
from persistence.blobs_directory import DirectoryBlobs
from persistence.blobs_memory import MemoryBlobs
from persistence.checkpoints import Checkpoint
from persistence.history import History
from persistence.history_memory import MemoryHistory
from persistence.pruner import SHARDS, Pruned, Pruner
from tests.unit.persistence.authors import Author
from tests.unit.persistence.stores import Stores, memory_stores

NOW = datetime.now(UTC)
MONTH = timedelta(days=30)
DAY_S = 86_400.0


@pytest_asyncio.fixture
async def stores() -> Stores:
    return await memory_stores()


def pruner(
    stores: Stores, window: timedelta = MONTH, *, orphan_after_s: float = 0, history: History | None = None
) -> Pruner:
    """One that looks at all blobs in each run, and by default waits for none to grow old."""
    return Pruner(history or stores.history, stores.blobs, window, shards_a_run=SHARDS, orphan_after_s=orphan_after_s)


async def folded(stores: Stores, times: int) -> list[Checkpoint]:
    """Generations under keys such as the checkpointer makes them."""
    author = Author(5)
    return [await stores.write_and_fold(author, f"{number} ") for number in range(times)]


def key_of(document: UUID, generation: int, tail: str = "0123456789abcdef") -> str:
    return f"crdt/{document}/0/{generation:08d}-{tail}.yjs.zst"


async def keys(stores: Stores) -> list[str]:
    return await stores.blobs.list_keys("crdt/")


async def test_rows_older_than_the_window_go_and_younger_ones_stay(stores: Stores) -> None:
    await folded(stores, 5)
    assert (await pruner(stores).run(NOW)).rows == 0
    assert (await pruner(stores).run(NOW + MONTH - timedelta(hours=1))).rows == 0
    pruned = await pruner(stores).run(NOW + MONTH + timedelta(hours=1))
    assert pruned.rows == 3
    assert await stores.text() == "0 1 2 3 4 "


async def test_without_a_window_rows_go_as_soon_as_three_generations_hold_them(stores: Stores) -> None:
    soon = NOW + timedelta(hours=1)
    await folded(stores, 2)
    assert (await pruner(stores, timedelta()).run(soon)).rows == 0
    other = await memory_stores()
    await folded(other, 3)
    assert (await pruner(other, timedelta()).run(soon)).rows == 1


async def test_old_generations_go_with_their_blobs_whatever_the_window(stores: Stores) -> None:
    checkpoints = await folded(stores, 5)
    pruned = await pruner(stores).run(NOW)
    assert (pruned.generations, pruned.rows, pruned.failure) == (2, 0, None)
    assert await keys(stores) == [checkpoint.key for checkpoint in checkpoints[2:]]
    assert (await pruner(stores).run(NOW)).generations == 0


async def test_the_age_of_the_oldest_row_is_told(stores: Stores) -> None:
    assert (await pruner(stores).run(NOW)).oldest_row_at is None
    await folded(stores, 3)
    oldest = (await pruner(stores).run(NOW)).oldest_row_at
    assert oldest is not None
    assert abs((oldest - datetime.now(UTC)).total_seconds()) < 60


async def test_a_run_has_a_bound_and_the_next_one_goes_on(stores: Stores, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pruner_module, "BATCH_ROWS", 2)
    monkeypatch.setattr(pruner_module, "MAX_BATCHES", 2)
    await folded(stores, 9)  # seven rows may go
    one = pruner(stores, timedelta())
    assert [(await one.run(NOW + MONTH)).rows for _ in range(3)] == [4, 3, 0]


async def test_every_document_has_its_turn_wherever_a_task_begins(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pruner_module, "PAGE_DOCUMENTS", 3)
    stores = await memory_stores()
    for number in range(10):
        document = await stores.catalog.find_or_create(f"{number}")
        for generation in range(1, 5):
            key = key_of(document.id, generation)
            await stores.blobs.put(key, b"x")
            await stores.table.record(Checkpoint(document.id, generation, key, b"0" * 32, 1, b"\x00"), [])
    for _ in range(5):
        assert (await pruner(stores).run(NOW)).generations in {0, 10}
    assert len(await keys(stores)) == 30


# Orphans


async def test_a_blob_no_row_names_goes_once_it_is_old(stores: Stores, tmp_path: Path) -> None:
    """F08, F15: what a lost race or a crash between upload and record leaves behind."""
    stores = await memory_stores(DirectoryBlobs(tmp_path))
    checkpoints = await folded(stores, 2)
    orphan = key_of(stores.document.id, 2)
    await stores.blobs.put(orphan, b"left over")
    patient = pruner(stores, orphan_after_s=DAY_S)
    assert (await patient.run(NOW)).orphans == 0
    os.utime(tmp_path / "objects" / orphan, (0, datetime.now().timestamp() - DAY_S - 60))
    assert (await patient.run(NOW)).orphans == 1
    assert await keys(stores) == [checkpoint.key for checkpoint in checkpoints]
    await stores.blobs.close()


async def test_the_blob_of_a_checkpoint_under_way_is_never_deleted_however_long_it_takes(stores: Stores) -> None:
    """Its generation is not in the table yet: no age makes an orphan of it."""
    await folded(stores, 2)
    under_way = key_of(stores.document.id, 3)
    await stores.blobs.put(under_way, b"uploaded, not recorded")
    pruned = await pruner(stores).run(NOW)
    assert (pruned.orphans, pruned.ahead) == (0, 0)
    assert under_way in await keys(stores)


class RecordingMeanwhile(MemoryHistory):
    """While the blobs are compared, another task records the checkpoint whose blob was just listed."""

    def __init__(self, stores: Stores, blob: str) -> None:
        assert isinstance(stores.history, MemoryHistory)
        super().__init__(stores.history._table, stores.history._catalog)
        self._stores, self._blob = stores, blob

    async def named(self, first: UUID, last: UUID):  # type: ignore[no-untyped-def]
        document = self._stores.document.id
        await self._stores.table.record(Checkpoint(document, 3, self._blob, b"0" * 32, 1, b"\x00"), [])
        return await super().named(first, last)


async def test_a_checkpoint_recorded_while_blobs_are_compared_keeps_its_blob(stores: Stores) -> None:
    await folded(stores, 2)
    blob = key_of(stores.document.id, 3)
    await stores.blobs.put(blob, b"new")
    pruned = await pruner(stores, history=RecordingMeanwhile(stores, blob)).run(NOW)
    assert (pruned.orphans, pruned.missing) == (0, 0)
    assert blob in await keys(stores)


async def test_deletions_of_a_run_have_a_bound(stores: Stores, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pruner_module, "MAX_DELETES", 2)
    await folded(stores, 1)
    for number in range(5):
        await stores.blobs.put(key_of(stores.document.id, 1, f"{number:016x}"), b"left over")
    one = pruner(stores)
    assert [(await one.run(NOW)).orphans for _ in range(4)] == [2, 2, 1, 0]


async def test_blobs_of_other_kinds_are_left_alone(stores: Stores) -> None:
    await folded(stores, 2)
    others = [f"crdt/{stores.document.id}/notes.txt", f"documents/{stores.document.id}.md", "crdt/00"]
    for key in others:
        await stores.blobs.put(key, b"not ours")
    assert (await pruner(stores).run(NOW)).orphans == 0
    assert set(others) <= set(await stores.blobs.list_keys(""))


# Pointer and storage apart (F24)


async def test_blobs_that_were_deleted_are_told(stores: Stores) -> None:
    checkpoints = await folded(stores, 3)
    one = pruner(stores)
    assert (await one.run(NOW)).missing == 0
    for checkpoint in checkpoints[1:]:
        await stores.blobs.delete(checkpoint.key)
    assert (await one.run(NOW)).missing == 2


async def test_blobs_ahead_of_a_restored_database_are_kept_and_told(stores: Stores) -> None:
    """They may hold the only copy of what the database no longer has."""
    await folded(stores, 2)
    ahead = [key_of(stores.document.id, generation) for generation in (4, 5)] + [key_of(uuid4(), 1)]
    for key in ahead:
        await stores.blobs.put(key, b"of the time after the backup")
    pruned = await pruner(stores).run(NOW)
    assert (pruned.ahead, pruned.orphans) == (3, 0)
    assert set(ahead) <= set(await keys(stores))


async def test_what_is_found_adds_up_over_the_runs_of_a_round(stores: Stores) -> None:
    checkpoints = await folded(stores, 1)
    await stores.blobs.delete(checkpoints[0].key)
    one = Pruner(stores.history, stores.blobs, MONTH, shards_a_run=SHARDS // 4)
    runs = [await one.run(NOW) for _ in range(8)]
    assert [run.missing for run in runs[3:]] == [1] * 5


# Failures


class AwayBlobs(MemoryBlobs):
    """Stores, but neither lists nor deletes."""

    async def delete(self, key: str) -> None:
        raise BlobsUnavailable("away")

    async def list_keys(self, prefix: str, *, older_than_s: float = 0) -> list[str]:
        raise BlobsUnavailable("away")


async def test_rows_are_pruned_while_the_object_store_is_away() -> None:
    stores = await memory_stores(AwayBlobs())
    await folded(stores, 5)
    pruned = await pruner(stores, timedelta()).run(NOW + MONTH)
    assert pruned.rows == 3
    assert isinstance(pruned.failure, BlobsUnavailable)


async def test_blobs_left_by_a_cut_run_are_orphans_of_a_later_one() -> None:
    stores = await memory_stores(AwayBlobs())
    checkpoints = await folded(stores, 5)
    await pruner(stores).run(NOW)
    back: Blobs = MemoryBlobs()
    for checkpoint in checkpoints:
        await back.put(checkpoint.key, await stores.blobs.get(checkpoint.key))
    await asyncio.sleep(0.01)  # the age bound of this test
    pruned = await Pruner(stores.history, back, MONTH, shards_a_run=SHARDS, orphan_after_s=0.001).run(NOW)
    assert pruned == Pruned(orphans=2, oldest_row_at=pruned.oldest_row_at)
    assert await back.list_keys("crdt/") == [checkpoint.key for checkpoint in checkpoints[2:]]
