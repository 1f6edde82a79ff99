"""Real PostgreSQL servers for tests: one a test process, a fresh migrated database a test.

It must never be used for what a test wants durable: fsync is off, since only the durability tests need a disk's promise
(they start their own `EmbeddedPostgres`). Called by `fixtures_postgres` and by contract suites.
"""

import asyncio
import itertools
import os
import shutil
import tempfile
from collections.abc import Coroutine
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urlsplit, urlunsplit

import asyncpg

from persistence import migrate
from persistence.embedded_postgres import EmbeddedPostgres

TEMPLATE = "migrated"
SECOND_MAJOR = Path("/usr/lib/postgresql/15/bin")
T = TypeVar("T")


def second_major() -> Path | None:
    """Binaries of another PostgreSQL than the wheel's: COLLAB_TEST_DATABASE_BIN, else Debian's 15 where installed."""
    if named := os.environ.get("COLLAB_TEST_DATABASE_BIN"):
        return Path(named)
    return SECOND_MAJOR if SECOND_MAJOR.exists() else None


class PostgresForTests:
    """One server without fsync, holding a migrated template that each test copies (about 20 ms)."""

    def __init__(self, binaries: Path | None = None) -> None:
        self._server = EmbeddedPostgres(binaries)
        self._numbers = itertools.count(1)
        self.url = ""

    def start(self) -> None:
        """Start and migrate; blocks, so that a session's fixture needs no event loop."""
        self._folder = open_folder()
        self.url = apart(self._server.start(self._folder, fsync=False, settings={"max_connections": "300"}))
        apart(self._make_template())

    def stop(self) -> None:
        apart(self._server.stop())
        shutil.rmtree(self._folder)

    async def fresh_database(self) -> str:
        """The URL of a new database with the newest schema and no rows."""
        name = f"test_{next(self._numbers)}"
        await self._execute(f"create database {name} template {TEMPLATE}")
        return with_database(self.url, name)

    async def empty_database(self) -> str:
        """The URL of a new database that was never migrated."""
        name = f"empty_{next(self._numbers)}"
        await self._execute(f"create database {name}")
        return with_database(self.url, name)

    async def drop(self, url: str) -> None:
        await self._execute(f"drop database {urlsplit(url).path.lstrip('/')} with (force)")

    async def _make_template(self) -> None:
        await self._execute(f"create database {TEMPLATE}")
        await migrate.upgrade(with_database(self.url, TEMPLATE))

    async def _execute(self, sql: str) -> None:
        connection = await asyncpg.connect(self.url)
        try:
            await connection.execute(sql)
        finally:
            await connection.close()


def open_folder() -> Path:
    """A new folder whose parents every user may enter: pytest's own are closed to the user root runs a server as."""
    return Path(tempfile.mkdtemp(prefix="collab-server-tests-"))


def with_database(url: str, name: str) -> str:
    """The same server, another database."""
    return urlunsplit(urlsplit(url)._replace(path=f"/{name}"))


def apart(work: Coroutine[Any, Any, T]) -> T:
    """Run on an event loop of its own, in a thread, beside whatever loop the test session holds."""
    with ThreadPoolExecutor(1) as thread:
        return thread.submit(asyncio.run, work).result()
