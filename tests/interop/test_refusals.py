"""What the server refuses costs its sender the connection and nobody else anything."""

import asyncio

from tests.interop.conftest import Join
from tests.services.node import converged


async def test_a_subdocument_is_refused_and_the_others_go_on(version: str, join: Join) -> None:
    alice, bob, mallory = await asyncio.gather(*(join(version) for _ in range(3)))
    await mallory.ask("subdocument", key="child")
    await mallory.wait("event", name="connection-close", since=0)
    closed = (await mallory.events("connection-close"))[0]
    assert 4400 <= closed["code"] <= 4499, closed  # permanent: trying again cannot help

    await alice.ask("insert", at=0, text="undisturbed")
    await bob.sees_text("undisturbed")
    dave = await join(version)
    state = await converged([alice, bob, dave])
    assert state["map"] == {}
    for client in (alice, bob, dave):
        assert await client.events("connection-close") == []
