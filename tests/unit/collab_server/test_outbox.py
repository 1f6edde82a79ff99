"""The outbox over a real transport whose peer reads when it likes: what is sent, and when it ends."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator

import pytest

from collab_server.rooms.outbox import Outbox

HIGH_WATER = 64 * 1024
MOST = 512 * 1024
EDIT = b"e" * 16 * 1024


class Wire(asyncio.Protocol):
    """Keeps `outbox.congested` true to what the transport says, as a connection does."""

    outbox: Outbox

    def pause_writing(self) -> None:
        self.outbox.congested = True

    def resume_writing(self) -> None:
        self.outbox.congested = False


class Line:
    """An outbox on one end of a socket pair; `peer` is the other end, and reads nothing by itself."""

    def __init__(self, transport: asyncio.Transport, wire: Wire, peer: socket.socket) -> None:
        self.peer = peer
        self.overflows = 0
        self.outbox = wire.outbox = Outbox(transport, MOST, self._overflow)

    def _overflow(self) -> None:
        self.overflows += 1

    def fill(self) -> None:
        """Send edits until the outbox is congested."""
        while not self.outbox.congested:
            self.outbox.send(EDIT)

    async def read(self, size: int) -> bytes:
        """So many bytes, read by the peer."""
        loop, received = asyncio.get_running_loop(), bytearray()
        async with asyncio.timeout(20):
            while len(received) < size:
                received += await loop.sock_recv(self.peer, min(65536, size - len(received)))
        return bytes(received)


@pytest.fixture
async def line() -> AsyncIterator[Line]:
    ours, peer = socket.socketpair()
    peer.setblocking(False)
    transport, wire = await asyncio.get_running_loop().create_connection(Wire, sock=ours)
    transport.set_write_buffer_limits(high=HIGH_WATER)
    yield Line(transport, wire, peer)
    transport.abort()
    peer.close()
    await asyncio.sleep(0)


async def test_frames_arrive_whole_and_in_order_and_are_counted(line: Line) -> None:
    frames = [b"one", b"two", b"", b"three" * 1000]
    for frame in frames:
        line.outbox.send(frame)
    whole = b"".join(frames)
    assert await line.read(len(whole)) == whole
    assert (line.outbox.sent_bytes, line.outbox.frames) == (len(whole), len(frames))
    assert line.outbox.queued_bytes == 0


async def test_what_a_reader_that_is_behind_asks_for_is_still_sent(line: Line) -> None:
    line.fill()
    sent = line.outbox.sent_bytes
    line.outbox.send(b"an answer")
    assert (await line.read(sent + 9)).endswith(b"ean answer")
    assert line.overflows == 0


async def test_past_the_hard_bound_nothing_is_queued_and_the_owner_is_told(line: Line) -> None:
    while not line.overflows:
        line.outbox.send(EDIT)
        assert line.outbox.queued_bytes <= MOST
    assert line.outbox.queued_bytes > MOST - len(EDIT)
    sent, queued = line.outbox.sent_bytes, line.outbox.queued_bytes
    line.outbox.send(EDIT)
    assert line.overflows == 2  # whoever goes on is told again
    assert (line.outbox.sent_bytes, line.outbox.queued_bytes) == (sent, queued)


async def test_one_frame_larger_than_the_bound_is_sent_to_a_reader_that_keeps_up(line: Line) -> None:
    document = b"d" * (2 * MOST)
    line.outbox.send(document)
    assert line.overflows == 0
    assert await line.read(len(document)) == document
