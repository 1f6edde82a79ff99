"""What every history owes, in memory and on each PostgreSQL at hand: nothing that is needed goes, and all that goes
is noted."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import UUID

import pytest
import pytest_asyncio

from persistence.catalog import Catalog
from persistence.catalog_memory import MemoryCatalog
from persistence.catalog_postgres import PostgresCatalog
from persistence.checkpoints import Checkpoint, CheckpointTable
from persistence.checkpoints_memory import MemoryCheckpointTable
from persistence.checkpoints_postgres import PostgresCheckpointTable
from persistence.database import create_pool
from persistence.history import FIRST_ID, History, HistoryUnavailable, Named
from persistence.history_memory import MemoryHistory
from persistence.history_postgres import PostgresHistory
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
LAST_ID = UUID(int=2**128 - 1)
LATER, EARLIER = (datetime.now(UTC) + timedelta(hours=hours) for hours in (1, -1))


@dataclass(frozen=True, slots=True)
class Bench:
    """A history over a table and a journal."""

    catalog: Catalog
    table: CheckpointTable
    journal: Journal
    history: History

    async def document(self, generations: int, name: str = "demo") -> UUID:
        """A document with one row folded into each of its generations."""
        document_id = (await self.catalog.find_or_create(name)).id
        for generation in range(1, generations + 1):
            await self.fold(document_id, generation)
        return document_id

    async def fold(self, document_id: UUID, generation: int, rows: int = 1) -> None:
        update = b"in %d" % generation
        await self.journal.append([JournalEntry(document_id, update, "a", (1,), b"\x00")] * rows)
        ids = [row.id for row in await self.journal.unfolded(document_id)]
        assert await self.table.record(checkpoint(document_id, generation), ids)

    async def rows(self, document_id: UUID) -> list[bytes]:
        return [row.update for row in (await self.table.snapshot(document_id, base=0)).rows]

    async def floor(self, document_id: UUID) -> int:
        return (await self.table.snapshot(document_id)).floor


def checkpoint(document_id: UUID, generation: int) -> Checkpoint:
    key = f"crdt/{document_id}/0/{generation:08d}-abc.yjs.zst"
    return Checkpoint(document_id, generation, key, bytes([generation]) * 32, 1, b"\x00")


@pytest_asyncio.fixture(params=[MEMORY, *ADAPTERS])
async def bench(request: pytest.FixtureRequest, postgres_of_major: PostgresOfMajor) -> AsyncIterator[Bench]:
    if request.param == MEMORY:
        catalog = MemoryCatalog()
        journal = MemoryJournal(catalog)
        table = MemoryCheckpointTable(journal)
        yield Bench(catalog, table, journal, MemoryHistory(table, catalog))
        return
    server = postgres_of_major(ADAPTERS[request.param])
    url = await server.fresh_database()
    pool = await create_pool(url, max_size=6)
    yield Bench(PostgresCatalog(pool), PostgresCheckpointTable(pool), PostgresJournal(pool), PostgresHistory(pool))
    await pool.close()
    await server.drop(url)


async def test_documents_with_enough_generations_come_page_by_page(bench: Bench) -> None:
    full = sorted([await bench.document(3, f"full {number}") for number in range(5)])
    await bench.document(2, "not yet")
    assert await bench.history.page(FIRST_ID, 2) == full[:2]
    assert await bench.history.page(full[1], 2) == full[2:4]
    assert await bench.history.page(full[3], 2) == full[4:]
    assert await bench.history.page(full[4], 2) == []


async def test_all_but_the_newest_three_generations_are_forgotten(bench: Bench) -> None:
    one, two = await bench.document(5, "one"), await bench.document(4, "two")
    forgotten = await bench.history.forget([one, two])
    assert {(each.document_id, each.generation) for each in forgotten} == {(one, 1), (one, 2), (two, 1)}
    assert checkpoint(one, 1) in forgotten
    kept = (await bench.table.snapshot(one)).generations
    assert [each.generation for each in kept] == [5, 4, 3]
    assert await bench.history.forget([one, two]) == []
    assert await bench.rows(one) == [b"in %d" % generation for generation in range(1, 6)]


async def test_a_document_with_few_generations_keeps_them_and_its_rows(bench: Bench) -> None:
    document = await bench.document(2)
    assert await bench.history.forget([document]) == []
    assert await bench.history.drop([document], LATER, limit=10) == 0
    assert len(await bench.rows(document)) == 2


async def test_only_rows_that_three_generations_hold_are_dropped(bench: Bench) -> None:
    document = await bench.document(5)
    await bench.journal.append([JournalEntry(document, b"unfolded", "a", (1,), b"\x00")])
    assert await bench.history.drop([document], LATER, limit=10) == 3
    assert await bench.rows(document) == [b"in 4", b"in 5", b"unfolded"]


async def test_rows_within_the_window_are_kept(bench: Bench) -> None:
    document = await bench.document(5)
    assert await bench.history.drop([document], EARLIER, limit=10) == 0
    assert await bench.rows(document) == [b"in %d" % generation for generation in range(1, 6)]
    assert await bench.floor(document) == 0


async def test_of_one_document_the_old_rows_go_and_the_young_ones_stay(bench: Bench) -> None:
    document = await bench.document(2)
    between = datetime.now(UTC)
    for generation in (3, 4, 5):
        await bench.fold(document, generation)
    assert await bench.history.drop([document], between, limit=10) == 2
    assert await bench.rows(document) == [b"in 3", b"in 4", b"in 5"]
    assert await bench.floor(document) == 2


async def test_the_floor_is_the_newest_generation_a_dropped_row_was_in(bench: Bench) -> None:
    document, other = await bench.document(5), await bench.document(5, "other")
    assert await bench.floor(document) == 0
    assert await bench.history.drop([document], LATER, limit=2) == 2
    assert await bench.rows(document) == [b"in 3", b"in 4", b"in 5"]
    assert await bench.floor(document) == 2
    assert await bench.history.drop([document], LATER, limit=2) == 1
    assert await bench.floor(document) == 3
    assert await bench.floor(other) == 0


async def test_a_batch_has_its_bound_over_all_its_documents(bench: Bench) -> None:
    documents = [await bench.document(4, f"{number}") for number in range(3)]  # two rows each may go
    assert await bench.history.drop(documents, LATER, limit=5) == 5
    assert await bench.history.drop(documents, LATER, limit=5) == 1
    assert await bench.history.drop(documents, LATER, limit=5) == 0


async def test_every_kept_generation_can_still_be_completed(bench: Bench) -> None:
    document = await bench.document(7)
    await bench.history.forget([document])
    await bench.history.drop([document], LATER, limit=100)
    snapshot = await bench.table.snapshot(document)
    assert min(each.generation for each in snapshot.generations) >= snapshot.floor


async def test_many_who_prune_at_once_drop_each_row_once_and_none_too_many(bench: Bench) -> None:
    documents = [await bench.document(4, f"{number}") for number in range(4)]
    for document in documents:
        await bench.fold(document, 5, rows=40)
        for generation in (6, 7):
            await bench.fold(document, generation)

    async def prune() -> tuple[int, int]:
        rows = generations = 0
        for _ in range(40):
            generations += len(await bench.history.forget(documents))
            rows += await bench.history.drop(documents, LATER, limit=7)
        return rows, generations

    done = await asyncio.gather(*(prune() for _ in range(4)))
    assert sum(rows for rows, _ in done) == 4 * (4 + 40)
    assert sum(generations for _, generations in done) == 4 * 4
    for document in documents:
        assert await bench.rows(document) == [b"in 6", b"in 7"]
        assert await bench.floor(document) == 5


async def test_generations_go_on_after_they_were_forgotten(bench: Bench) -> None:
    document = await bench.document(5)
    await bench.history.forget([document])
    assert not await bench.table.record(checkpoint(document, 5), [])
    assert await bench.table.record(checkpoint(document, 6), [])


async def test_the_oldest_row_is_the_oldest_folded_one(bench: Bench) -> None:
    document, other = await bench.document(1), await bench.document(0, "other")
    await bench.journal.append([JournalEntry(other, b"unfolded", "a", (1,), b"\x00")])
    assert await bench.history.oldest_row([other]) is None
    oldest = await bench.history.oldest_row([document, other])
    assert oldest is not None
    assert EARLIER < oldest < LATER
    await bench.fold(document, 2)
    assert await bench.history.oldest_row([document]) == oldest


async def test_every_document_says_which_blobs_it_names(bench: Bench) -> None:
    two, none = await bench.document(2), await bench.document(0, "none")
    expected = {two: Named(2, {checkpoint(two, 1).key, checkpoint(two, 2).key}), none: Named(0, set())}
    assert await bench.history.named(FIRST_ID, LAST_ID) == expected
    assert await bench.history.named(two, two) == {two: expected[two]}


async def test_a_database_that_is_away_is_unavailable(postgres_url: str) -> None:
    pool = await create_pool(postgres_url)
    await pool.close()
    history = PostgresHistory(pool)
    for call in (
        history.page(FIRST_ID, 1),
        history.forget([FIRST_ID]),
        history.drop([FIRST_ID], LATER, 1),
        history.oldest_row([FIRST_ID]),
        history.named(FIRST_ID, LAST_ID),
    ):
        with pytest.raises(HistoryUnavailable):
            await call
