"""Stock clients stay connected through silence and come back after the server did."""

import asyncio

import pytest

from tests.interop.conftest import Join, SignIn
from tests.services.node import VERSIONS, ClientRefused, NodeClient, converged
from tests.services.server import ServerProcess

SILENCE_LIMIT_S = 30 + 3
"""y-websocket closes after 30 s without an inbound message and looks every 3 s (src/y-websocket.js)."""


async def _stays(client: NodeClient) -> None:
    """Raises if the connection was closed within the time in which silence closes it."""
    with pytest.raises(ClientRefused, match="not within"):
        await client.wait("event", name="connection-close", since=0, patience_s=SILENCE_LIMIT_S + 2)


async def test_idle_clients_are_neither_cut_off_nor_forgotten(join: Join, sign_in: SignIn) -> None:
    """Real time: the limits are constants inside the stock clients, and the server's keep-alive runs on the real clock.

    Where nobody edits and nobody has awareness, only the server keeps a client connected. Where somebody has a name,
    its awareness must also outlive the 30 s after which y-protocols drops a state that was not renewed.
    """
    idle = await asyncio.gather(*(join(version) for version in VERSIONS))
    alice, bob = await asyncio.gather(sign_in("1.5.4", "alice"), sign_in("3.1.0", "bob"))
    await asyncio.gather(*(_stays(client) for client in (*idle, alice, bob)))
    await asyncio.gather(alice.sees_peers("bob"), bob.sees_peers("alice"))
    await idle[0].ask("insert", at=0, text="still here")
    await asyncio.gather(*(client.sees_text("still here") for client in idle))


async def test_clients_return_after_a_restart_of_the_server_and_lose_nothing(
    version: str, join: Join, open_server: ServerProcess
) -> None:
    alice, bob = await asyncio.gather(join(version), join(version))
    await alice.ask("insert", at=0, text="before, ")
    await bob.sees_text("before, ")
    restarting = asyncio.create_task(asyncio.to_thread(open_server.restart))
    await asyncio.gather(alice.wait("disconnected"), bob.wait("disconnected"))
    await alice.ask("insert", at=8, text="during, ")
    await restarting
    await asyncio.gather(alice.synced(), bob.synced())
    await bob.sees_text("before, during, ")
    await bob.ask("insert", at=16, text="after")
    await alice.sees_text("before, during, after")
    await converged([alice, bob])


async def test_clients_see_each_other_again_after_a_restart_of_the_server(
    sign_in: SignIn, dev_server: ServerProcess
) -> None:
    alice, bob = await asyncio.gather(sign_in("2.1.0", "alice"), sign_in("3.1.0", "bob"))
    restarting = asyncio.create_task(asyncio.to_thread(dev_server.restart))
    await asyncio.gather(alice.wait("disconnected"), bob.wait("disconnected"))
    await restarting
    await asyncio.gather(
        alice.wait("peers", names=["bob"], patience_s=10), bob.wait("peers", names=["alice"], patience_s=10)
    )
