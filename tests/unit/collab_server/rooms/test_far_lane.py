"""Cursors on their way to other tasks: few messages, the newest state of each client, and never in an update's way."""

from __future__ import annotations

import asyncio
from uuid import uuid4

from collab_server.bus import Envelope, EnvelopeKind, Heading
from collab_server.bus_memory import MemoryBus, MemoryNetwork
from collab_server.bus_parts import AWARENESS_BYTES, OutgoingQueue
from collab_server.rooms.far_lane import FarLane
from collab_server.wire.awareness import AwarenessEntry, AwarenessLimits, decode_entries
from collab_server.wire.messages import REMOVED
from tests.unit.collab_server.rooms.parts import until

ROOM = uuid4()
ELSEWHERE = 9
"""A client whose member sits at another task by now."""


def cursor(client: int, clock: int) -> AwarenessEntry:
    return AwarenessEntry(client, clock, b'{"at": %d}' % clock)


async def lane() -> tuple[FarLane, MemoryBus, list[list[AwarenessEntry]]]:
    network, heard = MemoryNetwork(), list[list[AwarenessEntry]]()
    here, there = MemoryBus("here", network), MemoryBus("there", network)
    await here.start()
    await there.start()
    await there.subscribe(ROOM, lambda envelope: heard.append(list(decode_entries(envelope.body, AwarenessLimits()))))
    return FarLane(Heading(ROOM, "here", 0), here, lambda client_id: client_id != ELSEWHERE), here, heard


async def test_a_cursor_after_a_quiet_moment_goes_at_once() -> None:
    far, _bus, heard = await lane()
    far.send([cursor(1, 1)])
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert heard == [[cursor(1, 1)]]


async def test_of_many_within_a_tick_the_last_of_each_client_goes_in_one_message() -> None:
    far, _bus, heard = await lane()
    for clock in range(1, 50):
        for client in (1, 2, 3):
            far.send([cursor(client, clock)])
    await until(lambda: len(heard) == 2)
    assert [sorted(entries, key=lambda entry: entry.client_id) for entries in heard] == [
        [cursor(1, 1)],
        [cursor(client, 49) for client in (1, 2, 3)],
    ]


async def test_what_waits_goes_when_the_room_does() -> None:
    far, _bus, heard = await lane()
    far.send([cursor(1, 1)])
    far.send([cursor(1, 2)])
    far.flush()
    await until(lambda: heard == [[cursor(1, 1)], [cursor(1, 2)]])


async def test_of_one_who_has_turned_up_elsewhere_only_the_leaving_is_told() -> None:
    """What waited is older than what the other task says, and nobody would take it back: a ghost."""
    far, _bus, heard = await lane()
    far.send([cursor(1, 1)])
    far.send([cursor(1, 2), cursor(ELSEWHERE, 1)])
    await until(lambda: heard == [[cursor(1, 1)], [cursor(1, 2)]])
    gone = AwarenessEntry(ELSEWHERE, 2, REMOVED)
    far.send([gone])
    far.flush()
    await until(lambda: heard[2:] == [[gone]])


async def test_alone_nothing_is_gathered() -> None:
    bus = MemoryBus("alone")
    await bus.start()
    far = FarLane(Heading(ROOM, "alone", 0), bus, lambda _client_id: True)
    far.send([cursor(1, 1)])
    assert not far._waiting


def test_cursors_never_push_an_update_out_of_a_full_queue() -> None:
    queue, heading = OutgoingQueue(2 * AWARENESS_BYTES), Heading(ROOM, "here", 0)
    updates = [heading.over(EnvelopeKind.UPDATE, bytes(AWARENESS_BYTES // 2)) for _ in range(3)]
    for update in updates:
        queue.put(update)
    for _ in range(10_000):
        queue.put(heading.over(EnvelopeKind.AWARENESS, bytes(200)))
    assert queue.take(10 * AWARENESS_BYTES) == updates
    queue.put(heading.over(EnvelopeKind.AWARENESS, b"now"))
    assert [envelope.body for envelope in queue.take(AWARENESS_BYTES)] == [b"now"]
    assert queue.dropped == 0
    assert isinstance(updates[0], Envelope)
