"""What every adapter of the histories owes, in memory and on each PostgreSQL at hand: the fence above all."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from pathlib import Path
from uuid import UUID, uuid4

import asyncpg
import pytest
import pytest_asyncio

from persistence.catalog import Catalog
from persistence.catalog_memory import MemoryCatalog
from persistence.catalog_postgres import PostgresCatalog
from persistence.checkpoints import Checkpoint, CheckpointTable
from persistence.checkpoints_memory import MemoryCheckpointTable
from persistence.checkpoints_postgres import PostgresCheckpointTable
from persistence.database import create_pool
from persistence.histories import Histories, HistoriesUnavailable
from persistence.histories_memory import MemoryHistories
from persistence.histories_postgres import PostgresHistories
from persistence.history import History
from persistence.history_memory import MemoryHistory
from persistence.history_postgres import PostgresHistory
from persistence.journal import Journal, JournalEntry, JournalRefused
from persistence.journal_memory import MemoryJournal
from persistence.journal_postgres import PostgresJournal
from persistence.state_vectors import encode
from tests.services.fixtures_postgres import PostgresOfMajor
from tests.services.postgres import second_major

MEMORY, MARKER = "memory", 2**31
ADAPTERS: dict[str, Path | None] = {"postgres": None}  # None: the wheel's PostgreSQL
if (another := second_major()) is not None:
    ADAPTERS["postgres_second_major"] = another


@dataclass(frozen=True, slots=True)
class Bench:
    histories: Histories
    table: CheckpointTable
    journal: Journal
    catalog: Catalog
    document_id: UUID
    old: History

    async def append(self, *reaches: dict[int, int], epoch: int = 0) -> None:
        await self.journal.append(
            [JournalEntry(self.document_id, b"\x00\x00", "ada", (), encode(reach), epoch=epoch) for reach in reaches]
        )

    def state(self, generation: int, clocks: dict[int, int], epoch: int = 0) -> Checkpoint:
        key = f"crdt/{epoch}/{generation}"
        return Checkpoint(self.document_id, generation, key, bytes(32), 100, encode(clocks), epoch)

    async def fold(self, generation: int, clocks: dict[int, int], epoch: int = 0) -> bool:
        rows = await self.journal.unfolded(self.document_id)
        return await self.table.record(self.state(generation, clocks, epoch), [row.id for row in rows])

    async def epoch(self) -> int:
        document = await self.catalog.find("demo")
        assert document is not None
        return document.epoch


@pytest_asyncio.fixture(params=[MEMORY, *ADAPTERS])
async def bench(request: pytest.FixtureRequest, postgres_of_major: PostgresOfMajor) -> AsyncIterator[Bench]:
    if request.param == MEMORY:
        memory = MemoryCatalog()
        journal = MemoryJournal(memory)
        table = MemoryCheckpointTable(journal)
        document = await memory.find_or_create("demo")
        yield Bench(
            MemoryHistories(memory, journal, table), table, journal, memory, document.id, MemoryHistory(table, memory)
        )
        return
    server = postgres_of_major(ADAPTERS[request.param])
    url = await server.fresh_database()
    pool = await create_pool(url, max_size=6)
    catalog = PostgresCatalog(pool)
    document = await catalog.find_or_create("demo")
    yield Bench(
        PostgresHistories(pool),
        PostgresCheckpointTable(pool),
        PostgresJournal(pool),
        catalog,
        document.id,
        PostgresHistory(pool),
    )
    await pool.close()
    await server.drop(url)


async def test_a_document_that_was_never_restored_has_no_history_to_know_of(bench: Bench) -> None:
    assert await bench.histories.current(bench.document_id) is None
    assert await bench.histories.epochs([bench.document_id]) == {}
    assert await bench.histories.generations(bench.document_id) == []


async def test_a_new_history_knows_what_every_older_one_held_and_what_of_it_is_dead(bench: Bench) -> None:
    await bench.append({1: 5})
    assert await bench.fold(1, {1: 5})
    await bench.append({1: 9}, {2: 3})  # in the journal only
    assert await bench.histories.replace(bench.state(2, {1: 5, MARKER: 1}, epoch=1), MARKER)
    assert await bench.epoch() == 1
    assert await bench.histories.epochs([bench.document_id, uuid4()]) == {bench.document_id: 1}
    history = await bench.histories.current(bench.document_id)
    assert history is not None
    assert (history.epoch, history.marker) == (1, MARKER)
    assert history.ever == {1: 9, 2: 3}
    assert history.dead == {1: 5, 2: 0}
    view = await bench.table.snapshot(bench.document_id)
    assert (view.epoch, [kept.generation for kept in view.generations], view.rows) == (1, [2], ())
    assert [kept.checkpoint.generation for kept in await bench.histories.generations(bench.document_id)] == [2, 1]


async def test_what_was_dead_lives_again_when_it_is_restored(bench: Bench) -> None:
    await bench.append({1: 9})
    assert await bench.fold(1, {1: 5})
    assert await bench.fold(2, {1: 9})
    assert await bench.histories.replace(bench.state(3, {1: 5, MARKER: 1}, epoch=1), MARKER)
    await bench.append({7: 2}, epoch=1)
    assert await bench.histories.replace(bench.state(4, {1: 9, MARKER: 2}, epoch=2), MARKER)
    history = await bench.histories.current(bench.document_id)
    assert history is not None
    assert history.ever == {1: 9, 7: 2, MARKER: 1}
    assert history.dead == {7: 0}


async def test_an_entry_of_a_replaced_history_is_refused_for_good_and_one_of_the_new_is_not(bench: Bench) -> None:
    assert await bench.histories.replace(bench.state(1, {MARKER: 1}, epoch=1), MARKER)
    with pytest.raises(JournalRefused):
        await bench.append({1: 1}, epoch=0)
    with pytest.raises(JournalRefused):
        await bench.append({1: 1}, epoch=2)
    await bench.append({1: 1}, epoch=1)
    assert len(await bench.journal.unfolded(bench.document_id)) == 1


async def test_a_checkpoint_of_a_replaced_history_is_not_recorded(bench: Bench) -> None:
    assert await bench.histories.replace(bench.state(1, {MARKER: 1}, epoch=1), MARKER)
    assert not await bench.fold(2, {1: 1}, epoch=0)
    assert await bench.fold(2, {1: 1}, epoch=1)


@pytest.mark.parametrize(("generation", "epoch"), [(2, 0), (2, 2), (1, 1), (3, 1)])
async def test_a_restore_that_was_overtaken_changes_nothing(bench: Bench, generation: int, epoch: int) -> None:
    await bench.append({1: 5})
    assert await bench.fold(1, {1: 5})
    assert not await bench.histories.replace(bench.state(generation, {}, epoch=epoch), MARKER)
    assert await bench.epoch() == 0
    assert await bench.histories.current(bench.document_id) is None
    missing = replace(bench.state(1, {}, epoch=1), document_id=uuid4())
    assert not await bench.histories.replace(missing, MARKER)


async def test_appends_and_a_restore_at_once_leave_no_row_of_the_old_history(bench: Bench) -> None:
    async def write(number: int) -> bool:
        try:
            await bench.append({number + 1: 1})
        except JournalRefused:
            return False
        return True

    writing = [asyncio.create_task(write(number)) for number in range(30)]
    await asyncio.sleep(0)
    assert await bench.histories.replace(bench.state(1, {MARKER: 1}, epoch=1), MARKER)
    committed = [number + 1 for number, was in enumerate(await asyncio.gather(*writing)) if was]
    assert await bench.journal.unfolded(bench.document_id) == []
    history = await bench.histories.current(bench.document_id)
    assert history is not None
    assert sorted(history.dead) == committed  # every edit that was acknowledged is known as one of before


async def test_pruning_keeps_the_generations_of_older_histories(bench: Bench) -> None:
    for generation in (1, 2, 3):
        assert await bench.fold(generation, {1: generation})
    assert await bench.histories.replace(bench.state(4, {1: 1, MARKER: 1}, epoch=1), MARKER)
    for generation in (5, 6, 7):
        await bench.append({1: 1}, epoch=1)
        assert await bench.fold(generation, {1: 1}, epoch=1)
    assert [gone.generation for gone in await bench.old.forget([bench.document_id])] == [4]
    kept = [kept.checkpoint.generation for kept in await bench.histories.generations(bench.document_id)]
    assert kept == [7, 6, 5, 3, 2, 1]


async def test_tables_that_are_away_say_so(postgres_pool: asyncpg.Pool) -> None:
    await postgres_pool.execute("alter table document_histories rename to elsewhere")
    with pytest.raises(HistoriesUnavailable):
        await PostgresHistories(postgres_pool).epochs([uuid4()])
