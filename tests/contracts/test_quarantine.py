"""What every quarantine owes, on memory and on PostgreSQL: how much is kept, how it is read and how it is settled."""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator
from dataclasses import dataclass
from uuid import UUID, uuid4

import pytest
import pytest_asyncio

from persistence.catalog_memory import MemoryCatalog
from persistence.catalog_postgres import PostgresCatalog
from persistence.database import create_pool
from persistence.journal import Journal
from persistence.journal_memory import MemoryJournal
from persistence.journal_postgres import PostgresJournal
from persistence.quarantine import (
    CRASH,
    KILLED,
    SHARE_OF_ACTOR,
    SHARE_OF_DOCUMENT,
    Quarantine,
    QuarantineBounds,
    QuarantineUnavailable,
    RefusedUpdate,
)
from persistence.quarantine_postgres import PostgresQuarantine
from tests.services.fixtures_postgres import PostgresOfMajor

BOUNDS = QuarantineBounds(max_bytes=100, max_rows=3)


@dataclass(frozen=True, slots=True)
class Bench:
    journal: Journal
    quarantine: Quarantine
    document_id: UUID

    async def put(
        self, update: bytes, *, actor: str = "mallory", reason: str = "depth", to: UUID | None = None
    ) -> None:
        await self.journal.quarantine(RefusedUpdate.of(to or self.document_id, actor, reason, update))

    async def contents(self) -> list[bytes | None]:
        """Of every row, newest first."""
        found = [await self.quarantine.read(row.id) for row in await self.quarantine.page(None, None, 500)]
        return [row[1] for row in found if row is not None]


@pytest_asyncio.fixture(params=["memory", "postgres"])
async def bench(request: pytest.FixtureRequest, postgres_of_major: PostgresOfMajor) -> AsyncIterator[Bench]:
    if request.param == "memory":
        catalog = MemoryCatalog()
        journal = MemoryJournal(catalog, BOUNDS)
        yield Bench(journal, journal.quarantined, (await catalog.find_or_create("demo")).id)
        return
    server = postgres_of_major(None)
    url = await server.fresh_database()
    pool = await create_pool(url, max_size=4)
    document = await PostgresCatalog(pool).find_or_create("demo")
    yield Bench(PostgresJournal(pool, bounds=BOUNDS), PostgresQuarantine(pool), document.id)
    await pool.close()
    await server.drop(url)


async def test_a_refused_update_is_kept_with_who_why_and_every_byte(bench: Bench) -> None:
    update = bytes(range(100))
    await bench.put(update)
    [row] = await bench.quarantine.page("demo", None, 10)
    assert (row.document_id, row.document, row.epoch) == (bench.document_id, "demo", 0)
    assert (row.actor_id, row.reason, row.size_bytes) == ("mallory", "depth", 100)
    assert row.sha256 == hashlib.sha256(update).digest()
    assert (row.has_content, row.unkept, row.replayed_at) == (True, 0, None)
    assert await bench.quarantine.read(row.id) == (row, update)


async def test_of_an_update_that_is_too_large_digest_and_size_are_kept(bench: Bench) -> None:
    await bench.put(b"x" * 101)
    [row] = await bench.quarantine.page(None, None, 10)
    assert (row.size_bytes, row.has_content) == (101, False)
    assert await bench.quarantine.read(row.id) == (row, None)


async def test_beyond_its_rows_in_a_document_an_actors_refusals_are_only_counted(bench: Bench) -> None:
    for number in range(BOUNDS.max_rows + 5):
        await bench.put(bytes([number]))
    await bench.put(b"another's", actor="bob")
    rows = await bench.quarantine.page("demo", None, 500)
    assert [(row.actor_id, row.unkept) for row in rows] == [("bob", 0), ("mallory", 5), ("mallory", 0), ("mallory", 0)]


async def test_many_actors_together_cannot_fill_the_table_through_one_document(bench: Bench) -> None:
    most = BOUNDS.max_rows * SHARE_OF_DOCUMENT
    for number in range(most + 4):
        await bench.put(b"x", actor=f"guest-{number}")
    rows = await bench.quarantine.page("demo", None, 500)
    assert (len(rows), sum(row.unkept for row in rows)) == (most, 4)


