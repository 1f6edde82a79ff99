"""What every catalog owes, on memory and on PostgreSQL."""

import asyncio
from collections.abc import AsyncIterator
from uuid import uuid4

import pytest
import pytest_asyncio

from persistence.catalog import Catalog, Document
from persistence.catalog_memory import MemoryCatalog
from persistence.catalog_postgres import PostgresCatalog
from persistence.database import create_pool
from tests.services.fixtures_postgres import PostgresOfMajor


@pytest_asyncio.fixture(params=["memory", "postgres"])
async def catalog(request: pytest.FixtureRequest, postgres_of_major: PostgresOfMajor) -> AsyncIterator[Catalog]:
    if request.param == "memory":
        yield MemoryCatalog()
        return
    server = postgres_of_major(None)
    url = await server.fresh_database()
    pool = await create_pool(url, max_size=8)
    yield PostgresCatalog(pool)
    await pool.close()
    await server.drop(url)


async def test_an_unknown_name_is_not_found_and_looking_does_not_make_it(catalog: Catalog) -> None:
    assert await catalog.find("demo") is None
    assert await catalog.find("demo") is None


async def test_a_document_is_made_once_and_found_again(catalog: Catalog) -> None:
    made = await catalog.find_or_create("demo")
    assert made == Document(id=made.id, name="demo", epoch=0)
    assert await catalog.find_or_create("demo") == made == await catalog.find("demo")


async def test_names_are_told_apart_by_case_and_by_every_character(catalog: Catalog) -> None:
    names = ["demo", "Demo", "demo.", "demo:1", "demo-1"]
    assert len({(await catalog.find_or_create(name)).id for name in names}) == len(names)


async def test_concurrent_first_openings_get_one_document(catalog: Catalog) -> None:
    opened = await asyncio.gather(*(catalog.find_or_create(f"room-{n % 5}") for n in range(100)))
    assert len({document.id for document in opened}) == 5


async def test_content_counts_of_known_and_unknown_documents_are_accepted(catalog: Catalog) -> None:
    document = await catalog.find_or_create("demo")
    await catalog.record_content(document.id, 3, 14, "content/demo.md")
    await catalog.record_content(uuid4(), 1, 1, "content/gone.md")
    assert await catalog.find("demo") == document


async def test_of_some_keys_those_that_a_document_has_are_told(catalog: Catalog) -> None:
    one, two = [await catalog.find_or_create(name) for name in ("one", "two")]
    await catalog.find_or_create("three")
    assert await catalog.existing([one.id, uuid4(), two.id]) == {one.id, two.id}
    assert await catalog.existing([]) == frozenset()
