"""Several tasks over one database, one folder for checkpoints and one Redis, each with its own bad network to that.

`loop_lag` watches their event loops. What storage holds is read without them. Called by the journeys of a cluster.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from pycrdt import Text

from chaos import wire
from chaos.checker import Replica
from persistence.blobs_directory import DirectoryBlobs
from persistence.catalog_postgres import PostgresCatalog
from persistence.checkpoints_postgres import PostgresCheckpointTable
from persistence.database import create_pool
from persistence.documents import Documents
from persistence.replay import replay
from tests.services.bus_faults import BusFaults
from tests.services.redis import RedisServer
from tests.services.running import admin_get
from tests.services.server import ServerProcess

LAG = re.compile(rb"^collab_loop_lag_max_seconds (\S+)", re.MULTILINE)
LOOKS_EVERY_S = 0.25


class Cluster:
    """`tasks` and the ways from each to Redis, in the same order."""

    def __init__(self, folder: Path, database_url: str, redis: RedisServer, tasks: int, **settings: Any) -> None:
        self.redis = redis
        self.database_url = database_url
        self.ways = [BusFaults(redis.port, seed) for seed in range(tasks)]
        self.folder = folder
        self._settings = settings
        self.tasks: list[ServerProcess] = []

    def start(self) -> None:
        """All at once; the first has the keys for tokens in its folder."""
        for number, way in enumerate(self.ways):
            folder = self.folder / f"task-{number}"
            folder.mkdir()
            self.tasks.append(
                ServerProcess(
                    folder,
                    database_url=self.database_url,
                    redis_url=f"redis://127.0.0.1:{way.started().port}/0",
                    data_dir=self.folder / "task-0" / "data",
                    bus_key="a secret of this cluster",  # pragma: allowlist secret
                    **self._settings,
                )
            )
        self.each(ServerProcess.start)

    def stop(self) -> None:
        """Drain all that run and end the ways."""
        self.each(lambda task: task.stop() if task.runs else None)
        for way in self.ways:
            way.stop()

    def each(self, do: Any) -> None:
        """Do something blocking to all tasks at once."""
        with ThreadPoolExecutor(len(self.tasks)) as threads:
            list(threads.map(do, self.tasks))

    async def stored(self, document: str) -> Replica:
        """The copy that storage gives to a task that opens it now."""
        pool = await create_pool(self.database_url, max_size=1)
        blobs = DirectoryBlobs(self.folder / "task-0" / "data" / "objects")
        try:
            found = await PostgresCatalog(pool).find(document)
            assert found is not None
            stored = await Documents(PostgresCheckpointTable(pool), blobs).load(found)
        finally:
            await blobs.close()
            await pool.close()
        doc = replay(stored.checkpoint, stored.updates)
        return Replica("storage", str(doc.get("content", type=Text)), wire.read_state(doc.get_state()))


class LoopLag:
    """The longest delay of some loops: in all, and without what they waited for a processor, which others had."""

    def __init__(self, tasks: Iterable[ServerProcess]) -> None:
        self.longest_s = self.longest_in_all_s = 0.0
        self._tasks = list(tasks)
        self._waited_s = {task: waited_s(task) for task in self._tasks}

    async def look(self) -> None:
        """Take in what was since the last look."""
        for task in self._tasks:
            before, self._waited_s[task] = self._waited_s[task], waited_s(task)
            _status, body = await asyncio.to_thread(admin_get, task, "/metrics")
            found = LAG.search(body)
            assert found is not None
            self.longest_in_all_s = max(self.longest_in_all_s, float(found[1]))
            # From before the last answer to after this one, so that it covers all that this one speaks of.
            self.longest_s = max(self.longest_s, float(found[1]) - (waited_s(task) - before))

    async def keep_looking(self) -> None:
        """Until cancelled; often, because what is waited for is counted against the longest delay of each time."""
        while True:
            await asyncio.sleep(LOOKS_EVERY_S)
            await self.look()


@asynccontextmanager
async def loop_lag(cluster: Cluster) -> AsyncIterator[LoopLag]:
    """Watch the loops of all tasks meanwhile."""
    lag = LoopLag(cluster.tasks)
    await lag.look()
    lag.longest_s = lag.longest_in_all_s = 0.0
    looking = asyncio.create_task(lag.keep_looking())
    try:
        yield lag
    finally:
        looking.cancel()
        await asyncio.gather(looking, return_exceptions=True)
    await lag.look()


def waited_s(task: ServerProcess) -> float:
    """How long the main thread of a task was ready to run and had no processor, ever."""
    return int(Path(f"/proc/{task.pid}/schedstat").read_text().split()[1]) / 1e9
