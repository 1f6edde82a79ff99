"""The Redis account that the operators' guide proposes is enough for what tasks do there, and for nothing else."""

from __future__ import annotations

import asyncio
import re
from uuid import uuid4

import pytest

from collab_server.bus import Bus, BusUnavailable, Envelope, EnvelopeKind
from collab_server.bus_redis import RedisBus
from collab_server.redis_calls import RedisCalls
from presence.directory import Attendee
from presence.directory_redis import RedisDirectory
from presence.roster import Person, Status
from tests.house.test_docs import DOCS
from tests.services.redis import RedisServer
from tests.unit.collab_server.rooms.parts import until

PASSWORD = "hunter2"


def documented() -> list[str]:
    """The command in the guide, word by word."""
    found = re.search(r"^    (ACL SETUSER collab .*)$", (DOCS / "operations.md").read_text(), re.MULTILINE)
    assert found is not None
    return found[1].replace("PASSWORD", PASSWORD).split()


async def until_up(bus: Bus) -> None:
    async with asyncio.timeout(10):
        while True:
            try:
                return await bus.ping()
            except BusUnavailable:
                await asyncio.sleep(0.01)


async def test_the_documented_account_may_do_what_tasks_do_and_nothing_else(redis_server: RedisServer) -> None:
    assert redis_server.command(*documented()) == b"+OK\r\n"
    url = redis_server.url.replace("redis://", f"redis://collab:{PASSWORD}@")
    calls = RedisCalls(url, "directory")
    await calls.start()
    directory = RedisDirectory("one", calls.call)
    buses = [RedisBus(url, name) for name in ("one", "two")]
    try:
        await directory.begin()
        ada = Attendee(Person("ada", "Ada", "editor"), Status.ACTIVE, 1, 1.0, 1.0)
        await directory.write({"document:demo": [ada], "document:gone": None}, {"ada": ["document:demo"], "bob": []})
        assert await directory.beat()
        await directory.begin()
        assert await directory.beat()
        assert (await directory.at("document:demo")).people == ()  # and removes what no task says any more
        assert await directory.places_of("ada") == ()
        await directory.leave()
        heard: list[bytes] = []
        for bus in buses:
            await bus.start()
            await until_up(bus)
        document = uuid4()
        for where in (document, None):
            await buses[1].subscribe(where, lambda envelope: heard.append(envelope.body))
        buses[0].publish(Envelope(EnvelopeKind.UPDATE, document, "one", b"update"))
        buses[0].publish(Envelope(EnvelopeKind.CONTROL, None, "one", b"word"))
        await until(lambda: heard == [b"update", b"word"])
        assert [bus.dropped for bus in buses] == [0, 0]
        for command in (
            ["SET", "other", "1"],
            ["KEYS", "*"],
            ["FLUSHALL"],
            ["PUBLISH", "other", "x"],
            ["EVAL", "1", "0"],
        ):
            with pytest.raises(ConnectionError, match="permission"):
                await calls.call([tuple(word.encode() for word in command)])
    finally:
        await calls.close()
        for bus in buses:
            await bus.close()
