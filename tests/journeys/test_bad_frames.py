"""Whatever one connection sends, it pays alone: with the close code or HTTP status of the table, counted by its slug.

Beside each offence two others edit one document; neither notices, and nothing of theirs is lost (promise 4, T15, T18).
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from itertools import count

import asyncpg
import pytest
from pycrdt import Doc, Text

from collab_server.errors import Close
from collab_server.wire import yjs
from collab_server.wire.lib0 import prefixed
from collab_server.wire.messages import QueryAwareness, SyncStep1, SyncStep2, Update
from tests.services.client import Client
from tests.services.fixtures_postgres import PostgresOfMajor
from tests.services.raw_socket import (
    BINARY,
    CONTINUATION,
    MASK,
    PING,
    TEXT,
    RawSocket,
    frame,
    length_of,
    opening,
)
from tests.services.running import metric, running_server, until_journaled, until_metric
from tests.services.server import ServerProcess
from tests.services.tokens import token

MOST_BYTES = 100_000
MOST_READER_BYTES = 5_000
MOST_MESSAGES = 300
MOST_SYNCS = 8
MOST_FRAGMENTS = 1_024
MOST_HANDSHAKE_BYTES = 4_096
TIME_TO_OPEN_S = 1
_documents = count(1)


@pytest.fixture(scope="module")
def server(postgres_of_major: PostgresOfMajor, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    with running_server(
        postgres_of_major,
        tmp_path_factory,
        auth="dev",
        max_message_bytes=MOST_BYTES,
        max_reader_message_bytes=MOST_READER_BYTES,
        messages_burst=MOST_MESSAGES,
        messages_per_s=1,
        syncs_per_10_s=MOST_SYNCS,
        flood_cool_down_s=0,  # one mallory after the other
        max_handshake_bytes=MOST_HANDSHAKE_BYTES,
        handshake_timeout_s=TIME_TO_OPEN_S,
        open_timeout_s=TIME_TO_OPEN_S,
        allowed_origins="https://app.example.com",
    ) as server:
        yield server


def faults(server: ServerProcess) -> list[str]:
    """What the server has logged as faults of its own: its lines are JSON, those of libraries begin with a level."""
    return [line for line in server.output.splitlines() if '"level":"error"' in line or line.startswith("ERROR")]


@asynccontextmanager
async def undisturbed(server: ServerProcess) -> AsyncIterator[str]:
    """A document that two people edit before, during and after what the caller does to the server."""
    document = f"beside-{next(_documents)}"
    editors = token(server, "ada")
    async with (
        Client(server.websocket_url, document, token=editors) as ada,
        Client(server.websocket_url, document, token=editors) as bob,
    ):
        await ada.type("before")
        await bob.until_text("before")
        errors = faults(server)
        yield document
        await bob.type(", after", at=6)
        await ada.until_text("before, after")
        assert (ada.closed, bob.closed) == (None, None)
        async with Client(server.websocket_url, document, token=editors) as late:
            assert str(late.text) == "before, after"
        await until_journaled(server, document, 2)  # rows keep their order: one from elsewhere would be among them
        assert faults(server) == errors


def insertion(text: str = "x") -> bytes:
    doc: Doc[object] = Doc()
    doc.get("other", type=Text).insert(0, text)
    return doc.get_update()


def update_frame(text: str) -> bytes:
    return frame(yjs.encode(Update(insertion(text))))


def pieces(number: int, of_bytes: int) -> bytes:
    """One message in so many fragments, the last of them final."""
    piece = b"\x00" * of_bytes
    return (
        frame(piece, BINARY, fin=False)
        + frame(piece, CONTINUATION, fin=False) * (number - 2)
        + frame(piece, CONTINUATION)
    )


@dataclass(frozen=True)
class Offence:
    """What a seated member sends, and what it costs."""

    name: str
    sent: bytes
    close: Close
    role: str = "editor"


QUERY = frame(yjs.encode(QueryAwareness()))
OFFENCES = [
    Offence("unmasked", frame(b"\x03", masked=False), Close.PROTOCOL),
    *(Offence(f"reserved bit {bit}", frame(b"\x03", reserved=bit), Close.PROTOCOL) for bit in (1, 2, 4)),
    *(Offence(f"opcode {opcode}", frame(b"", opcode), Close.PROTOCOL) for opcode in (3, 7, 11, 15)),
    Offence("ping in fragments", frame(b"", PING, fin=False), Close.PROTOCOL),
    Offence("ping of 126 bytes", frame(b"p" * 126, PING), Close.PROTOCOL),
    Offence("continuation of nothing", frame(b"\x03", CONTINUATION), Close.PROTOCOL),
    Offence("message within a message", frame(b"\x03", BINARY, fin=False) + QUERY, Close.PROTOCOL),
    Offence("close frame of one byte", frame(b"\x03", 8), Close.PROTOCOL),
    Offence("close frame with a code nobody may send", frame(b"\x03\xed", 8), Close.PROTOCOL),
    Offence("close reason that is no text", frame(b"\x03\xe8\xff", 8), Close.BAD_TEXT),
    Offence("text", frame(b"hello", TEXT), Close.TEXT),
    Offence("text that is no text", frame(b"\xff\xfe", TEXT), Close.TEXT),
    Offence("text in fragments", frame(b"hello", TEXT, fin=False), Close.TEXT),
    Offence("one byte too many, announced", b"\x82" + length_of(MOST_BYTES + 1) + MASK, Close.TOO_BIG),
    Offence("a terabyte, announced", b"\x82" + length_of(2**40) + MASK, Close.TOO_BIG),
    Offence("more than 63 bits, announced", b"\x82" + length_of(2**64 - 1) + MASK, Close.TOO_BIG),
    Offence("too big in fragments", pieces(12, 10_000), Close.TOO_BIG),
    Offence("too big for a reader", frame(b"\x03" * (MOST_READER_BYTES + 1)), Close.TOO_BIG, "viewer"),
    Offence("too many fragments", pieces(MOST_FRAGMENTS + 1, 1), Close.TOO_MANY_FRAGMENTS),
    Offence("too many empty fragments", pieces(MOST_FRAGMENTS + 1, 0), Close.TOO_MANY_FRAGMENTS),
    Offence("nothing", frame(b""), Close.MALFORMED),
    Offence("half a message", frame(b"\x00"), Close.MALFORMED),
    Offence("a length and no body", frame(b"\x00\x02\x05"), Close.MALFORMED),
    Offence("a body longer than said", frame(b"\x00\x02\x00garbage"), Close.MALFORMED),
    Offence("a length of 128 KiB", frame(b"\x00\x02" + b"\xff" * 90_000 + b"\x01"), Close.MALFORMED),
    Offence("a type of 90 kB", frame(b"\xff" * 90_000 + b"\x01"), Close.MALFORMED),
    Offence("awareness of nobody, many times", frame(b"\x01" + prefixed(b"\x80\x80\x80\x80\x02")), Close.MALFORMED),
    Offence("awareness that is no text", frame(b"\x01" + prefixed(b"\x01\x07\x01\x02\xff\xfe")), Close.MALFORMED),
    Offence("awareness that is no object", frame(b"\x01" + prefixed(b"\x01\x07\x01\x031e9")), Close.MALFORMED),
    Offence("awareness that is no JSON", frame(b"\x01" + prefixed(b"\x01\x07\x01\x03NaN")), Close.MALFORMED),
    Offence(
        "awareness of 17 kB", frame(b"\x01" + prefixed(b"\x01\x07\x01" + prefixed(b"9" * 17_000))), Close.MALFORMED
    ),
    Offence("state vector that is none", frame(yjs.encode(SyncStep1(b"\x05"))), Close.MALFORMED),
    Offence("update that is none", frame(yjs.encode(Update(b"\x05"))), Close.UPDATE_REFUSED),
    Offence("answer that is none", frame(yjs.encode(SyncStep2(b"\x05"))), Close.UPDATE_REFUSED),
    Offence("too many messages", QUERY * (MOST_MESSAGES + 1), Close.TOO_FREQUENT),
    Offence("too many pings", frame(b"", PING) * (MOST_MESSAGES + 1), Close.TOO_FREQUENT),
    Offence("too many pongs", frame(b"", 10) * (MOST_MESSAGES + 1), Close.TOO_FREQUENT),
    Offence(
        "too many sync requests", frame(yjs.encode(SyncStep1(b"\x00"))) * (MOST_SYNCS + 1), Close.TOO_FREQUENT, "viewer"
    ),
]


@pytest.mark.parametrize("offence", OFFENCES, ids=lambda offence: offence.name)
async def test_an_offence_costs_its_sender_the_connection_and_nobody_else_anything(
    server: ServerProcess, offence: Offence
) -> None:
    before = metric(server, "collab_closes_total", reason=offence.close.slug)
    async with undisturbed(server) as document, RawSocket(server) as mallory:
        await mallory.upgraded(document, token=token(server, "mallory", role=offence.role))
        mallory.write(offence.sent)
        assert await mallory.close_code() == offence.close.code
        await until_metric(server, "collab_closes_total", before + 1, reason=offence.close.slug)


@pytest.mark.parametrize("size", [1, 2, 3, 7])
async def test_an_offence_in_small_segments_is_the_same_offence(server: ServerProcess, size: int) -> None:
    sent = frame(b"\x00\x02\x00garbage")
    async with undisturbed(server) as document, RawSocket(server) as mallory:
        await mallory.upgraded(document, token=token(server, "mallory"))
        for start in range(0, len(sent), size):
            mallory.write(sent[start : start + size])
            await asyncio.sleep(0)
        assert await mallory.close_code() == Close.MALFORMED.code


async def test_an_offence_right_before_its_senders_own_close_frame_is_counted_all_the_same(
    server: ServerProcess,
) -> None:
    before = metric(server, "collab_closes_total", reason="malformed")
    async with undisturbed(server) as document, RawSocket(server) as mallory:
        await mallory.upgraded(document, token=token(server, "mallory"))
        mallory.write(frame(b"") + frame(b"\x03\xe8", 8))
        await mallory.until_end()
        await until_metric(server, "collab_closes_total", before + 1, reason="malformed")


async def test_what_comes_after_an_offence_is_not_acted_on(server: ServerProcess) -> None:
    async with undisturbed(server) as document, RawSocket(server) as mallory:
        await mallory.upgraded(document, token=token(server, "mallory"))
        mallory.write(frame(b"") + update_frame("too late"))  # `undisturbed` counts the journal's rows
        assert await mallory.close_code() == Close.MALFORMED.code


async def test_a_flood_that_goes_on_after_the_close_frame_is_cut_off(server: ServerProcess) -> None:
    async with undisturbed(server) as document, RawSocket(server) as mallory:
        await mallory.upgraded(document, token=token(server, "mallory"))
        async with asyncio.timeout(3):  # well before the linger time of a polite peer is over
            mallory.write(frame(b""))
            await mallory.close_code()
            mallory.write(QUERY * (MOST_MESSAGES + 10))
            await mallory.until_end()


# Messages in pieces are valid


@pytest.mark.parametrize("number", [2, 3, MOST_FRAGMENTS])
async def test_a_message_in_fragments_is_one_message(server: ServerProcess, number: int) -> None:
    document = f"fragments-{next(_documents)}"
    doc: Doc[object] = Doc()
    doc.get("content", type=Text).insert(0, "in pieces" * 400)
    whole = yjs.encode(Update(doc.get_update()))
    cuts = [len(whole) * piece // number for piece in range(number + 1)]
    async with Client(server.websocket_url, document, token=token(server)) as ada, RawSocket(server) as bob:
        await bob.upgraded(document, token=token(server, "bob"))
        for piece in range(number):
            opcode = BINARY if piece == 0 else CONTINUATION
            bob.write(frame(whole[cuts[piece] : cuts[piece + 1]], opcode, fin=piece == number - 1))
            if piece == number // 2:
                bob.write(frame(b"between", PING))  # RFC 6455 §5.4: control frames may come in between
        await ada.until_text("in pieces" * 400)


async def test_a_message_of_exactly_the_largest_size_is_taken(server: ServerProcess) -> None:
    document = f"largest-{next(_documents)}"
    text = "x" * (MOST_BYTES - 60)
    doc: Doc[object] = Doc(client_id=1)
    doc.get("content", type=Text).insert(0, text)
    payload = yjs.encode(Update(doc.get_update()))
    text += "x" * (MOST_BYTES - len(payload))
    doc = Doc(client_id=1)
    doc.get("content", type=Text).insert(0, text)
    payload = yjs.encode(Update(doc.get_update()))
    assert len(payload) == MOST_BYTES
    async with (
        Client(server.websocket_url, document, token=token(server)) as ada,
        Client(server.websocket_url, document, token=token(server)) as bob,
    ):
        await bob.send_bytes(payload)
        await ada.until_text(text)


# Before the connection is open


EARLY = {
    "a message": frame(b"\x03"),
    "a ping": frame(b"", PING),
    "one byte": b"\x82",
    "no frame": b"\xff\xff\xff\xff",
    "unmasked": frame(b"\x03", masked=False),
    "a second request": opening("second"),
    "too much to parse": QUERY * 50_000,
}


@pytest.mark.parametrize("early", EARLY.values(), ids=EARLY)
async def test_bytes_sent_with_the_opening_request_are_too_early(server: ServerProcess, early: bytes) -> None:
    before = metric(server, "collab_refusals_total", reason="too_early")
    async with undisturbed(server) as document, RawSocket(server) as mallory:
        mallory.write(opening(document, token=token(server, "mallory")) + early)
        assert await mallory.status() == 400
        await until_metric(server, "collab_refusals_total", before + 1, reason="too_early")


@asynccontextmanager
async def slow_storage(server: ServerProcess) -> AsyncIterator[None]:
    """While this lasts no document can be looked up."""
    connection = await asyncpg.connect(server.environment()["COLLAB_DATABASE_URL"])
    try:
        async with connection.transaction():
            await connection.execute("lock table documents in access exclusive mode")
            yield
    finally:
        await connection.close()


@pytest.mark.parametrize("early", EARLY.values(), ids=EARLY)
async def test_bytes_sent_before_the_answer_are_too_early(server: ServerProcess, early: bytes) -> None:
    before = metric(server, "collab_refusals_total", reason="too_early")
    async with undisturbed(server) as document, RawSocket(server) as mallory:
        async with slow_storage(server):
            mallory.write(opening(document, token=token(server, "mallory")))
            await until_metric(server, "collab_connections", 3)
            mallory.write(early)
            assert await mallory.status() == 400
        await until_metric(server, "collab_refusals_total", before + 1, reason="too_early")


async def test_storage_that_does_not_answer_in_time_is_not_the_clients_fault(server: ServerProcess) -> None:
    before = metric(server, "collab_refusals_total", reason="room_unavailable")
    async with undisturbed(server) as document, RawSocket(server) as patient:
        async with slow_storage(server):
            patient.write(opening(document, token=token(server, "patient")))
            assert await patient.status() == 503
        await until_metric(server, "collab_refusals_total", before + 1, reason="room_unavailable")


STARTS = {
    "nothing at all": b"",
    "half a line": b"GET /ws/demo HT",
    "half a request": opening("demo")[:-2],
    "bytes of another protocol": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc",
}


@pytest.mark.parametrize("start", STARTS.values(), ids=STARTS)
async def test_a_request_that_is_not_finished_in_time_is_answered_408(server: ServerProcess, start: bytes) -> None:
    before = metric(server, "collab_refusals_total", reason="handshake_timeout")
    async with undisturbed(server), RawSocket(server) as mallory:
        mallory.write(start)
        assert await mallory.status() == 408
        await until_metric(server, "collab_refusals_total", before + 1, reason="handshake_timeout")


async def test_a_byte_now_and_then_does_not_keep_a_request_alive(server: ServerProcess) -> None:
    async with undisturbed(server) as document, RawSocket(server) as mallory:
        ending = asyncio.create_task(mallory.until_end())
        for byte in opening(document):
            mallory.write(bytes((byte,)))
            if (await asyncio.wait([ending], timeout=0.1))[0]:
                break
        assert (await ending).startswith(b"HTTP/1.1 408 ")


WRONG_OPENINGS = {
    "too many bytes": (opening("demo", "X-Filler: " + "x" * MOST_HANDSHAKE_BYTES), 431, "message_too_big"),
    "too many bytes without an end": (b"GET /" + b"x" * (2 * MOST_HANDSHAKE_BYTES), 431, "message_too_big"),
    "too many headers": (opening("demo", *(f"X-{n}: y" for n in range(130))), 400, "websocket_protocol"),
    "no request": (b"HELLO\r\n\r\n", 400, "websocket_protocol"),
    "no bytes of text": (b"\x16\x03\x01\xfc\r\n\r\n", 400, "websocket_protocol"),
    "a POST": (opening("demo").replace(b"GET", b"POST"), 405, "websocket_protocol"),
    "a body": (opening("demo", "Content-Length: 5"), 400, "websocket_protocol"),
    "another HTTP": (opening("demo").replace(b"HTTP/1.1", b"HTTP/1.0"), 505, "websocket_protocol"),
    "a folded header": (opening("demo", " folded: x"), 400, "websocket_protocol"),
    "no upgrade": (b"GET /ws/demo HTTP/1.1\r\nHost: localhost\r\n\r\n", 426, "websocket_protocol"),
    "no key": (opening("demo").replace(b"Sec-WebSocket-Key", b"X-Key"), 400, "websocket_protocol"),
    "another version": (opening("demo").replace(b"Version: 13", b"Version: 8"), 400, "websocket_protocol"),
    "two tokens": (opening("demo", "Authorization: Bearer a", "Authorization: Bearer b"), 400, "malformed"),
}


@pytest.mark.parametrize(("sent", "status", "slug"), WRONG_OPENINGS.values(), ids=WRONG_OPENINGS)
async def test_a_wrong_opening_request_is_answered_and_counted(
    server: ServerProcess, sent: bytes, status: int, slug: str
) -> None:
    before = metric(server, "collab_refusals_total", reason=slug)
    async with undisturbed(server), RawSocket(server) as mallory:
        mallory.write(sent)
        assert await mallory.status() == status
        await until_metric(server, "collab_refusals_total", before + 1, reason=slug)


async def test_a_hundred_half_open_connections_keep_nobody_out(server: ServerProcess) -> None:
    async with undisturbed(server):
        idle = [RawSocket(server) for _ in range(100)]
        try:
            for number, raw in enumerate(idle):
                await raw.__aenter__()
                raw.write(opening("demo")[: number % 40])
            async with Client(server.websocket_url, "meanwhile", token=token(server)) as ada:
                assert ada.synced
        finally:
            for raw in idle:
                await raw.__aexit__(None, None, None)
    await until_metric(server, "collab_connections", 0)
