"""What every checkpoint table owes, in memory and on each PostgreSQL at hand."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from uuid import UUID, uuid4

import pytest
import pytest_asyncio

from persistence.catalog_memory import MemoryCatalog
from persistence.catalog_postgres import PostgresCatalog
from persistence.checkpoints import Checkpoint, CheckpointsUnavailable, CheckpointTable, Snapshot
from persistence.checkpoints_memory import MemoryCheckpointTable
from persistence.checkpoints_postgres import PostgresCheckpointTable
from persistence.database import create_pool
from persistence.journal import Journal, JournalEntry
from persistence.journal_memory import MemoryJournal
from persistence.journal_postgres import PostgresJournal
from tests.services.fixtures_postgres import PostgresOfMajor
from tests.services.postgres import second_major

MEMORY = "memory"
# None: the wheel's PostgreSQL.
ADAPTERS: dict[str, Path | None] = {"postgres": None}
if (another := second_major()) is not None:
    ADAPTERS["postgres_second_major"] = another


@dataclass(frozen=True, slots=True)
class Bench:
    """A table beside its journal, with one document."""

    table: CheckpointTable
    journal: Journal
    document_id: UUID

    async def append(self, *updates: bytes) -> list[int]:
        """Journal these updates; returns the ids of all unfolded rows."""
        await self.journal.append([JournalEntry(self.document_id, update, "a", (1,), b"\x00") for update in updates])
        return [row.id for row in await self.journal.unfolded(self.document_id)]

    async def fold_all(self, generation: int) -> bool:
        """Record a generation that contains every unfolded row."""
        ids = [row.id for row in await self.journal.unfolded(self.document_id)]
        return await self.table.record(self.checkpoint(generation), ids)

    def checkpoint(self, generation: int, *, key: str | None = None) -> Checkpoint:
        key = key or f"crdt/{self.document_id}/0/{generation:08d}"
        return Checkpoint(self.document_id, generation, key, bytes([generation % 256]) * 32, 2**33, b"\x01\x05\x07")


@pytest_asyncio.fixture(params=[MEMORY, *ADAPTERS])
async def bench(request: pytest.FixtureRequest, postgres_of_major: PostgresOfMajor) -> AsyncIterator[Bench]:
    if request.param == MEMORY:
        memory = MemoryCatalog()
        journal = MemoryJournal(memory)
        yield Bench(MemoryCheckpointTable(journal), journal, (await memory.find_or_create("demo")).id)
        return
    server = postgres_of_major(ADAPTERS[request.param])
    url = await server.fresh_database()
    pool = await create_pool(url, max_size=6)
    document = await PostgresCatalog(pool).find_or_create("demo")
    yield Bench(PostgresCheckpointTable(pool), PostgresJournal(pool), document.id)
    await pool.close()
    await server.drop(url)


def updates_of(snapshot: Snapshot) -> list[bytes]:
    return [row.update for row in snapshot.rows]


def generations_of(snapshot: Snapshot) -> list[int]:
    return [checkpoint.generation for checkpoint in snapshot.generations]


async def test_a_document_without_checkpoints_is_its_rows(bench: Bench) -> None:
    await bench.append(b"1", b"2")
    snapshot = await bench.table.snapshot(bench.document_id)
    assert snapshot.generations == ()
    assert updates_of(snapshot) == [b"1", b"2"]
    assert snapshot.rows == tuple(await bench.journal.unfolded(bench.document_id))
    assert await bench.table.newest(bench.document_id) is None


async def test_an_unknown_document_is_empty(bench: Bench) -> None:
    assert await bench.table.snapshot(uuid4()) == Snapshot((), ())
    assert await bench.table.newest(uuid4()) is None


async def test_what_was_recorded_is_read_back(bench: Bench) -> None:
    assert await bench.fold_all(1)
    assert await bench.fold_all(2)
    newest = await bench.table.newest(bench.document_id)
    assert newest == bench.checkpoint(2)
    assert newest is not None
    assert type(newest.document_id) is UUID
    snapshot = await bench.table.snapshot(bench.document_id)
    assert snapshot.generations == (bench.checkpoint(2), bench.checkpoint(1))


async def test_a_task_that_stood_still_does_not_record_a_generation_that_was_forgotten(bench: Bench) -> None:
    """F08: its rows went with it, so an old state in its place would lack what the next generation brought."""
    assert await bench.fold_all(3)  # as when the first two were made and forgotten
    await bench.append(b"later")
    assert not await bench.fold_all(2)
    snapshot = await bench.table.snapshot(bench.document_id)
    assert generations_of(snapshot) == [3]
    assert updates_of(snapshot) == [b"later"]


async def test_exactly_the_contained_rows_are_folded(bench: Bench) -> None:
    first, _, third = await bench.append(b"1", b"2", b"3")
    assert await bench.table.record(bench.checkpoint(1), [first, third])
    assert updates_of(await bench.table.snapshot(bench.document_id)) == [b"2"]
    assert [row.update for row in await bench.journal.unfolded(bench.document_id)] == [b"2"]


async def test_rows_of_another_document_are_never_folded(bench: Bench) -> None:
    mine = await bench.append(b"mine")
    assert await bench.table.record(bench.checkpoint(1), [*mine, *(row_id + 1 for row_id in mine)])
    theirs = await bench.append(b"later")
    assert theirs[0] not in mine
    assert updates_of(await bench.table.snapshot(bench.document_id)) == [b"later"]


async def test_an_older_base_comes_with_every_row_it_lacks(bench: Bench) -> None:
    for generation in (1, 2, 3):
        await bench.append(b"in %d" % generation)
        await bench.fold_all(generation)
    await bench.append(b"unfolded")
    expected = {
        None: [b"unfolded"],
        3: [b"unfolded"],
        2: [b"in 3", b"unfolded"],
        1: [b"in 2", b"in 3", b"unfolded"],
        0: [b"in 1", b"in 2", b"in 3", b"unfolded"],
    }
    for base, updates in expected.items():
        assert updates_of(await bench.table.snapshot(bench.document_id, base)) == updates


async def test_a_generation_is_recorded_once_and_the_loser_changes_nothing(bench: Bench) -> None:
    first, second = await bench.append(b"1", b"2")
    assert await bench.table.record(bench.checkpoint(1, key="winner"), [first])
    assert not await bench.table.record(bench.checkpoint(1, key="loser"), [first, second])
    snapshot = await bench.table.snapshot(bench.document_id)
    assert [checkpoint.key for checkpoint in snapshot.generations] == ["winner"]
    assert updates_of(snapshot) == [b"2"]


async def test_of_racing_recorders_exactly_one_wins(bench: Bench) -> None:
    ids = await bench.append(*[b"%d" % number for number in range(6)])
    records = [bench.table.record(bench.checkpoint(1, key=f"k{row_id}"), [row_id]) for row_id in ids]
    outcomes = await asyncio.gather(*records)
    (winner,) = [row_id for row_id, won in zip(ids, outcomes, strict=True) if won]
    snapshot = await bench.table.snapshot(bench.document_id)
    assert [checkpoint.key for checkpoint in snapshot.generations] == [f"k{winner}"]
    assert [row.id for row in snapshot.rows] == [row_id for row_id in ids if row_id != winner]


async def test_a_row_folded_twice_keeps_its_first_mark(bench: Bench) -> None:
    """A base that fell back folds rows again which a younger, unreadable generation holds already."""
    ids = await bench.append(b"1")
    await bench.table.record(bench.checkpoint(1), [])
    await bench.table.record(bench.checkpoint(2), ids)
    await bench.table.record(bench.checkpoint(3), ids)
    assert updates_of(await bench.table.snapshot(bench.document_id, base=2)) == []
    assert updates_of(await bench.table.snapshot(bench.document_id, base=1)) == [b"1"]


async def test_a_snapshot_never_sees_half_a_checkpoint(bench: Bench) -> None:
    """Every row is in the newest generation it shows or among its rows, whatever commits meanwhile."""
    ids = await bench.append(*[b"%d" % number for number in range(40)])
    folded_by = {row_id: generation for generation, row_id in enumerate(ids, start=1)}

    async def checkpoint_one_by_one() -> None:
        for row_id, generation in folded_by.items():
            assert await bench.table.record(bench.checkpoint(generation), [row_id])
            await asyncio.sleep(0)

    async def watch(writing: asyncio.Task[None]) -> int:
        seen = set()
        while not writing.done():
            snapshot = await bench.table.snapshot(bench.document_id)
            newest = max(generations_of(snapshot), default=0)
            assert {row.id for row in snapshot.rows} == {row_id for row_id, by in folded_by.items() if by > newest}
            seen.add(newest)
            await asyncio.sleep(0)
        return len(seen)

    async with asyncio.TaskGroup() as tasks:
        writing = tasks.create_task(checkpoint_one_by_one())
        watching = [tasks.create_task(watch(writing)) for _ in range(2)]
    seen = [task.result() for task in watching]
    assert max(seen) > 1, "nothing was seen while it was written"


async def test_a_document_that_is_gone_cannot_be_checkpointed(postgres_url: str) -> None:
    pool = await create_pool(postgres_url)
    bench = Bench(PostgresCheckpointTable(pool), PostgresJournal(pool), uuid4())
    assert not await bench.fold_all(1)
    await pool.close()


async def test_a_database_that_is_away_is_unavailable(postgres_url: str) -> None:
    pool = await create_pool(postgres_url)
    await pool.close()
    bench = Bench(PostgresCheckpointTable(pool), PostgresJournal(pool), uuid4())
    table = bench.table
    for call in (
        table.snapshot(bench.document_id),
        table.newest(bench.document_id),
        table.record(bench.checkpoint(1), []),
    ):
        with pytest.raises(CheckpointsUnavailable):
            await call
