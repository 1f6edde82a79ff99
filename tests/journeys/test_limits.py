"""The bounds of rooms, documents, messages and memory at a real socket: what reaching one costs, and whom."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import AsyncExitStack

import pytest
from pycrdt import Doc, Text
from websockets.exceptions import InvalidStatus

from collab_server.errors import Close
from collab_server.wheel import TURN_S
from collab_server.wire import yjs
from collab_server.wire.awareness import AwarenessEntry
from collab_server.wire.messages import Awareness, Update
from tests.services.client import Client
from tests.services.fixtures_postgres import PostgresOfMajor
from tests.services.fixtures_server import StartServer
from tests.services.raw_socket import BINARY, CONTINUATION, MASK, RawSocket, frame, length_of, opening
from tests.services.running import metric, running_server, until_gone, until_metric
from tests.services.server import ServerProcess

MEGABYTE = 1_000_000
BUDGET_BYTES = 4 * MEGABYTE
WATCHDOG_S = 2


@pytest.fixture(scope="module")
def server(postgres_of_major: PostgresOfMajor, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    with running_server(
        postgres_of_major,
        tmp_path_factory,
        auth="open",
        max_members_per_room=2,
        warn_document_bytes=20_000,
        max_document_bytes=2 * MEGABYTE,
        awareness_per_s=10,
        message_timeout_s=4,
        buffer_budget_bytes=BUDGET_BYTES,
        outbox_high_water_bytes=200_000,
    ) as server:
        yield server


def announced(size: int, opcode: int = BINARY, *, fin: bool = True) -> bytes:
    """The head of a frame of that size, without its payload."""
    return bytes((fin << 7 | opcode,)) + length_of(size) + MASK


async def answered(raw: RawSocket, document: str) -> int:
    """The HTTP status that refuses `document`."""
    raw.write(opening(document))
    return await raw.status()


async def let_in(server: ServerProcess, document: str) -> None:
    """Try again and again, as clients do, until there is place."""
    async with asyncio.timeout(20):
        while True:
            try:
                async with Client(server.websocket_url, document) as client:
                    assert client.synced
                    return
            except InvalidStatus:
                await asyncio.sleep(0.02)


async def test_a_full_room_is_refused_until_somebody_leaves(server: ServerProcess) -> None:
    before = metric(server, "collab_refusals_total", reason="room_full")
    async with Client(server.websocket_url, "full-room") as ada:
        async with Client(server.websocket_url, "full-room"), RawSocket(server) as third:
            assert await answered(third, "full-room") == 503
        await until_metric(server, "collab_refusals_total", before + 1, reason="room_full")
        await let_in(server, "full-room")
        assert ada.closed is None


async def test_too_many_rooms_are_refused_until_an_empty_one_has_made_place(start_server: StartServer) -> None:
    server = start_server(auth="open", max_rooms=2)
    async with Client(server.websocket_url, "one"):
        async with Client(server.websocket_url, "two"), RawSocket(server) as third:
            assert await answered(third, "three") == 503
        await let_in(server, "three")
    assert metric(server, "collab_refusals_total", reason="too_many_rooms") >= 1


async def test_a_document_that_is_full_is_read_only_and_shrinks_when_something_is_deleted(
    server: ServerProcess,
) -> None:
    document = "full-document"
    closed = metric(server, "collab_closes_total", reason="document_full")
    async with Client(server.websocket_url, document) as ada:
        await ada.type("x" * (2 * MEGABYTE - 1_000))
        async with Client(server.websocket_url, document) as bob:
            await bob.until(lambda: len(bob.text) == 2 * MEGABYTE - 1_000)  # it is taken in beside other things
            await bob.type("y" * 2_000)
            assert (await bob.until_closed())[0] == Close.DOCUMENT_FULL.code
        await until_metric(server, "collab_closes_total", closed + 1, reason="document_full")
        async with Client(server.websocket_url, document) as bob:  # it can still be read,
            assert len(bob.text) == 2 * MEGABYTE - 1_000
            before = bob.doc.get_state()
            del bob.text[10:]
            await bob.send(Update(bob.doc.get_update(before)))  # and deleted from
            await ada.until(lambda: len(ada.text) == 10)
            await bob.type("z" * 100_000)
            await ada.until(lambda: len(ada.text) == 100_010)
        assert ada.closed is None
    warnings = [line for line in server.log_lines if line["event"] in {"document_large", "document_read_only"}]
    assert [line["event"] for line in warnings] == ["document_large", "document_read_only"]


async def test_cursors_beyond_the_rate_are_dropped_and_cost_nobody_the_connection(server: ServerProcess) -> None:
    before = metric(server, "collab_awareness_limited_total")
    async with Client(server.websocket_url, "cursors") as ada, Client(server.websocket_url, "cursors") as bob:
        for clock in range(1, 201):
            await ada.send(Awareness((AwarenessEntry(7, clock, b"{}"),)))
        await ada.type("after")
        await bob.until_text("after")
        shown = [message for message in bob.received if isinstance(message, Awareness) and message.entries]
        assert 40 <= len(shown) <= 60
        assert metric(server, "collab_awareness_limited_total") - before == 200 - len(shown)
        assert (ada.closed, bob.closed) == (None, None)


@pytest.mark.parametrize("way", ["stops", "drips", "drips fragments"])
async def test_a_message_that_is_not_finished_in_time_ends_its_connection(server: ServerProcess, way: str) -> None:
    """T15: progress resets nothing."""
    async with Client(server.websocket_url, f"beside {way}".replace(" ", "-")) as ada, RawSocket(server) as mallory:
        await mallory.upgraded("unfinished")
        pieces = way == "drips fragments"
        mallory.write(frame(b"\x00", BINARY, fin=False) if pieces else announced(50_000) + b"\x00")
        closing = asyncio.create_task(mallory.close_code())
        async with asyncio.timeout(4 * TURN_S):
            while not (await asyncio.wait([closing], timeout=0.1))[0]:
                if way != "stops":
                    mallory.write(frame(b"\x00", CONTINUATION, fin=False) if pieces else b"\x00")
        assert await closing == Close.MESSAGE_TIMEOUT.code
        assert ada.closed is None


async def test_a_busy_writer_is_always_within_some_message_and_stays(server: ServerProcess) -> None:
    async with RawSocket(server) as ada, asyncio.timeout(60):
        await ada.upgraded("busy")
        loop = asyncio.get_running_loop()
        until = loop.time() + 3 * TURN_S
        query = frame(b"\x03")
        ada.write(query[:3])
        while loop.time() < until:  # the time that passes is what is tested
            ada.write(query[3:] + query[:3])
            await asyncio.sleep(0.05)
        ada.write(query[3:])
        assert await ada.survives(b"")


async def test_unfinished_messages_over_the_budget_end_the_largest_and_only_those(server: ServerProcess) -> None:
    before = metric(server, "collab_closes_total", reason="overloaded")
    async with (
        Client(server.websocket_url, "beside-greed") as ada,
        RawSocket(server) as small,
        RawSocket(server) as big,
    ):
        await small.upgraded("greed")
        await big.upgraded("greed")
        small.write(announced(MEGABYTE) + b"\x00" * (MEGABYTE // 2))
        big.write(announced(8 * MEGABYTE) + b"\x00" * 6 * MEGABYTE)
        assert await big.close_code() == Close.OVERLOADED.code
        await until_metric(server, "collab_closes_total", before + 1, reason="overloaded")
        small.write(b"\x00" * (MEGABYTE - MEGABYTE // 2))
        assert await small.close_code() == Close.MALFORMED.code  # it was heard to the end
        await ada.type("still here")
    await until_gone(server, "collab_unfinished_bytes")


async def test_readers_that_do_not_read_are_seen_as_slow_and_over_the_budget_some_are_closed(
    start_server: StartServer,
) -> None:
    """One alone is never owed more than the high-water mark; a dozen are owed more than the budget."""
    server = start_server(auth="open", buffer_budget_bytes=BUDGET_BYTES)
    before = metric(server, "collab_closes_total", reason="too_slow")
    async with AsyncExitStack() as stack:
        ada = await stack.enter_async_context(Client(server.websocket_url, "unread"))
        for _ in range(12):
            stalled = await stack.enter_async_context(RawSocket(server))
            await stalled.upgraded("unread")
        text = ada.doc.get("content", type=Text)
        was_slow = False
        async with asyncio.timeout(60):
            while metric(server, "collab_closes_total", reason="too_slow") == before:
                await ada.type("x" * 40_000)  # and away again: a full document would be refused
                state = ada.doc.get_state()
                text.clear()
                await ada.send(Update(ada.doc.get_update(state)))
                was_slow = was_slow or metric(server, "collab_slow_members") > 0
        assert was_slow
        assert ada.closed is None
    await until_gone(server, "collab_outbox_bytes")


async def test_a_server_that_is_busy_without_an_end_is_not_taken_for_one_that_hangs(start_server: StartServer) -> None:
    server = start_server(auth="open", watchdog_s=WATCHDOG_S, messages_per_s=100_000, messages_burst=100_000)
    doc: Doc[Text] = Doc()
    text = doc.get("content", type=Text)
    loop = asyncio.get_running_loop()
    until = loop.time() + 3 * WATCHDOG_S
    async with Client(server.websocket_url, "busy") as ada, Client(server.websocket_url, "busy") as bob:
        while loop.time() < until:
            for _ in range(200):
                before = doc.get_state()
                text.insert(0, "x")
                await ada.send_bytes(yjs.encode(Update(doc.get_update(before))))
        await bob.until(lambda: len(bob.text) == len(text))
        assert (ada.closed, bob.closed) == (None, None)
    assert metric(server, "collab_loop_lag_seconds_count") > 10
