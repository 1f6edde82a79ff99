"""The main job: two people edit one document, and a restart loses nothing."""

from __future__ import annotations

from tests.services.client import Client
from tests.services.fixtures_server import StartServer
from tests.services.server import ServerProcess


async def test_what_one_types_the_other_reads(open_server: ServerProcess) -> None:
    async with (
        Client(open_server.websocket_url, "two-people") as ada,
        Client(open_server.websocket_url, "two-people") as bob,
    ):
        await ada.type("hello")
        await bob.until_text("hello")
        await bob.type(" world")
        await ada.until_text("hello world")


async def test_a_restart_in_good_order_loses_nothing_and_exits_0(start_server: StartServer) -> None:
    server = start_server(auth="open")
    async with Client(server.websocket_url, "kept") as ada:
        await ada.type("kept")
        async with Client(server.websocket_url, "kept") as bob:
            await bob.until_text("kept")
        assert server.stop() == 0
        code, _reason = await ada.until_closed()
        assert code == 1012
    server.start()
    async with Client(server.websocket_url, "kept") as bob:
        assert str(bob.text) == "kept"
