"""What every journal owes, on memory and on each PostgreSQL at hand."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from uuid import UUID, uuid4

import pytest
import pytest_asyncio

from persistence.catalog import Catalog
from persistence.catalog_memory import MemoryCatalog
from persistence.catalog_postgres import PostgresCatalog
from persistence.database import create_pool
from persistence.journal import Journal, JournalEntry, JournalRefused, JournalUnavailable
from persistence.journal_memory import MemoryJournal
from persistence.journal_postgres import PostgresJournal
from persistence.quarantine import RefusedUpdate
from tests.services.fixtures_postgres import PostgresOfMajor
from tests.services.postgres import second_major

MEMORY = "memory"
# Which binaries (None: the wheel's PostgreSQL), and whether the journal keeps a connection for its appends.
ADAPTERS: dict[str, tuple[Path | None, bool]] = {"postgres": (None, False), "postgres_holding": (None, True)}
if (another := second_major()) is not None:
    ADAPTERS["postgres_second_major"] = (another, True)


@dataclass(frozen=True, slots=True)
class Bench:
    journal: Journal
    catalog: Catalog
    document_id: UUID


@pytest_asyncio.fixture(params=[MEMORY, *ADAPTERS])
async def bench(request: pytest.FixtureRequest, postgres_of_major: PostgresOfMajor) -> AsyncIterator[Bench]:
    if request.param == MEMORY:
        memory = MemoryCatalog()
        yield Bench(MemoryJournal(memory), memory, (await memory.find_or_create("demo")).id)
        return
    binaries, hold_connection = ADAPTERS[request.param]
    server = postgres_of_major(binaries)
    url = await server.fresh_database()
    pool = await create_pool(url, max_size=4)
    catalog = PostgresCatalog(pool)
    journal = PostgresJournal(pool, hold_connection=hold_connection)
    yield Bench(journal, catalog, (await catalog.find_or_create("demo")).id)
    await journal.close()
    await pool.close()
    await server.drop(url)


def entry(document_id: UUID, update: bytes = b"\x00\x00", clients: tuple[int, ...] = (1,)) -> JournalEntry:
    return JournalEntry(document_id, update, "alice", clients, b"\x01\x01\x05")


async def test_what_was_appended_is_unfolded_by_ascending_id(bench: Bench) -> None:
    updates = [b"", b"\x00\xff", bytes(range(256)), "é€𝄞".encode()]
    await bench.journal.append([entry(bench.document_id, update) for update in updates])
    await bench.journal.append([entry(bench.document_id, b"later")])
    rows = await bench.journal.unfolded(bench.document_id)
    assert [row.update for row in rows] == [*updates, b"later"]
    assert [row.id for row in rows] == sorted({row.id for row in rows})
    assert {row.reach for row in rows} == {b"\x01\x01\x05"}
    assert all(type(row.update) is bytes and type(row.reach) is bytes for row in rows)


async def test_client_ids_may_be_none_one_or_many_in_one_batch(bench: Bench) -> None:
    ragged = [(), (1,), (2**53 - 1, 0, 7)]
    await bench.journal.append([entry(bench.document_id, clients=clients) for clients in ragged])
    assert len(await bench.journal.unfolded(bench.document_id)) == 3


async def test_appending_a_batch_again_is_allowed(bench: Bench) -> None:
    batch = [entry(bench.document_id, b"same")]
    await bench.journal.append(batch)
    await bench.journal.append(batch)
    assert {row.update for row in await bench.journal.unfolded(bench.document_id)} == {b"same"}


async def test_documents_do_not_see_each_others_updates(bench: Bench) -> None:
    other = await bench.catalog.find_or_create("other")
    await bench.journal.append([entry(bench.document_id, b"mine"), entry(other.id, b"theirs")])
    assert [row.update for row in await bench.journal.unfolded(other.id)] == [b"theirs"]
    assert [row.update for row in await bench.journal.unfolded(bench.document_id)] == [b"mine"]


async def test_a_batch_with_an_unknown_document_is_refused_whole(bench: Bench) -> None:
    with pytest.raises(JournalRefused):
        await bench.journal.append([entry(bench.document_id, b"good"), entry(uuid4(), b"orphan")])
    assert await bench.journal.unfolded(bench.document_id) == []


async def test_an_unknown_document_has_no_updates(bench: Bench) -> None:
    assert await bench.journal.unfolded(uuid4()) == []


async def test_appending_nothing_is_allowed(bench: Bench) -> None:
    await bench.journal.append([])
    assert await bench.journal.unfolded(bench.document_id) == []


async def test_concurrent_appends_are_all_kept(bench: Bench) -> None:
    batches = [[entry(bench.document_id, bytes([n, m])) for m in range(10)] for n in range(20)]
    await asyncio.gather(*(bench.journal.append(batch) for batch in batches))
    kept = {row.update for row in await bench.journal.unfolded(bench.document_id)}
    assert kept == {bytes([n, m]) for n in range(20) for m in range(10)}


async def test_an_update_of_8_megabytes_comes_back_whole(bench: Bench) -> None:
    large = bytes(range(256)) * (8_000_000 // 256)
    await bench.journal.append([entry(bench.document_id, large)])
    assert [row.update for row in await bench.journal.unfolded(bench.document_id)] == [large]


async def test_an_update_is_quarantined_even_when_its_document_is_gone(bench: Bench) -> None:
    await bench.journal.quarantine(RefusedUpdate.of(uuid4(), "mallory", "depth", b"\x00" * 52_000))


async def test_an_open_journal_answers_and_a_closed_one_is_unavailable(bench: Bench) -> None:
    await bench.journal.ping()
    await bench.journal.close()
    await bench.journal.close()
    with pytest.raises(JournalUnavailable):
        await bench.journal.ping()
    with pytest.raises(JournalUnavailable):
        await bench.journal.append([entry(bench.document_id)])
    with pytest.raises(JournalUnavailable):
        await bench.journal.unfolded(bench.document_id)
