"""Who is in a document is right on every task, also after one was killed with everybody on it (R039-R043, T11).

`make presence` runs the last one with 500 members (MEMBERS=500).
"""

from __future__ import annotations

import asyncio
import itertools
import os
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AsyncExitStack, ExitStack, asynccontextmanager, suppress
from dataclasses import dataclass
from typing import Any

import orjson
import pytest
from websockets.exceptions import ConnectionClosed

from collab_server.wire.awareness import AwarenessEntry
from collab_server.wire.messages import REMOVED, Awareness
from tests.services.client import Client
from tests.services.fixtures_postgres import PostgresOfMajor
from tests.services.node import NodeClient
from tests.services.postgres import apart
from tests.services.redis import RedisServer
from tests.services.running import admin_json
from tests.services.server import ServerProcess
from tests.services.tokens import token

MEMBERS = int(os.environ.get("MEMBERS", "40"))
GONE_WITHIN_S = 15.0
PROMPTLY_S = 5.0  # well below the 15 s after which a client renews its state, with room for a busy machine
pytestmark = [
    pytest.mark.usefixtures("node_packages"),
    pytest.mark.xdist_group("presence"),  # starting two tasks takes longer than most of what is asked of them
    pytest.mark.timeout(120 + MEMBERS),
]


@dataclass(frozen=True)
class Cluster:
    """Two tasks with the same development keys."""

    one: ServerProcess
    two: ServerProcess
    redis: RedisServer

    def token(self, subject: str, **claims: Any) -> str:
        return token(self.one, subject, **claims)

    async def ask(self, server: ServerProcess, path: str) -> tuple[int, Any]:
        admin = self.token("root", document="none", groups=["admin"])
        return await asyncio.to_thread(admin_json, server, path, admin)

    async def people(self, server: ServerProcess, document: str) -> list[dict[str, Any]]:
        """What the admin port says of who is in `document`, without since when."""
        status, found = await self.ask(server, f"/presence/{document}")
        assert status == 200, found
        return [{key: person[key] for key in person if key != "since"} for person in found["people"]]

    async def until_people(self, server: ServerProcess, document: str, *expected: dict[str, Any]) -> None:
        async def are_those() -> bool:
            return await self.people(server, document) == [*expected]

        await until(are_those)


