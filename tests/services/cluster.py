"""Two tasks of one cluster for tests: one database, one Redis, one pair of signing keys, one folder of objects."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from tests.services.fixtures_postgres import PostgresOfMajor
from tests.services.fixtures_server import StartServer
from tests.services.running import running_server
from tests.services.server import ServerProcess

BUS_KEY = "secret of this cluster"


def two_tasks(start_server: StartServer, redis_url: str, **settings: Any) -> tuple[ServerProcess, ServerProcess]:
    """Tasks of this test's own, to harm at will. Tokens signed for the first are good for both."""
    shared = {"auth": "dev", "redis_url": redis_url, "bus_key": BUS_KEY, **settings}
    one = start_server(**shared)
    return one, start_server(**shared, **_of(one))


@contextmanager
def running_tasks(
    postgres_of_major: PostgresOfMajor, folders: pytest.TempPathFactory, redis_url: str, **settings: Any
) -> Iterator[tuple[ServerProcess, ServerProcess]]:
    """The same for the tests of one module, each with documents and people of its own."""
    shared = {"auth": "dev", "redis_url": redis_url, "bus_key": BUS_KEY, **settings}
    with running_server(postgres_of_major, folders, **shared) as one:
        two = ServerProcess(folders.mktemp("server"), **shared, **_of(one))
        try:
            two.start()
            yield one, two
        finally:
            two.stop()


def _of(one: ServerProcess) -> dict[str, Any]:
    """What the second task has from the first."""
    return {"database_url": one.settings["database_url"], "data_dir": one.folder / "data"}
