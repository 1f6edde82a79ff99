"""Two tasks and people with bad networks of their own: slow, with new addresses, all back at once (F20, F13).

The sizes are small; `make cluster-faults` runs the real ones.
"""

from __future__ import annotations

import asyncio
import os
import re
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from http import HTTPStatus

import orjson
import pytest
from websockets.exceptions import InvalidStatus

from chaos.checker import Verdict
from collab_server.wire.awareness import AwarenessEntry
from collab_server.wire.messages import Awareness
from tests.services.bus_faults import BusFaults
from tests.services.client import Client
from tests.services.crowd import Crowd
from tests.services.faulty_cluster import Cluster, loop_lag
from tests.services.running import admin_get, admin_json, loop_seconds, metric, until
from tests.services.server import ServerProcess
from tests.services.tokens import token

pytestmark = [pytest.mark.xdist_group("cluster"), pytest.mark.timeout(600)]

IS_LARGE = "COLLAB_TEST_CLUSTER" in os.environ
SLOW_FOR_S = 30.0 if IS_LARGE else 1.0
HERD = int(os.environ.get("COLLAB_TEST_HERD", 2_000 if IS_LARGE else 60))
HERD_DOCUMENTS = 100 if IS_LARGE else 6
HERD_SYNCED_WITHIN_S = 15.0
HERD_LAG_S = 0.2
ONE_WAY_S, RESENT = 0.3, 0.05
ACKNOWLEDGED_WITHIN_S = 2.0


@asynccontextmanager
async def slow_ways(cluster: Cluster) -> AsyncIterator[list[BusFaults]]:
    """One to each task, for people."""
    ways = [BusFaults(task.ws_port, seed, is_redis=False).started() for seed, task in enumerate(cluster.tasks)]
    for way in ways:
        way.latency_s, way.resent = ONE_WAY_S, RESENT
    try:
        yield ways
    finally:
        for way in ways:
            await asyncio.to_thread(way.stop)


def url(way: BusFaults) -> str:
    return f"ws://127.0.0.1:{way.port}/ws"


# F20


async def test_edits_over_a_slow_network_are_acknowledged_in_two_seconds(cluster: Cluster) -> None:
    async with (
        slow_ways(cluster) as ways,
        Crowd(cluster, "slow", urls=[url(way) for way in ways], a_task=1) as crowd,
    ):
        await crowd.type_for(SLOW_FOR_S)
        await crowd.equal_after_s()
        assert await crowd.verdict() == Verdict()
        waits_s = sorted(crowd.waits_s)
        p99_s = waits_s[int(len(waits_s) * 0.99)]
        print(f"slow: {len(waits_s)} acknowledgements, p50 {waits_s[len(waits_s) // 2]:.2f} s, p99 {p99_s:.2f} s")
        assert p99_s < ACKNOWLEDGED_WITHIN_S


class Person(Client):
    """A client that shows a cursor, as a stock one does: under its document's id, with a clock that grows."""

    clock = 0

    async def show(self, name: str) -> None:
        """Say who one claims to be; the server says it better."""
        self.clock += 1
        state = orjson.dumps({"user": {"name": name}, "cursor": self.clock})
        await self.send(Awareness((AwarenessEntry(self.doc.client_id, self.clock, state),)))

    def shown(self, subject: str) -> list[int]:
        """The cursors of that person one sees."""
        live = {client: orjson.loads(entry.state) for client, entry in self.awareness.items() if entry.state != b"null"}
        return [client for client, state in live.items() if state and state.get("user", {}).get("id") == subject]


async def present(task: ServerProcess, document: str, operator: str) -> list[str]:
    """Who is in the document, as any task tells operators."""
    _status, report = await asyncio.to_thread(admin_json, task, f"/presence/{document}", operator)
    return sorted(person["subject"] for person in report["people"])


async def members(cluster: Cluster) -> float:
    """Seats at all tasks."""
    return sum([await asyncio.to_thread(metric, task, "collab_members") for task in cluster.tasks])


