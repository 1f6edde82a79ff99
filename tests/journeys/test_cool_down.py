"""Who was closed for sending too much comes back after a while, not at once; nobody else notices (promise 4)."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator

import pytest
from websockets.exceptions import InvalidStatus

from collab_server.errors import Close
from tests.services.client import Client
from tests.services.fixtures_postgres import PostgresOfMajor
from tests.services.fixtures_server import StartServer
from tests.services.raw_socket import PING, RawSocket, frame, opening
from tests.services.running import metric, running_server
from tests.services.server import ServerProcess
from tests.services.tokens import token

BURST = 50
COOL_DOWN_S = 4
ORIGIN = "https://app.example.com"


@pytest.fixture(scope="module")
def server(postgres_of_major: PostgresOfMajor, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    with running_server(
        postgres_of_major,
        tmp_path_factory,
        auth="dev",
        messages_burst=BURST,
        messages_per_s=1,
        flood_cool_down_s=COOL_DOWN_S,
        allowed_origins=ORIGIN,
    ) as server:
        yield server


async def flood(server: ServerProcess, document: str, token: str | None = None) -> None:
    async with RawSocket(server) as raw:
        await raw.upgraded(document, token=token)
        raw.write(frame(b"", PING) * (BURST + 1))
        assert await raw.close_code() == Close.TOO_FREQUENT.code


async def status_of(server: ServerProcess, document: str, token: str | None = None) -> int:
    async with RawSocket(server) as raw:
        raw.write(opening(document, token=token))
        return await raw.status()


async def test_one_that_flooded_is_refused_everywhere_until_its_time_is_up(server: ServerProcess) -> None:
    refused = metric(server, "collab_refusals_total", reason="too_frequent")
    mallory = token(server, "mallory")
    async with (
        Client(server.websocket_url, "flooded", token=token(server, "bob")) as bob,
        Client(server.websocket_url, "elsewhere", token=mallory) as earlier,
    ):
        await flood(server, "flooded", mallory)
        flooded_at = time.monotonic()
        assert metric(server, "collab_cooling_down") == 1
        assert await status_of(server, "flooded", mallory) == 429
        assert await status_of(server, "another", token(server, "mallory", role="viewer")) == 429
        async with Client(server.websocket_url, "another", token=mallory, hello=False, origin=ORIGIN) as page:
            code, reason = await page.until_closed()
            assert (code, page.denied) == (Close.TOO_FREQUENT.code, [reason])
            assert "try again in" in reason
        assert metric(server, "collab_refusals_total", reason="too_frequent") == refused + 3
        async with Client(server.websocket_url, "flooded", token=token(server, "ada")) as ada:  # nobody else is refused
            await ada.type("calm")
            await bob.until_text("calm")
        async with asyncio.timeout(20):
            while True:
                try:
                    async with Client(server.websocket_url, "flooded", token=mallory) as back:
                        assert back.synced
                        break
                except InvalidStatus:
                    await asyncio.sleep(0.02)
        assert COOL_DOWN_S - 0.2 < time.monotonic() - flooded_at < COOL_DOWN_S + 10  # trying did not make it longer
        assert metric(server, "collab_cooling_down") == 0
        assert (bob.closed, earlier.closed) == (None, None)


async def test_where_everyone_is_a_guest_the_address_pays(start_server: StartServer) -> None:
    server = start_server(auth="open", messages_burst=BURST, messages_per_s=1)
    await flood(server, "flooded")
    assert await status_of(server, "another") == 429


async def test_without_a_cool_down_one_may_come_back_at_once(start_server: StartServer) -> None:
    server = start_server(auth="open", messages_burst=BURST, messages_per_s=1, flood_cool_down_s=0)
    await flood(server, "flooded")
    async with Client(server.websocket_url, "flooded") as back:
        assert back.synced
