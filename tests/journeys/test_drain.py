"""F02, promise 6: SIGTERM loses nothing this server was sent, spares those its members go to, and ends in time."""

from __future__ import annotations

import asyncio
import itertools
import re
import signal
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from datetime import datetime

import pytest
from pycrdt import Doc, Text
from websockets.exceptions import ConnectionClosed

from collab_server.wire import yjs
from collab_server.wire.messages import SyncStep1, Update
from persistence.embedded_postgres import EmbeddedPostgres
from tests.services.client import Client
from tests.services.fixtures_server import StartServer
from tests.services.outages import paused, start_again
from tests.services.raw_socket import RawSocket, frame
from tests.services.running import admin_json, rows, until_journaled, until_metric
from tests.services.server import ServerProcess

CLOSE = 8
RESTARTING = 1012
TOKEN = re.compile(r"<\d+-\d+>")
CHECKPOINTS = "select count(*) from checkpoints"


async def until(fact: Callable[[], bool]) -> None:
    async with asyncio.timeout(20):
        while not await asyncio.to_thread(fact):  # noqa: ASYNC110 - another process changes it
            await asyncio.sleep(0.01)


async def text_of(server: ServerProcess, document: str) -> str:
    async with Client(server.websocket_url, document) as client:
        return str(client.text)


async def terminate(server: ServerProcess) -> None:
    """SIGTERM, and wait until it is acted on."""
    server.signal(signal.SIGTERM)
    await until(lambda: "draining:" in server.output)


async def hurry(server: ServerProcess) -> None:
    """A second SIGTERM, acted on."""
    server.signal(signal.SIGTERM)
    await until(lambda: "hurrying" in server.output)


def last_words(server: ServerProcess) -> str:
    return [line["detail"] for line in server.log_lines if line["event"] == "drain"][-1]


@asynccontextmanager
async def one_that_does_not_answer(server: ServerProcess, document: str) -> AsyncIterator[RawSocket]:
    """Someone seated who never answers a close frame: the drain waits for it for a while."""
    async with RawSocket(server) as raw:
        await raw.upgraded(document)
        await until_metric(server, "collab_members", 1)
        yield raw


async def checkpoints(server: ServerProcess) -> int:
    found = await rows(server, CHECKPOINTS)
    return int(found[0][0])


async def test_nothing_that_was_sent_before_or_during_a_drain_under_load_is_lost(start_server: StartServer) -> None:
    server = start_server(auth="open")
    sent: list[set[str]] = [set() for _ in range(3)]

    async def write(writer: int) -> None:
        room = writer % 3
        with suppress(ConnectionClosed):
            async with Client(server.websocket_url, f"loaded-{room}") as client:
                for number in range(100_000):
                    token = f"<{writer}-{number}>"
                    await client.type(token)
                    sent[room].add(token)
                    await asyncio.sleep(0.005)

    writers = [asyncio.create_task(write(number)) for number in range(9)]
    await until(lambda: sum(map(len, sent)) > 300)
    began = time.monotonic()
    assert await asyncio.to_thread(server.stop) == 0
    assert time.monotonic() - began < 25
    await asyncio.gather(*writers)  # nobody comes back: what is found below is what this server stored
    assert await checkpoints(server) >= 3
    server.start()
    for room, tokens in enumerate(sent):
        found = set(TOKEN.findall(await text_of(server, f"loaded-{room}")))
        assert found == tokens


async def test_an_edit_that_crosses_the_close_frame_is_stored(start_server: StartServer) -> None:
    server = start_server(auth="open")
    doc: Doc[Text] = Doc()
    doc.get("content", type=Text).insert(0, "sent before it knew")
    async with one_that_does_not_answer(server, "crossing") as raw:
        server.signal(signal.SIGTERM)
        assert await raw.close_code() == RESTARTING
        raw.write(frame(yjs.encode(SyncStep1(b"\x00"))))  # has no effect, and does no harm
        raw.write(frame(yjs.encode(Update(doc.get_update()))))
        raw.write(frame(RESTARTING.to_bytes(2, "big"), CLOSE))
        assert await asyncio.to_thread(server.exit_code) == 0
    server.start()
    assert await text_of(server, "crossing") == "sent before it knew"


async def test_members_are_moved_a_few_at_a_time_and_those_of_one_room_together(start_server: StartServer) -> None:
    server = start_server(auth="open")
    closed: dict[int, float] = {}
    rooms, members = 6, 60

    async def sit(number: int, stack: AsyncExitStack) -> Client:
        return await stack.enter_async_context(Client(server.websocket_url, f"spread-{number % rooms}"))

    async def note_end(number: int, client: Client) -> None:
        code, _reason = await client.until_closed()
        closed[number] = time.monotonic()
        assert code == RESTARTING

    async with AsyncExitStack() as stack:
        clients = [await sit(number, stack) for number in range(members)]
        ends = [asyncio.create_task(note_end(number, client)) for number, client in enumerate(clients)]
        assert await asyncio.to_thread(server.stop) == 0
        await asyncio.gather(*ends)
    order = sorted(closed, key=closed.__getitem__)
    whole_s = closed[order[-1]] - closed[order[0]]
    assert whole_s > 0.25  # at 100 a second, with jitter
    for room in range(rooms):
        times = [closed[number] for number in range(room, members, rooms)]
        assert max(times) - min(times) < whole_s / 2
    gaps = [after - before for before, after in itertools.pairwise(sorted(closed.values())) if after - before > 0.01]
    assert len(gaps) >= 5


