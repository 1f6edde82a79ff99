"""What every lease table owes beside its journal, in memory and on each PostgreSQL at hand (T12)."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from uuid import UUID, uuid4

import asyncpg
import pytest
import pytest_asyncio

from persistence.catalog_memory import MemoryCatalog
from persistence.catalog_postgres import PostgresCatalog
from persistence.database import create_pool
from persistence.errors import StorageUnavailable
from persistence.journal import Journal, JournalEntry, JournalRefused
from persistence.journal_memory import MemoryJournal
from persistence.journal_postgres import PostgresJournal
from persistence.leases import LeasesUnavailable, LeaseTable
from persistence.leases_memory import MemoryLeaseTable
from persistence.leases_postgres import PostgresLeaseTable
from tests.services.fixtures_postgres import PostgresOfMajor
from tests.services.postgres import second_major

MEMORY = "memory"
ADAPTERS: dict[str, Path | None] = {"postgres": None}  # None: the wheel's PostgreSQL
if (another := second_major()) is not None:
    ADAPTERS["postgres_second_major"] = another


@dataclass(frozen=True, slots=True)
class Bench:
    table: LeaseTable
    journal: Journal
    document_id: UUID
    other_id: UUID

    def entry(self, subject: str, *new: int, document_id: UUID | None = None) -> JournalEntry:
        return JournalEntry(document_id or self.document_id, b"\x00\x00", subject, new, b"\x00", new)

    async def held(self, *client_ids: int) -> dict[str, set[int]]:
        found = await self.table.held(self.document_id, client_ids or None)
        return {subject: set(clients) for subject, clients in found.items()}


@pytest_asyncio.fixture(params=[MEMORY, *ADAPTERS])
async def bench(request: pytest.FixtureRequest, postgres_of_major: PostgresOfMajor) -> AsyncIterator[Bench]:
    if request.param == MEMORY:
        memory = MemoryCatalog()
        journal = MemoryJournal(memory)
        one, two = await memory.find_or_create("demo"), await memory.find_or_create("other")
        yield Bench(MemoryLeaseTable(journal), journal, one.id, two.id)
        return
    server = postgres_of_major(ADAPTERS[request.param])
    url = await server.fresh_database()
    pool = await create_pool(url, max_size=4)
    catalog = PostgresCatalog(pool)
    one, two = await catalog.find_or_create("demo"), await catalog.find_or_create("other")
    yield Bench(PostgresLeaseTable(pool), PostgresJournal(pool), one.id, two.id)
    await pool.close()
    await server.drop(url)


async def test_a_document_without_leases_has_none(bench: Bench) -> None:
    assert await bench.table.held(bench.document_id) == {}
    assert await bench.table.held(uuid4()) == {}


async def test_who_is_journaled_first_under_a_client_id_holds_it(bench: Bench) -> None:
    await bench.journal.append([bench.entry("ada", 1, 2**53 - 1), bench.entry("bob", 2), bench.entry("ada")])
    await bench.journal.append([bench.entry("eve", 1, 3)])
    assert await bench.held() == {"ada": {1, 2**53 - 1}, "bob": {2}, "eve": {3}}
    assert await bench.held(1, 3, 99) == {"ada": {1}, "eve": {3}}


async def test_one_batch_leases_an_id_to_the_first_entry_that_brings_it(bench: Bench) -> None:
    await bench.journal.append([bench.entry("ada", 7), bench.entry("bob", 7)])
    assert await bench.held() == {"ada": {7}}
    assert len(await bench.journal.unfolded(bench.document_id)) == 2


async def test_two_batches_at_once_lease_an_id_once(bench: Bench) -> None:
    await asyncio.gather(*(bench.journal.append([bench.entry(f"person-{number}", 7)]) for number in range(8)))
    assert list((await bench.held()).values()) == [{7}]


async def test_each_document_has_leases_of_its_own(bench: Bench) -> None:
    await bench.journal.append([bench.entry("ada", 1), bench.entry("bob", 1, document_id=bench.other_id)])
    assert await bench.held() == {"ada": {1}}


async def test_a_refused_batch_leases_nothing(bench: Bench) -> None:
    with pytest.raises(JournalRefused):
        await bench.journal.append([bench.entry("ada", 1), bench.entry("bob", 2, document_id=uuid4())])
    assert await bench.held() == {}


async def test_a_table_that_is_away_says_so(postgres_pool: asyncpg.Pool) -> None:
    journal = MemoryJournal()
    journal.available = False
    with pytest.raises(StorageUnavailable):
        await MemoryLeaseTable(journal).held(uuid4())
    await postgres_pool.execute("alter table client_leases rename to elsewhere")
    with pytest.raises(LeasesUnavailable):
        await PostgresLeaseTable(postgres_pool).held(uuid4())