@pytest.fixture(scope="module")
def cluster(postgres_of_major: PostgresOfMajor, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    redis = RedisServer(tmp_path_factory.mktemp("redis"))
    first, second = (tmp_path_factory.mktemp("task") for _ in range(2))
    settings = {
        "auth": "dev",
        "data_dir": first / "data",
        "database_url": apart(postgres_of_major(None).fresh_database()),
        "redis_url": redis.url,
        "bus_key": "secret of this cluster",
    }
    made = Cluster(ServerProcess(first, **settings), ServerProcess(second, **settings), redis)
    with ExitStack() as running:
        redis.start()
        running.callback(redis.kill)
        for server in (made.one, made.two):
            server.start()
            running.callback(server.stop)
        yield made


async def until(fact: Callable[[], Awaitable[bool]], patience_s: float = 2 * GONE_WITHIN_S) -> None:
    """Wait until what `fact` asks other processes is so."""
    async with asyncio.timeout(patience_s):
        while not await fact():  # noqa: ASYNC110 - other processes have no event
            await asyncio.sleep(0.05)


def ada(devices: int, name: str = "Ada", role: str = "editor") -> dict[str, Any]:
    return {"subject": "ada", "name": name, "role": role, "status": "active", "devices": devices}


async def test_a_joiner_sees_the_cursors_of_members_on_another_task_at_once(cluster: Cluster) -> None:
    one, two = cluster.one.websocket_url, cluster.two.websocket_url
    async with (
        NodeClient(one, "cursors", name="?", token=cluster.token("ada")) as adas,
        NodeClient(two, "cursors", name="?", token=cluster.token("bob")) as bobs,
    ):
        await bobs.wait("peers", names=["Ada"], patience_s=PROMPTLY_S)
        await adas.wait("peers", names=["Bob"], patience_s=PROMPTLY_S)


async def test_one_person_on_two_tasks_is_one_person_with_two_devices(cluster: Cluster) -> None:
    one, two = cluster.one, cluster.two
    async with AsyncExitStack() as stack:
        for server in (one, two):
            await stack.enter_async_context(Client(server.websocket_url, "devices", token=cluster.token("ada")))
        for server in (one, two):
            await cluster.until_people(server, "devices", ada(devices=2))
        newest = cluster.token("ada", role="viewer", name="Ada L.")
        async with Client(two.websocket_url, "devices", token=newest):
            await cluster.until_people(one, "devices", ada(3, "Ada L.", "viewer"))
        await cluster.until_people(one, "devices", ada(devices=2))
        assert await cluster.ask(two, "/presence/people/ada") == (
            200,
            {"subject": "ada", "places": ["document:devices"]},
        )
        _status, found = await cluster.ask(two, "/presence/devices")
        assert len(found["tasks"]) == 2
    await cluster.until_people(one, "devices")
    assert (await cluster.ask(one, "/presence/people/ada"))[1]["places"] == []


async def test_after_an_outage_of_redis_the_directory_and_the_screens_are_right_at_once(cluster: Cluster) -> None:
    """Cursors of a task that could not be heard were taken down; their clients have said nothing new meanwhile."""
    one, two = cluster.one, cluster.two

    async def answers(expected: int) -> bool:
        return (await cluster.ask(two, "/presence/away"))[0] == expected

    async with (
        NodeClient(one.websocket_url, "away", name="?", token=cluster.token("ada")) as adas,
        NodeClient(two.websocket_url, "away", name="?", token=cluster.token("bob")) as bobs,
    ):
        await bobs.wait("peers", names=["Ada"])
        await cluster.until_people(two, "away", ada(devices=1), ada(1) | {"subject": "bob", "name": "Bob"})
        cluster.redis.kill()
        await until(lambda: answers(503))
        await bobs.wait("peers", names=[], patience_s=GONE_WITHIN_S)
        await adas.wait("peers", names=[], patience_s=GONE_WITHIN_S)
        await asyncio.to_thread(cluster.redis.start)
        await bobs.wait("peers", names=["Ada"], patience_s=PROMPTLY_S)
        await adas.wait("peers", names=["Bob"], patience_s=PROMPTLY_S)
        await until(lambda: answers(200))
        await cluster.until_people(two, "away", ada(devices=1), ada(1) | {"subject": "bob", "name": "Bob"})


@asynccontextmanager
async def crowd(cluster: Cluster, document: str) -> AsyncIterator[None]:
    """`MEMBERS` on the first task, each with a cursor that it renews as stock clients do, or it would be forgotten."""
    signed = [cluster.token(f"person-{number}") for number in range(MEMBERS)]
    clients: list[Client] = []
    clocks = itertools.count(1)

    async def show(number: int, client: Client) -> None:
        state = orjson.dumps({"cursor": number})
        await client.send(Awareness((AwarenessEntry(10_000 + number, next(clocks), state),)))

    async def renew() -> None:
        while True:
            await asyncio.sleep(10)
            for number, client in enumerate(clients):
                with suppress(ConnectionClosed):
                    await show(number, client)

    async with AsyncExitStack() as stack:
        renewing = asyncio.create_task(renew())
        for number, each in enumerate(signed):
            client = await stack.enter_async_context(
                Client(cluster.one.websocket_url, document, token=each, hello=False)
            )
            await show(number, client)
            clients.append(client)
        yield
        renewing.cancel()


async def test_presence_is_right_everywhere_within_15_s_of_the_kill_of_a_task_with_everybody_on_it(
    cluster: Cluster,
) -> None:
    """In the directory, and on the screens of members elsewhere, stock client or not."""
    two = cluster.two
    async with (
        Client(two.websocket_url, "killed", token=cluster.token("bob")) as bob,
        NodeClient(two.websocket_url, "killed", name="?", token=cluster.token("eve")) as eve,
    ):

        async def all_are_there() -> bool:
            listed, peers = await cluster.people(two, "killed"), await eve.ask("peers")
            return (len(listed), len(peers), len(shown(bob))) == (MEMBERS + 2, MEMBERS, MEMBERS + 1)

        async def only_two_are_listed() -> bool:
            return [each["subject"] for each in await cluster.people(two, "killed")] == ["bob", "eve"]

        async with crowd(cluster, "killed"):
            await until(all_are_there, 60 + MEMBERS / 10)
            await asyncio.to_thread(cluster.one.kill)
        killed_at = time.monotonic()
        await until(only_two_are_listed)
        directory_s = time.monotonic() - killed_at
        await bob.until(lambda: len(shown(bob)) == 1)
        await eve.wait("peers", names=[], patience_s=GONE_WITHIN_S)
        screens_s = time.monotonic() - killed_at
    print(f"{MEMBERS} members gone: from the directory in {directory_s:.1f} s, from all screens in {screens_s:.1f} s")
    assert max(directory_s, screens_s) < GONE_WITHIN_S


def shown(client: Client) -> list[int]:
    """Whose cursors are on a client's screen."""
    return [entry.client_id for entry in client.awareness.values() if entry.state != REMOVED]