async def test_beyond_an_actors_share_of_content_in_all_documents_only_digests_are_kept(bench: Bench) -> None:
    for _ in range(SHARE_OF_ACTOR + 2):
        await bench.put(b"x" * 100, to=uuid4())
    await bench.put(b"y" * 100, to=uuid4(), actor="bob")
    contents = await bench.contents()
    assert contents == [b"y" * 100, None, None, *[b"x" * 100] * SHARE_OF_ACTOR]


async def test_a_crash_is_kept_however_many_rows_there_are_because_it_bars_its_actor(bench: Bench) -> None:
    for number in range(BOUNDS.max_rows * SHARE_OF_DOCUMENT):
        await bench.put(bytes([number]), actor=f"guest-{number % 10}")
    await bench.put(b"killer", reason=CRASH)
    [crash] = await bench.quarantine.crashes()
    assert (crash.document_id, crash.actor_id) == (bench.document_id, "mallory")


async def test_a_crash_bars_until_its_row_is_replayed_or_dropped(bench: Bench) -> None:
    await bench.put(b"1", reason=CRASH)
    await bench.put(b"2", reason=CRASH, actor="bob")
    await bench.put(b"3")
    second, first = [row.id for row in await bench.quarantine.page(None, None, 10) if row.reason == CRASH]
    assert [crash.actor_id for crash in await bench.quarantine.crashes()] == ["bob", "mallory"]
    await bench.quarantine.mark_replayed(first)
    assert [crash.actor_id for crash in await bench.quarantine.crashes()] == ["bob"]
    assert await bench.quarantine.drop(second)
    assert await bench.quarantine.crashes() == []
    assert not await bench.quarantine.drop(second)


async def test_one_kill_from_outside_may_be_chance_and_the_second_bars(bench: Bench) -> None:
    await bench.put(b"1", reason=KILLED)
    await bench.put(b"1", reason=KILLED, actor="bob")
    await bench.put(b"1", reason=KILLED, to=uuid4())
    assert await bench.quarantine.crashes() == []
    await bench.put(b"2", reason=KILLED)
    [crash] = await bench.quarantine.crashes()
    assert (crash.document_id, crash.actor_id) == (bench.document_id, "mallory")


async def test_what_was_replayed_stays_as_a_trace_without_its_bytes(bench: Bench) -> None:
    await bench.put(b"words")
    [row] = await bench.quarantine.page(None, None, 10)
    await bench.quarantine.mark_replayed(row.id)
    found = await bench.quarantine.read(row.id)
    assert found is not None
    assert (found[0].replayed_at is not None, found[0].has_content, found[1]) == (True, False, None)


async def test_pages_follow_each_other_newest_first_without_a_hole(bench: Bench) -> None:
    for number in range(7):
        await bench.put(bytes([number]), actor=f"guest-{number}")
    await bench.put(b"elsewhere", to=uuid4())
    pages, before = list[list[bytes]](), None
    while rows := await bench.quarantine.page("demo", before, 3):
        pages.append([row.sha256 for row in rows])
        before = rows[-1].id
    assert [len(page) for page in pages] == [3, 3, 1]
    assert sum(pages, []) == [hashlib.sha256(bytes([number])).digest() for number in reversed(range(7))]  # noqa: RUF017


async def test_rows_are_forgotten_at_their_age_and_not_before(bench: Bench) -> None:
    await bench.put(b"words")
    assert await bench.quarantine.sweep(1.0) == 0
    assert await bench.quarantine.sweep(0.0) == 1
    assert await bench.quarantine.page(None, None, 10) == []


async def test_an_unknown_row_is_not_found_and_can_be_settled_by_nobody(bench: Bench) -> None:
    assert await bench.quarantine.read(4_711) is None
    await bench.quarantine.mark_replayed(4_711)
    assert not await bench.quarantine.drop(4_711)


async def test_storage_that_is_away_is_unavailable_and_not_empty(postgres_of_major: PostgresOfMajor) -> None:
    server = postgres_of_major(None)
    url = await server.fresh_database()
    pool = await create_pool(url)
    await pool.close()
    quarantine = PostgresQuarantine(pool)
    with pytest.raises(QuarantineUnavailable):
        await quarantine.crashes()
    with pytest.raises(QuarantineUnavailable):
        await quarantine.page(None, None, 1)
    await server.drop(url)
