"""Two tasks serve one document through a real Redis: losing Redis loses nothing (R004, R005)."""

from __future__ import annotations

import asyncio

import orjson

from collab_server.wire.awareness import AwarenessEntry
from collab_server.wire.messages import Awareness
from tests.services.client import Client
from tests.services.fixtures_server import StartServer
from tests.services.redis import RedisServer


async def test_edits_and_cursors_cross_between_tasks(start_server: StartServer, redis_server: RedisServer) -> None:
    one = start_server(auth="open", redis_url=redis_server.url, bus_key="secret of this cluster")
    settings = {"auth": "open", "redis_url": redis_server.url, "bus_key": "secret of this cluster"}
    two = start_server(database_url=one.settings["database_url"], **settings)
    async with Client(one.websocket_url, "shared") as ada, Client(two.websocket_url, "shared") as bob:
        await ada.type("from one ")
        await bob.until_text("from one ")
        await bob.type("from two")
        await ada.until_text("from one from two")
        await ada.send(Awareness((AwarenessEntry(5, 1, b'{"cursor":1}'),)))
        await bob.until(lambda: 5 in bob.awareness)
        assert orjson.loads(bob.awareness[5].state)["cursor"] == 1
        await ada.socket.close()
        await bob.until(lambda: bob.awareness[5].state == b"null")


async def test_what_was_typed_while_redis_was_away_arrives_when_it_is_back(
    start_server: StartServer, redis_server: RedisServer
) -> None:
    one = start_server(auth="open", redis_url=redis_server.url)
    two = start_server(auth="open", redis_url=redis_server.url, database_url=one.settings["database_url"])
    async with Client(one.websocket_url, "healed") as ada, Client(two.websocket_url, "healed") as bob:
        await ada.type("a")
        await bob.until_text("a")
        redis_server.kill()
        await ada.type("b")
        await bob.type("c", at=0)
        await asyncio.to_thread(redis_server.start)
        await ada.until_text("cab")
        await bob.until_text("cab")
