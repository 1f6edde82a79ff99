"""`collab-server cluster`: tasks behind a balancer work as one, and each may drain or crash while people are there."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from bench.rolling import Cluster, play, told
from tests.services.client import Client
from tests.services.fixtures_postgres import PostgresOfMajor
from tests.services.postgres import apart
from tests.services.server import ServerProcess


@pytest.fixture(scope="module")
def cluster(postgres_of_major: PostgresOfMajor, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """Two tasks, as a person would start them; one for all tests here, since each start of a task takes seconds."""
    url = apart(postgres_of_major(None).fresh_database())
    folder = tmp_path_factory.mktemp("cluster")
    running = ServerProcess(folder, command=("cluster", "--tasks", "2"), database_url=url, auth="open")
    running.start()
    yield Cluster(running)
    running.stop()


@pytest.mark.timeout(300)  # two tasks start twice, on whatever the machine has left
async def test_a_rolling_restart_under_stock_clients_loses_nothing_they_were_told_is_stored(cluster: Cluster) -> None:
    """F21; `make rolling` is the same with two thousand clients."""
    before = cluster.pids()
    outcome = await play(cluster, clients=60, rooms=15, edit_every_s=1.0, visits_per_s=2.0, kill=False)
    assert [event.what.split(",")[0] for event in outcome.events] == ["drain of task 1", "drain of task 2"]
    assert all(cluster.pids()[task] != pid for task, pid in before.items())
    assert outcome.acknowledged > 100
    assert outcome.lost == []
    assert outcome.unsynced == 0
    assert sum(len(event.absences) for event in outcome.events) >= 60
    assert all(event.synced_s()[-1] < 30 for event in outcome.events), told(outcome)
    # Task 1 had nobody when task 2 drained: what its rooms' members found there had been handed over.
    assert await cluster.figure(1, "collab_rooms_handed_over_total") >= outcome.rooms - 1
    assert len(outcome.loads) == 4
    assert all(loads <= outcome.rooms + outcome.visits for loads in outcome.loads.values()), outcome.loads


async def test_people_whose_task_crashes_go_on_with_those_of_another(cluster: Cluster) -> None:
    url, before = cluster.server.websocket_url, cluster.pids()
    async with Client(url, "shared") as ada, Client(url, "shared") as bob:  # one after the other: to two tasks
        await ada.type("before, ")
        await bob.until_text("before, ")
        os.kill(before[1], signal.SIGKILL)
        ends = [asyncio.create_task(each.until_closed()) for each in (ada, bob)]
        _closed, open_still = await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
        for end in open_still:
            end.cancel()
        assert (ada.closed is None) != (bob.closed is None)
        async with Client(url, "shared") as back:  # at once: the other task is there
            await back.type("after")
            left = ada if ada.closed is None else bob
            await left.until_text("before, after")
        async with asyncio.timeout(60):
            while cluster.pids()[1] == before[1]:  # noqa: ASYNC110 - it is another process
                await asyncio.sleep(0.05)


async def test_it_ends_with_every_process_it_has_started_even_when_it_is_killed(cluster: Cluster) -> None:
    started = cluster.pids()
    assert len(started) == 2
    cluster.server.signal(signal.SIGKILL)
    await asyncio.to_thread(cluster.server.exit_code)
    async with asyncio.timeout(20):
        while any(map(_is_there, started.values())):  # noqa: ASYNC110 - it is another process
            await asyncio.sleep(0.05)


def _is_there(pid: int) -> bool:
    return Path(f"/proc/{pid}").exists()
