"""The steps of an update that need a room: its fan-out to a hundred members, and the recorder that takes it.

Everything is real but the sockets, which swallow what is written, and the journal, which is the memory adapter.
Called by `__main__`.
"""

from __future__ import annotations

import asyncio
import time
from uuid import uuid4

from auth.identity import Identity
from auth.permissions import Role
from bench.micro import typing
from collab_server.limits import TokenBucket
from collab_server.rooms.member import Member
from collab_server.rooms.outbox import Outbox
from collab_server.rooms.room import Room
from collab_server.wire import yjs
from collab_server.wire.messages import Update
from persistence.journal import JournalEntry
from persistence.journal_memory import MemoryJournal
from persistence.recorder import Recorder
from tests.unit.collab_server.rooms.parts import House, RecordingTransport, house

ROUNDS = 5
CALLS = 500
OTHERS = 100
TURNS = 3
"""Turns of the event loop that belong to the cost: what a room puts off to the end of a turn is part of it."""


class Swallowing(RecordingTransport):
    """A socket that takes everything at once, and keeps nothing."""

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """Gone."""


async def measure() -> dict[str, float]:
    """µs of each step for a one-character update."""
    alone = await _message_us(0)
    among_others = await _message_us(OTHERS)
    return {
        "a member's message, nobody else there": alone,
        f"fan-out to {OTHERS} members": among_others - alone,
        "recorder": await _recorder_us(),
    }


async def _message_us(others: int) -> float:
    """The least µs of a member's message, from its bytes to the sockets of `others`."""
    async with house() as everything:
        best = float("inf")
        for number in range(ROUNDS):
            best = min(best, await _round_us(everything, f"room-{number}", others))
    return best


async def _round_us(everything: House, name: str, others: int) -> float:
    room = await everything.room(name)
    writer = _seated(room)
    for _ in range(others):
        _seated(room)
    frames = [yjs.encode(Update(update)) for update in typing(CALLS)]
    started = time.perf_counter()
    for frame in frames:
        writer.receive(frame, 0.0)
    for _ in range(TURNS):
        await asyncio.sleep(0)
    took = time.perf_counter() - started
    async with asyncio.timeout(10):
        await everything.recorder.flush()
    return took / CALLS * 1e6


def _seated(room: Room) -> Member:
    member = Member(
        room,
        Identity("ada", "Ada"),
        Role.EDITOR,
        dialect=yjs,
        outbox=Outbox(Swallowing(), 1_000_000, lambda: None),
        close=_must_not_close,
        pause_reading=lambda _pause: None,
        address="127.0.0.1",
        syncs=TokenBucket(1, 10),
        now=0.0,
    )
    room.join(member)
    return member


def _must_not_close(refusal: Exception) -> None:
    raise refusal


async def _recorder_us() -> float:
    """The least µs of handing one entry to the recorder, which is what its caller pays."""
    journal = MemoryJournal()
    recorder = Recorder(journal, 100_000_000)
    recorder.start()
    document = uuid4()
    entries = [JournalEntry(document, update, "subject", (7,), b"\x01\x07\x01") for update in typing(CALLS)]
    best = float("inf")
    async with asyncio.timeout(60):
        for _ in range(ROUNDS):
            started = time.perf_counter()
            for entry in entries:
                recorder.record(entry)
            best = min(best, time.perf_counter() - started)
            await recorder.flush()
    await recorder.stop()
    return best / CALLS * 1e6
