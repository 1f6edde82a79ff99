"""Two tasks of one cluster for a test: one database, one Redis, one pair of signing keys, one folder of objects."""

from __future__ import annotations

from typing import Any

from tests.services.fixtures_server import StartServer
from tests.services.server import ServerProcess

BUS_KEY = "secret of this cluster"


def two_tasks(start_server: StartServer, redis_url: str, **settings: Any) -> tuple[ServerProcess, ServerProcess]:
    """Tokens signed for the first are good for both."""
    shared = {"auth": "dev", "redis_url": redis_url, "bus_key": BUS_KEY, **settings}
    one = start_server(**shared)
    shared |= {"database_url": one.settings["database_url"], "data_dir": one.folder / "data"}
    return one, start_server(**shared)
