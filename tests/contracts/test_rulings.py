"""What every store of rulings owes, on memory and on PostgreSQL: freezes last, exclusions end, others see nothing."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from uuid import UUID, uuid4

import asyncpg
import pytest
import pytest_asyncio

from persistence.catalog_postgres import PostgresCatalog
from persistence.database import create_pool
from persistence.rulings import Ruling, Rulings, RulingsUnavailable
from persistence.rulings_memory import MemoryRulings
from persistence.rulings_postgres import PostgresRulings
from tests.services.fixtures_postgres import PostgresOfMajor


@dataclass(frozen=True, slots=True)
class Bench:
    rulings: Rulings
    one: UUID
    two: UUID

    async def on(self, document_id: UUID) -> Ruling | None:
        return (await self.rulings.in_force([document_id])).get(document_id)


@pytest_asyncio.fixture(params=["memory", "postgres"])
async def bench(request: pytest.FixtureRequest, postgres_of_major: PostgresOfMajor) -> AsyncIterator[Bench]:
    if request.param == "memory":
        yield Bench(MemoryRulings(), uuid4(), uuid4())
        return
    server = postgres_of_major(None)
    url = await server.fresh_database()
    pool = await create_pool(url, max_size=2)
    catalog = PostgresCatalog(pool)
    one, two = await catalog.find_or_create("one"), await catalog.find_or_create("two")
    yield Bench(PostgresRulings(pool), one.id, two.id)
    await pool.close()
    await server.drop(url)


async def test_a_freeze_lasts_until_it_is_lifted_and_is_of_its_document_alone(bench: Bench) -> None:
    assert await bench.on(bench.one) is None
    assert await bench.rulings.freeze(bench.one, "root")
    assert not await bench.rulings.freeze(bench.one, "eve")
    assert await bench.rulings.in_force([bench.one, bench.two]) == {bench.one: Ruling(frozen=True)}
    assert await bench.rulings.unfreeze(bench.one)
    assert not await bench.rulings.unfreeze(bench.one)
    assert await bench.on(bench.one) is None


async def test_an_exclusion_says_how_long_it_still_lasts(bench: Bench) -> None:
    await bench.rulings.keep_out(bench.one, "mallory", 60, "root")
    await bench.rulings.keep_out(bench.one, "bob", 600, "root")
    ruling = await bench.on(bench.one)
    assert ruling is not None
    assert not ruling.frozen
    assert 30 < ruling.kept_out["mallory"] <= 60
    assert 500 < ruling.kept_out["bob"] <= 600
    assert await bench.on(bench.two) is None


async def test_the_last_word_about_somebody_counts_and_zero_seconds_let_in_again(bench: Bench) -> None:
    await bench.rulings.keep_out(bench.one, "mallory", 6_000, "root")
    await bench.rulings.keep_out(bench.one, "mallory", 60, "root")
    ruling = await bench.on(bench.one)
    assert ruling is not None
    assert ruling.kept_out["mallory"] <= 60
    await bench.rulings.keep_out(bench.one, "mallory", 0, "root")
    assert await bench.on(bench.one) is None


async def test_a_document_may_be_frozen_and_keep_somebody_out_at_once(bench: Bench) -> None:
    await bench.rulings.freeze(bench.one, "root")
    await bench.rulings.keep_out(bench.one, "mallory", 60, "root")
    ruling = await bench.on(bench.one)
    assert ruling is not None
    assert ruling.frozen
    assert set(ruling.kept_out) == {"mallory"}


async def test_a_document_that_goes_takes_its_rulings_along(postgres_pool: asyncpg.Pool) -> None:
    document = await PostgresCatalog(postgres_pool).find_or_create("one")
    rulings = PostgresRulings(postgres_pool)
    await rulings.freeze(document.id, "root")
    await rulings.keep_out(document.id, "mallory", 60, "root")
    await postgres_pool.execute("delete from documents")
    assert await rulings.in_force([document.id]) == {}


async def test_exclusions_of_the_past_are_dropped_by_the_next_one(postgres_pool: asyncpg.Pool) -> None:
    document = await PostgresCatalog(postgres_pool).find_or_create("one")
    rulings = PostgresRulings(postgres_pool)
    await rulings.keep_out(document.id, "mallory", 0, "root")
    await rulings.keep_out(document.id, "bob", 60, "root")
    assert await postgres_pool.fetchval("select array_agg(subject) from document_exclusions") == ["bob"]


async def test_rulings_that_cannot_be_read_are_not_taken_for_none(postgres_pool: asyncpg.Pool) -> None:
    rulings = PostgresRulings(postgres_pool)
    await postgres_pool.close()
    with pytest.raises(RulingsUnavailable):
        await rulings.in_force([uuid4()])
