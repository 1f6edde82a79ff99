"""Everything a cluster is made of, in the order in which it starts: storage, Redis, tasks, balancer; it stops in the
reverse. What the caller has already is used instead of a part of ours.

Must leave no process behind, however it ends. Called by `commands.cluster`.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AbstractContextManager, AsyncExitStack
from dataclasses import dataclass
from pathlib import Path

from cluster import s3_stand_in
from cluster.balancer import Balancer
from cluster.programs import Guard, free_port
from cluster.readiness import watch
from cluster.redis_server import start_redis
from cluster.s3_stand_in import start_s3
from cluster.task import Task
from persistence.embedded_postgres import EmbeddedPostgres

# Names a part that starts; the context is given a function that takes the detail to show when it has started.
Announce = Callable[[str], AbstractContextManager[Callable[[str], None]]]

CONNECTIONS_A_TASK = 40  # to PostgreSQL: a pool, the recorder's own, migrations, and what an operator asks


@dataclass(frozen=True, slots=True)
class Wanted:
    """What to start. `environment` is that of every task; parts that it names already are not started."""

    tasks: int
    folder: Path
    environment: Mapping[str, str]
    host: str
    port: int  # of the balancer, if it is free
    admin_port: int  # of the first task, if it is free
    s3_python: Path | None  # an interpreter with ministack; None: checkpoints go to a directory


class Deployment:
    """A running cluster."""

    def __init__(self, tasks: list[Task], balancer: Balancer) -> None:
        self.tasks = tasks
        self.balancer = balancer

    async def restart_all(self, say: Callable[[str], None]) -> None:
        """A rolling restart: every task in turn is drained, started again and ready before the next."""
        for task in self.tasks:
            say(f"rolling restart: draining task {task.number} with {task.target.connections} connections")
            await task.restart()


@contextlib.asynccontextmanager
async def deployed(
    wanted: Wanted, announce: Announce, say: Callable[[str], None], hurry: asyncio.Event
) -> AsyncIterator[Deployment]:
    """Start the cluster, and stop it at the end, in a hurry once `hurry` is set.

    Raises ProgramFailed, EmbeddedPostgresError or OSError when a part cannot start.
    """
    async with AsyncExitStack() as stack:
        guard = await stack.enter_async_context(Guard())
        environment = dict(wanted.environment)
        await _database(wanted, environment, announce, stack)
        await _redis(wanted, environment, guard, announce, stack)
        await _objects(wanted, environment, guard, announce, stack)
        tasks = [
            Task(number, environment, wanted.folder, guard, say, wanted.admin_port and wanted.admin_port + number - 1)
            for number in range(1, wanted.tasks + 1)
        ]
        balancer = Balancer([task.target for task in tasks], wanted.host, free_port(wanted.host, wanted.port))
        stack.push_async_callback(balancer.close)

        async def stop_tasks() -> None:
            balancer.refuse_new()  # or their members would go from one to the next
            await asyncio.gather(*(task.stop(hurry) for task in tasks))

        stack.push_async_callback(stop_tasks)
        with announce("Tasks") as started:
            await asyncio.gather(*(task.start() for task in tasks))
            started(f"{len(tasks)}, logs in {wanted.folder}/task-*.log")
        watching = asyncio.create_task(watch({task.target: task.admin_port for task in tasks}), name="readiness")
        stack.callback(watching.cancel)
        with announce("Balancer") as started:
            await balancer.start()
            started(f"ws://{wanted.host}:{balancer.port}/ws/{{document}}")
        yield Deployment(tasks, balancer)


async def _database(wanted: Wanted, environment: dict[str, str], announce: Announce, stack: AsyncExitStack) -> None:
    with announce("PostgreSQL") as started:
        if "COLLAB_DATABASE_URL" in environment:
            started("COLLAB_DATABASE_URL")
            return
        postgres = EmbeddedPostgres()
        enough = {"max_connections": str(20 + wanted.tasks * CONNECTIONS_A_TASK)}
        environment["COLLAB_DATABASE_URL"] = await postgres.start(wanted.folder / "postgres", settings=enough)
        stack.push_async_callback(postgres.stop)
        moved = f" ({postgres.moved_because})" if postgres.moved_because else ""
        started(f"embedded, files in {postgres.folder}{moved}")


async def _redis(
    wanted: Wanted, environment: dict[str, str], guard: Guard, announce: Announce, stack: AsyncExitStack
) -> None:
    with announce("Redis") as started:
        if "COLLAB_REDIS_URL" in environment:
            started("COLLAB_REDIS_URL")
            return
        redis, environment["COLLAB_REDIS_URL"] = await start_redis(wanted.folder, guard)
        stack.push_async_callback(redis.stop)
        started(environment["COLLAB_REDIS_URL"])


async def _objects(
    wanted: Wanted, environment: dict[str, str], guard: Guard, announce: Announce, stack: AsyncExitStack
) -> None:
    with announce("Object storage") as started:
        if "COLLAB_S3_BUCKET" in environment:
            started("COLLAB_S3_BUCKET")
        elif wanted.s3_python is None:
            started(f"a directory of all tasks, below {wanted.folder}")
        else:
            server, url = await start_s3(wanted.s3_python, wanted.folder, guard)
            stack.push_async_callback(server.stop)
            environment |= s3_stand_in.CREDENTIALS
            environment |= {"COLLAB_S3_BUCKET": s3_stand_in.BUCKET, "COLLAB_S3_ENDPOINT_URL": url}
            started(f"{url}, bucket {s3_stand_in.BUCKET}")