@pytest.mark.parametrize("comes_back_at", [0, 1], ids=["same task", "other task"])
async def test_a_phone_with_a_new_address_is_there_once(cluster: Cluster, comes_back_at: int) -> None:
    """Its old connection is half-open: the server has not heard that it is gone."""
    document = f"phone-{comes_back_at}"
    one, two = cluster.tasks

    def person(address: str, who: str) -> Person:
        return Person(address, document, token=token(one, who))

    async with (
        slow_ways(cluster) as ways,
        person(one.websocket_url, "bob") as bob,
        person(two.websocket_url, "cleo") as cleo,
        person(url(ways[0]), "ada") as before,
    ):
        ways[0].latency_s = ways[0].resent = 0.0
        await before.show("Ada")
        await before.type("before ")
        for other in (bob, cleo):
            await other.until(lambda other=other: other.shown("ada") == [before.doc.client_id])
            await other.until_text("before ")
        seats = await members(cluster)
        ways[0].hold()
        now = person(cluster.tasks[comes_back_at].websocket_url, "ada")
        now.doc, now.text, now.clock = before.doc, before.text, before.clock
        async with now:
            await now.show("Ada")
            began = time.monotonic()
            await now.type("and now")
            for other in (bob, cleo):
                await other.until_text("before and now")
                await other.until(lambda other=other: other.shown("ada") == [now.doc.client_id])
            assert time.monotonic() - began < ACKNOWLEDGED_WITHIN_S
            assert await present(two, document, token(one, "root", groups=["admin"])) == ["ada", "bob", "cleo"]
            ways[0].cut()  # as the server does when its pings stay unanswered
            ways[0].release()

            async def old_seat_is_gone() -> bool:
                return await members(cluster) == seats

            await until(old_seat_is_gone)
            await now.show("Ada")
            await now.type("!")
            for other in (bob, cleo):
                await other.until_text("before and now!")
                await other.until(lambda other=other: other.shown("ada") == [now.doc.client_id])


# F13

BUCKET = re.compile(rb'^collab_loop_lag_seconds_bucket\{le="([^"]+)"\} (\S+)', re.MULTILINE)


def lags(task: ServerProcess) -> dict[float, float]:
    """How many delays of its loop were up to so many seconds."""
    _status, body = admin_get(task, "/metrics")
    return {float(most): float(number) for most, number in BUCKET.findall(body)}


def p99_s(before: dict[float, float], after: dict[float, float]) -> float:
    """The bound that 99 of 100 delays in between kept."""
    number = after[float("inf")] - before[float("inf")]
    return min(most for most in after if after[most] - before[most] >= 0.99 * number)


def loads(task: ServerProcess) -> float:
    return metric(task, "collab_room_load_seconds_count")


async def test_a_herd_that_comes_back_at_once_is_synced_and_loads_each_room_once(cluster: Cluster) -> None:
    texts = {f"herd-{number}": f"{number} " * 5_000 for number in range(HERD_DOCUMENTS)}
    one = cluster.tasks[0]
    for document, text in texts.items():
        async with Client(one.websocket_url, document, token=token(one)) as author:
            await author.type(text)
    tokens = [token(one, f"person-{number}") for number in range(20)]
    loaded = [loads(task) for task in cluster.tasks]
    before = [lags(task) for task in cluster.tasks]
    worked_s = [loop_seconds(task.pid) for task in cluster.tasks]
    names = list(texts)
    turned_away: list[int] = []

    def member(number: int) -> Client:
        task = cluster.tasks[number % 2]
        return Client(task.websocket_url, names[number // 2 % len(names)], token=tokens[number % len(tokens)])

    async def enter(number: int, ending: AsyncExitStack) -> Client:
        """As a stock client: one that is told to try again does, soon and then later."""
        for attempt in range(10):
            try:
                return await ending.enter_async_context(member(number))
            except InvalidStatus as refused:
                if refused.response.status_code != HTTPStatus.SERVICE_UNAVAILABLE:
                    raise
                turned_away.append(number)
                await asyncio.sleep(0.1 * 2**attempt)
        raise AssertionError(f"client {number} does not get in")

    async def come(ending: AsyncExitStack) -> tuple[float, list[Client]]:
        began = time.monotonic()
        clients = await asyncio.gather(*(enter(number, ending) for number in range(HERD)))
        for number, client in enumerate(clients):
            assert str(client.text) == texts[names[number // 2 % len(names)]]
        return time.monotonic() - began, clients

    async with AsyncExitStack() as ending, loop_lag(cluster) as lag:
        arrived_s, clients = await come(ending)
        for client in clients:
            client.socket.transport.abort()
        back_s, _clients = await come(ending)
        late_s = [p99_s(was, lags(task)) for was, task in zip(before, cluster.tasks, strict=True)]
        print(f"herd of {HERD}: synced in {arrived_s:.2f} s, again in {back_s:.2f} s, loop lag p99 up to {late_s} s")
    worked_s = [loop_seconds(task.pid) - was for task, was in zip(cluster.tasks, worked_s, strict=True)]
    print(f"{len(turned_away)} turned away, for now")
    print(f"a connection costs {sum(worked_s) / HERD / 2 * 1000:.2f} ms of a processor")
    print(f"longest lag {lag.longest_s:.3f} s, {lag.longest_in_all_s:.3f} s with waiting for a processor")
    assert [loads(task) - was for task, was in zip(cluster.tasks, loaded, strict=True)] == [0, HERD_DOCUMENTS]
    assert max(arrived_s, back_s) < HERD_SYNCED_WITHIN_S
    assert lag.longest_s <= HERD_LAG_S