async def test_while_draining_it_is_not_ready_and_lets_nobody_in(start_server: StartServer) -> None:
    server = start_server(auth="open")
    async with one_that_does_not_answer(server, "held"):
        assert (await asyncio.to_thread(admin_json, server, "/readyz"))[0] == 200
        await terminate(server)
        status, report = await asyncio.to_thread(admin_json, server, "/readyz")
        assert (status, report["status"]) == (503, "draining")
        with pytest.raises(OSError):
            await text_of(server, "another")
        assert await asyncio.to_thread(server.exit_code) == 0  # it does not wait for ever


async def test_a_connection_that_is_being_opened_is_sent_elsewhere(start_server: StartServer) -> None:
    server = start_server(auth="open")
    async with RawSocket(server) as opening, one_that_does_not_answer(server, "held"):
        opening.write(b"GET /ws/late HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n")
        await terminate(server)
        opening.write(b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n")
        assert await opening.status() == 503
        assert await asyncio.to_thread(server.exit_code) == 0


async def test_a_second_sigterm_leaves_out_pauses_and_checkpoints_but_not_the_journal(
    start_server: StartServer,
) -> None:
    server = start_server(auth="open")
    async with Client(server.websocket_url, "hurried") as ada:
        await ada.type("kept")
        await until_journaled(server, "hurried", 1)
    async with one_that_does_not_answer(server, "hurried"):
        await terminate(server)
        await hurry(server)
        assert await asyncio.to_thread(server.exit_code) == 0
    hurried = next(line for line in server.log_lines if line["event"] == "hurrying")
    stopped = [line for line in server.log_lines if line["event"] == "drain"][-1]
    took = datetime.fromisoformat(stopped["timestamp"]) - datetime.fromisoformat(hurried["timestamp"])
    assert took.total_seconds() < 1.0  # a calm one waits 2 s for the one that does not answer
    assert await checkpoints(server) == 0
    assert "1 rooms are in the journal" in last_words(server)
    server.start()
    assert await text_of(server, "hurried") == "kept"


async def test_a_third_sigterm_ends_it_at_once_and_says_how_many_edits_were_not_stored(
    start_server: StartServer, postgres_server: EmbeddedPostgres
) -> None:
    server = start_server(auth="open", database_url=postgres_server.url)
    async with Client(server.websocket_url, "at-once") as ada, paused(postgres_server):
        await ada.type("one")
        await ada.type("two")
        await until_metric(server, "collab_updates_total", 2, source="client")
        await terminate(server)
        await hurry(server)
        server.signal(signal.SIGTERM)
        assert await asyncio.to_thread(server.exit_code) == 1
    left = next(line for line in server.log_lines if line["event"] == "left_at_once")
    assert left["unstored_edits"] == 2


@pytest.mark.parametrize("outage", ["gone", "hung"])
async def test_without_the_database_it_ends_in_time_with_1_and_says_how_many_edits_were_not_stored(
    start_server: StartServer, postgres_server: EmbeddedPostgres, outage: str
) -> None:
    server = start_server(auth="open", database_url=postgres_server.url, drain_timeout_s=3)
    async with AsyncExitStack() as stack:
        ada = await stack.enter_async_context(Client(server.websocket_url, "unstored"))
        if outage == "gone":
            await postgres_server.kill(signal.SIGQUIT)
        else:
            await stack.enter_async_context(paused(postgres_server))
        await ada.type("not stored")
        await until_metric(server, "collab_updates_total", 1, source="client")
        began = time.monotonic()
        assert await asyncio.to_thread(server.stop) == 1
        assert time.monotonic() - began < 10  # most of it is the machine: nothing waits for what hangs
        assert (await ada.until_closed())[0] == RESTARTING
    assert "1 edits were not stored" in last_words(server)


async def test_a_database_that_comes_back_while_draining_gets_what_had_waited(
    start_server: StartServer, postgres_server: EmbeddedPostgres
) -> None:
    server = start_server(auth="open", database_url=postgres_server.url)
    async with Client(server.websocket_url, "waited") as ada:
        await postgres_server.kill(signal.SIGQUIT)
        await ada.type("stored in the end")
        await until_metric(server, "collab_updates_total", 1, source="client")
        await terminate(server)
        await start_again(postgres_server)
        assert await asyncio.to_thread(server.exit_code) == 0
    server.start()
    assert await text_of(server, "waited") == "stored in the end"
