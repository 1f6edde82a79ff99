"""What one connection sends in a rush is acted on in order, whole, and with turns of the loop for everybody else."""

from __future__ import annotations

import asyncio
import time

from collab_server.turns import SLICE_BYTES, TURN_S, Turns

RUSH = bytes(range(256)) * (SLICE_BYTES // 256) * 8


class Socket(asyncio.Transport):
    """Whether it is read from at the moment, and whether it is closing."""

    def __init__(self) -> None:
        super().__init__()
        self.reads = True
        self.closing = False

    def pause_reading(self) -> None:
        self.reads = False

    def resume_reading(self) -> None:
        self.reads = True

    def is_closing(self) -> bool:
        return self.closing


class Peer:
    """A connection for whose slices the loop works longer than a turn."""

    def __init__(self) -> None:
        self.seen = bytearray()
        self.socket = Socket()
        self.turns = Turns(self.feed, self.socket, asyncio.get_running_loop())

    def feed(self, data: bytes) -> None:
        self.seen += data
        busy_until = time.monotonic() + TURN_S * 1.1
        while time.monotonic() < busy_until:
            pass

    async def done(self) -> None:
        """One turn of the loop after the other until nothing waits."""
        while len(self.turns):  # noqa: ASYNC110 - turns of the loop are what is looked at
            await asyncio.sleep(0)


async def test_others_have_their_turns_between_and_nothing_is_read_meanwhile() -> None:
    peer = Peer()
    peer.turns.take(RUSH)
    seen_at_turns = []
    while len(peer.turns):
        assert not peer.socket.reads
        seen_at_turns.append(len(peer.seen))
        await asyncio.sleep(0)
    assert seen_at_turns == [SLICE_BYTES * turn for turn in range(1, 8)]
    assert (bytes(peer.seen), peer.socket.reads) == (RUSH, True)


async def test_what_comes_while_something_waits_comes_after_it() -> None:
    peer = Peer()
    peer.turns.take(RUSH)
    peer.turns.take(b"after")
    await peer.done()
    assert bytes(peer.seen) == RUSH + b"after"


async def test_reading_goes_on_only_when_nothing_waits_and_nobody_holds_it() -> None:
    peer = Peer()
    peer.turns.hold(True)
    peer.turns.take(RUSH)
    await peer.done()
    assert not peer.socket.reads
    peer.turns.take(RUSH)
    peer.turns.hold(False)
    assert not peer.socket.reads
    await peer.done()
    assert peer.socket.reads


async def test_of_a_socket_that_is_closing_nothing_waits() -> None:
    peer = Peer()
    peer.socket.closing = True
    peer.turns.take(RUSH)
    assert not len(peer.turns)
