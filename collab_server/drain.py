"""Stopping well, in this order: rooms handed over, members moved off, journal flushed, rooms checkpointed. Each takes
bounded time.

**Pace.** Stock clients come back 100 ms after a close, all alike, so whoever takes them over is spared by us: a few are
moved every 50 ms, with jitter, `MOVES_PER_S` in all or as many as the longest time for it asks for.

**Order.** Rooms in random order, but the members of one room right behind each other: while a room is on two tasks
its people see each other's edits only after a commit and a hop over the bus, and without a bus not at all. The next
task then loads each document once, for all. The pace is the same for one large room as for many small ones.

Must never call an edit stored that is not. Checkpoints only spare the next start some work, so they are left out when
time is short or somebody is in a hurry; the journal never is. Called by `server`, which has stopped listening.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
import random
import time
from collections.abc import Callable, Hashable, Iterable, Sequence, Set
from dataclasses import dataclass
from typing import TypeVar

import structlog

from collab_server.connection import Connection
from collab_server.rooms.registry import Registry
from persistence.recorder import Recorder, RecorderStopped

log = structlog.get_logger(__name__)

MOVES_PER_S = 100.0  # a join takes some 3 ms of the loop that takes it over: a third of one task
PAUSE_S = 0.05
GOODBYE_S = 2.0  # for those who were told to answer: what they had sent before comes first
LOOK_EVERY_S = 0.01
# Of the whole time, for closing what is left when the drain is over: pools, processes, ports.
CLOSING_SHARE, CLOSING_MOST_S = 0.1, 5.0

LEAD_S = 1.0  # by which a room is named to the other tasks before its members are moved: time to open it

HandOver = Callable[[Sequence[str]], bool]

T = TypeVar("T", bound=Hashable)


@dataclass(frozen=True, slots=True)
class Drained:
    """How it went: edits that never reached the journal, and rooms whose newest state is in the journal only."""

    unstored_edits: int
    unfolded_rooms: int


def moving_order(seats: Iterable[tuple[T, Hashable]], chance: random.Random) -> list[T]:
    """Those of one room next to each other, the rooms in random order. `seats` are pairs of one and its room."""
    rooms: dict[Hashable, list[T]] = {}
    for one, room in seats:
        rooms.setdefault(room, []).append(one)
    mixed = list(rooms.values())
    chance.shuffle(mixed)
    return [one for room in mixed for one in room]


def batch_size(members: int, spread_s: float) -> int:
    """How many to move every `PAUSE_S`, so that all are moved within `spread_s`."""
    per_s = max(MOVES_PER_S, members / spread_s) if spread_s > 0 else math.inf
    return members if math.isinf(per_s) else math.ceil(per_s * PAUSE_S)


async def drain(
    connections: Set[Connection],
    registry: Registry,
    recorder: Recorder,
    *,
    timeout_s: float,
    spread_s: float,
    hurry: asyncio.Event,
    hand_over: HandOver,
) -> Drained:
    """Stop well within `timeout_s`; `hurry` leaves out pauses and checkpoints. `connections` is their live set.

    `hand_over` is given the documents with members, each a little before its members are moved; it says whether there
    is anybody to hear it.
    """
    deadline = time.monotonic() + timeout_s - min(CLOSING_MOST_S, timeout_s * CLOSING_SHARE)
    moved = await _move_off(connections, min(spread_s, timeout_s / 2), hurry, hand_over)
    goodbye = min(time.monotonic() + GOODBYE_S, deadline)
    await _until(lambda: moved.isdisjoint(connections), goodbye, hurry)
    # A large edit that has come is taken in to its end, in pieces: it has until half of what is left.
    half = (time.monotonic() + deadline) / 2
    await _until(lambda: not any(room.taking_in for room in registry.rooms.values()), half, hurry)
    for connection in list(connections):
        connection.transport.abort()
    unstored = await _flush(recorder, deadline)
    if unstored:  # nothing is left to wait for, and a database that hangs may hold what is cancelled too
        return Drained(unstored, len(registry.rooms))
    return Drained(unstored, await _checkpoint(registry, deadline, hurry))


async def _move_off(
    connections: Set[Connection], spread_s: float, hurry: asyncio.Event, hand_over: HandOver
) -> set[Connection]:
    """Close every member's connection, a batch at a time; returns them."""
    chance = random.Random()  # noqa: S311 - order and jitter, no secret
    seats = [(each, each.member.room) for each in connections if each.member is not None]
    order = moving_order(seats, chance)
    rooms = [each.member.room.document.name for each in order if each.member is not None]
    size = max(1, batch_size(len(order), spread_s))
    ahead = size * math.ceil(LEAD_S / PAUSE_S)
    given = dict.fromkeys(rooms[:ahead])
    if hand_over(list(given)):
        await _until(lambda: False, time.monotonic() + min(LEAD_S, spread_s), hurry)
    for start in range(0, len(order), size):
        if start:
            await _until(lambda: False, time.monotonic() + PAUSE_S * chance.uniform(0.5, 1.5), hurry)
            # Not all at once: a room that is opened long before its people come would be dropped again.
            if coming := [name for name in dict.fromkeys(rooms[start : start + size + ahead]) if name not in given]:
                given.update(dict.fromkeys(coming))
                hand_over(coming)
        for connection in order[start : start + size]:
            connection.move_off()
    return set(order)


async def _until(fact: Callable[[], bool], limit: float, hurry: asyncio.Event) -> None:
    """Wait until `fact` holds, but not beyond `limit` (monotonic seconds) nor when in a hurry; gives others a turn."""
    await asyncio.sleep(0)
    while not fact() and not hurry.is_set() and (left_s := limit - time.monotonic()) > 0:
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(hurry.wait(), min(left_s, LOOK_EVERY_S))


async def _flush(recorder: Recorder, deadline: float) -> int:
    """Wait for the journal until `deadline`; returns how many edits it has not taken. Nothing is recorded after it."""
    with contextlib.suppress(TimeoutError, RecorderStopped):
        async with asyncio.timeout(max(0.0, deadline - time.monotonic())):
            await recorder.flush()
    try:
        return await recorder.stop(0.0)
    except Exception:  # its own failure, which ends the command
        return recorder.backlog_rows


async def _checkpoint(registry: Registry, deadline: float, hurry: asyncio.Event) -> int:
    """Bring rooms up to date in object storage; returns how many are not. Somebody in a hurry ends it."""
    closing = asyncio.create_task(registry.close(deadline), name="final-checkpoints")
    hurried = asyncio.create_task(hurry.wait(), name="hurry")
    try:
        await asyncio.wait((closing, hurried), return_when=asyncio.FIRST_COMPLETED)
        if closing.done():
            return closing.result()
    finally:
        for task in (closing, hurried):
            task.cancel()
        await asyncio.wait((closing, hurried))
    return await registry.close(0.0)
