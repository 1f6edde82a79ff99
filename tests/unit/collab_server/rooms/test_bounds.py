"""How large a room may become, and what its bounds cost whom."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from pycrdt import Doc, Text

from collab_server.bus_memory import MemoryNetwork
from collab_server.errors import Close, Refused
from collab_server.rooms.bounds import RoomBounds
from collab_server.rooms.room import Room
from collab_server.rooms.triggers import RoomRules
from collab_server.wire.awareness import AwarenessEntry
from collab_server.wire.messages import REMOVED, Awareness, SyncStep2, Update
from tests.unit.collab_server.rooms.parts import house, until
from tests.unit.collab_server.rooms.test_replica import typed

SMALL = RoomBounds(warn_document_bytes=500, max_document_bytes=2_000)
FEW = RoomRules(500, 1_000_000, 60, 30, max_rooms=2)


def insertion(length: int) -> tuple[Doc[Any], bytes]:
    """A document of so many characters and its encoding."""
    doc: Doc[Any] = Doc()
    doc.get("content", type=Text).insert(0, "x" * length)
    return doc, doc.get_update()


def metric(room: Room, name: str) -> float:
    return room.metrics.registry.get_sample_value(name) or 0.0


# Documents


async def test_an_edit_that_would_pass_the_hard_bound_is_refused_for_good_and_changes_nothing() -> None:
    async with house(bounds=SMALL) as at:
        room = await at.room()
        ada, bob = at.join(room), at.join(room)
        ada.send(Update(insertion(1_900)[1]))
        clocks = room.clocks
        with pytest.raises(Refused) as refused:
            bob.send(Update(insertion(200)[1]))
        assert refused.value.reason is Close.DOCUMENT_FULL
        assert not refused.value.reason.retry
        assert room.clocks == clocks
        assert room.updates == 1
        ada.send(Update(insertion(20)[1]))  # what fits still fits


async def test_a_full_document_can_be_deleted_from_and_synchronised_with() -> None:
    async with house(bounds=SMALL) as at:
        room = await at.room()
        ada, bob = at.join(room), at.join(room)
        doc, whole = insertion(1_950)
        ada.send(Update(whole))
        with pytest.raises(Refused):
            bob.send(Update(insertion(200)[1]))
        ada.send(SyncStep2(whole))  # what is known is no growth
        before = doc.get_state()
        del doc.get("content", type=Text)[10:1_900]
        bob.send(Update(doc.get_update(before)))
        assert len(room.diff(b"\x00")) < 200  # what somebody who joins is sent, and so its size is known at once
        bob.send(Update(insertion(200)[1]))


async def test_many_small_updates_count_as_what_they_encode_to() -> None:
    async with house(bounds=RoomBounds(warn_document_bytes=500, max_document_bytes=3_000)) as at:
        room = await at.room()
        ada = at.join(room)
        updates = typed(*["x"] * 1_000)
        assert sum(map(len, updates)) > 10_000
        for update in updates:
            ada.send(Update(update))
        assert len(room.diff(b"\x00")) < 1_100


async def test_a_document_that_becomes_large_is_counted_once() -> None:
    async with house(bounds=SMALL) as at:
        room = await at.room()
        ada = at.join(room)
        ada.send(Update(insertion(300)[1]))
        assert metric(room, "collab_documents_large_total") == 0
        for _ in range(3):
            ada.send(Update(insertion(200)[1]))
        assert metric(room, "collab_documents_large_total") == 1


async def test_what_was_loaded_counts() -> None:
    async with house(bounds=SMALL) as first:
        room = await first.room()
        first.join(room).send(Update(insertion(1_900)[1]))
        await first.recorder.flush()
        async with house(bounds=SMALL, storage=first) as second:
            again = await second.room()
            with pytest.raises(Refused) as refused:
                second.join(again).send(Update(insertion(200)[1]))
            assert refused.value.reason is Close.DOCUMENT_FULL


async def test_what_another_task_has_accepted_is_merged_into_a_full_document() -> None:
    network = MemoryNetwork()
    async with house(network=network) as roomy, house(network=network, storage=roomy, bounds=SMALL) as tight:
        here, there = await roomy.room(), await tight.room()
        roomy.join(here).send(Update(insertion(5_000)[1]))
        await until(lambda: there.clocks == here.clocks)
        with pytest.raises(Refused):
            tight.join(there).send(Update(insertion(10)[1]))


# Cursors


def cursor(clock: int, state: bytes = b"{}") -> Awareness:
    return Awareness((AwarenessEntry(7, clock, state),))


async def test_more_cursors_than_the_rate_are_dropped_and_their_sender_stays() -> None:
    async with house(bounds=RoomBounds(awareness_per_s=5)) as at:
        room = await at.room()
        ada, bob = at.join(room), at.join(room)
        bob.transport.frames.clear()
        for clock in range(1, 51):
            ada.send(cursor(clock), now=100.0)
        assert len(bob.messages) == 20  # four seconds of them at once
        assert metric(room, "collab_awareness_limited_total") == 30
        assert ada.refusals == []
        ada.send(cursor(51), now=101.0)
        assert len(bob.messages) == 21


async def test_a_cursor_that_goes_is_never_dropped() -> None:
    async with house(bounds=RoomBounds(awareness_per_s=5)) as at:
        room = await at.room()
        ada = at.join(room)
        for clock in range(1, 51):
            ada.send(cursor(clock), now=100.0)
        ada.send(cursor(51, REMOVED), now=100.0)
        assert len(room.cursors) == 1
        bob = at.join(room)
        assert [message for message in bob.messages if isinstance(message, Awareness)] == []


async def test_repeating_what_others_show_uses_none_of_the_own_rate() -> None:
    async with house(bounds=RoomBounds(awareness_per_s=5)) as at:
        room = await at.room()
        ada, bob = at.join(room), at.join(room)
        ada.send(cursor(1), now=100.0)
        for _ in range(500):
            bob.send(cursor(1), now=100.0)
        bob.send(Awareness((AwarenessEntry(8, 1, b"{}"),)), now=100.0)
        assert len(room.cursors) == 2
        assert metric(room, "collab_awareness_limited_total") == 0


# Members and rooms


async def test_a_full_room_has_no_seat_until_somebody_leaves() -> None:
    async with house(bounds=RoomBounds(max_members=2)) as at:
        room = await at.room()
        ada, _bob = at.join(room), at.join(room)
        with pytest.raises(Refused) as refused:
            room.bounds.check_seat(len(room.members))
        assert refused.value.reason is Close.ROOM_FULL
        assert refused.value.reason.retry
        room.leave(ada.member)
        room.bounds.check_seat(len(room.members))


async def test_a_task_with_too_many_rooms_opens_no_other_but_lets_people_into_those_it_has() -> None:
    async with house(FEW) as at:
        at.join(await at.room("one"))
        at.join(await at.room("two"))
        with pytest.raises(Refused) as refused:
            await at.room("three")
        assert refused.value.reason is Close.TOO_MANY_ROOMS
        assert (await at.room("two")) is at.registry.rooms["two"]


async def test_the_room_that_has_been_empty_for_longest_makes_place_for_the_next_attempt() -> None:
    async with house(FEW) as at:
        for name in ("one", "two"):
            room = await at.room(name)
            person = at.join(room)
            room.leave(person.member)
            at.registry.release(room)
        with pytest.raises(Refused):
            await at.room("three")
        await until(lambda: list(at.registry.rooms) == ["two"])
        assert await at.room("three")


async def test_rooms_that_are_being_opened_count() -> None:
    async with house(FEW) as at:
        opened = await asyncio.gather(*(at.room(f"room-{number}") for number in range(6)), return_exceptions=True)
        assert sum(isinstance(room, Room) for room in opened) == 2
