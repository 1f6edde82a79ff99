"""`collab-server cluster`: tasks behind a balancer work as one, and each may drain or crash while people are there."""

from __future__ import annotations

import asyncio
import os
import re
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.services.client import Client
from tests.services.fixtures_postgres import PostgresOfMajor
from tests.services.postgres import apart
from tests.services.server import ServerProcess


@pytest.fixture(scope="module")
def cluster(postgres_of_major: PostgresOfMajor, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    """Two tasks, as a person would start them; one for all tests here, since each start of a task takes seconds."""
    url = apart(postgres_of_major(None).fresh_database())
    folder = tmp_path_factory.mktemp("cluster")
    running = ServerProcess(folder, command=("cluster", "--tasks", "2"), database_url=url, auth="open")
    running.start()
    yield running
    running.stop()


def pids(cluster: ServerProcess) -> dict[int, int]:
    """The newest process of each task, as the command has said it."""
    return {int(number): int(pid) for number, pid in re.findall(r"task (\d)\b.*?pid (\d+)", cluster.output)}


async def until_said(cluster: ServerProcess, line: str) -> None:
    async with asyncio.timeout(60):
        while line not in cluster.output:  # noqa: ASYNC110
            await asyncio.sleep(0.05)


async def typed_by_one_and_read_by_the_other(cluster: ServerProcess, document: str, text: str) -> None:
    """Two who come one after the other, which is to two tasks."""
    async with Client(cluster.websocket_url, document) as ada, Client(cluster.websocket_url, document) as bob:
        await ada.type(text)
        await bob.until(lambda: str(bob.text).endswith(text))


async def test_people_work_together_across_tasks_that_crash_and_drain(cluster: ServerProcess) -> None:
    await typed_by_one_and_read_by_the_other(cluster, "shared", "before, ")
    first = pids(cluster)
    async with Client(cluster.websocket_url, "shared") as ada, Client(cluster.websocket_url, "shared") as bob:
        os.kill(first[1], signal.SIGKILL)
        await asyncio.wait(
            [asyncio.create_task(each.until_closed()) for each in (ada, bob)], return_when="FIRST_COMPLETED"
        )
        assert (ada.closed is None) != (bob.closed is None)
        async with Client(cluster.websocket_url, "shared") as back:  # at once: the other task is there
            await back.type("meanwhile, ")
            await until_said(cluster, "task 1 is back")
    cluster.signal(signal.SIGUSR1)
    await until_said(cluster, "rolling restart: done")
    assert all(pids(cluster)[task] != first[task] for task in first)
    await typed_by_one_and_read_by_the_other(cluster, "shared", "after")
    async with Client(cluster.websocket_url, "shared") as reader:
        assert str(reader.text) == "before, meanwhile, after"


async def test_it_ends_with_every_process_it_has_started_even_when_it_is_killed(cluster: ServerProcess) -> None:
    started = pids(cluster)
    assert len(started) == 2
    cluster.signal(signal.SIGKILL)
    await asyncio.to_thread(cluster.exit_code)
    async with asyncio.timeout(20):
        while any(map(_is_there, started.values())):  # noqa: ASYNC110
            await asyncio.sleep(0.05)


def _is_there(pid: int) -> bool:
    return Path(f"/proc/{pid}").exists()
