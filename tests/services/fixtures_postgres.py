"""Fixtures over real PostgreSQL: `postgres_url` for nearly every test, `postgres_server` to stop and kill one."""

import shutil
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import asyncpg
import pytest
import pytest_asyncio

from persistence.database import create_pool
from persistence.embedded_postgres import EmbeddedPostgres
from tests.services.postgres import PostgresForTests, open_folder

PostgresOfMajor = Callable[[Path | None], PostgresForTests]


@pytest.fixture(scope="session")
def postgres_of_major() -> Iterator[PostgresOfMajor]:
    """The test process's server for a folder of binaries (None: the wheel's), started when first asked for."""
    started: dict[Path | None, PostgresForTests] = {}

    def of_major(binaries: Path | None) -> PostgresForTests:
        if binaries not in started:
            started[binaries] = PostgresForTests(binaries)
            started[binaries].start()
        return started[binaries]

    yield of_major
    for server in started.values():
        server.stop()


@pytest.fixture
def postgres(postgres_of_major: PostgresOfMajor) -> PostgresForTests:
    """The test process's PostgreSQL 16."""
    return postgres_of_major(None)


@pytest_asyncio.fixture
async def postgres_url(postgres: PostgresForTests) -> AsyncIterator[str]:
    """A fresh migrated database for this test alone."""
    url = await postgres.fresh_database()
    yield url
    await postgres.drop(url)


@pytest_asyncio.fixture
async def postgres_pool(postgres_url: str) -> AsyncIterator[asyncpg.Pool]:
    """A small pool on this test's database."""
    pool = await create_pool(postgres_url, max_size=4)
    yield pool
    await pool.close()


@pytest_asyncio.fixture
async def postgres_server() -> AsyncIterator[EmbeddedPostgres]:
    """A durable server (fsync on) of this test's own, to stop, kill and start again in `postgres_server.folder`."""
    folder = open_folder()
    server = EmbeddedPostgres()
    await server.start(folder)
    yield server
    await server.stop()
    shutil.rmtree(folder)
