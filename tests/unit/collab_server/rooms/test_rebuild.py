"""A room whose copy broke goes on with one from storage, and nobody but the one who broke it notices."""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from collab_server.bus import Envelope, EnvelopeKind
from collab_server.bus_memory import MemoryNetwork
from collab_server.errors import Close, Refused
from collab_server.rooms.rebuild import MOST_IN_A_ROW
from collab_server.rooms.room import Room
from collab_server.wire.awareness import AwarenessEntry, encode_entries
from collab_server.wire.messages import Awareness, SyncStep1, SyncStep2, Update
from persistence.journal import JournalEntry
from tests.corpus.document import corpus_document
from tests.corpus.encode import item, structs, text, update
from tests.unit.collab_server.rooms.big_parts import BIG, clocks_of, document, updates_in
from tests.unit.collab_server.rooms.parts import RULES, House, Person, house, until
from tests.unit.collab_server.rooms.test_replica import typed


def poison(client: int = 5) -> bytes:
    """Sound in itself, but its parent is a word in an array, which can hold nothing: the CRDT fails half-way."""
    return update(structs(client, 0, [item(4, text("a"), parent=(1, 0))]))


@asynccontextmanager
async def opened(network: MemoryNetwork | None = None) -> AsyncIterator[tuple[House, Room]]:
    """A house with a room of the document that the poison is for."""
    async with house(dataclasses.replace(RULES, rebuild_timeout_s=0.5), network) as at:
        room = await at.room()
        at.join(room, subject="author").send(Update(corpus_document()))
        yield at, room


def break_it(at: House, room: Room, subject: str = "mallory", client: int = 5) -> Person:
    """Somebody comes and breaks the room's copy."""
    mallory = at.join(room, subject=subject)
    with pytest.raises(Refused) as refused:
        mallory.send(Update(poison(client)))
    assert refused.value.reason is Close.UPDATE_REFUSED
    return mallory


async def mended(room: Room) -> None:
    await until(lambda: not room.rebuild.is_under_way)


async def test_members_stay_and_what_they_send_meanwhile_goes_on_in_order_afterwards() -> None:
    async with opened() as (at, room):
        ada, bob = at.join(room), at.join(room)
        first, second, third = typed("a", "b", "c")
        ada.send(Update(first))
        mallory = break_it(at, room)
        ada.send(Update(second))
        ada.send(Update(third))
        assert room.clocks[7] == 1
        assert ada.member.is_held
        assert ada.transport.pauses == [True]
        await mended(room)
        assert room.clocks[7] == 3
        assert updates_in(bob.messages)[-2:] == [second, third]
        assert ada.transport.pauses == [True, False]
        assert [refusal.reason for refusal in mallory.refusals] == [Close.UPDATE_REFUSED]
        assert ada.refusals == bob.refusals == []
        assert at.registry.rooms["demo"] is room
        assert at.registry.bars(room.document, "mallory")


async def test_the_new_copy_holds_all_that_was_sent_before_committed_or_not() -> None:
    async with opened() as (at, room):
        ada = at.join(room)
        for each in typed(*"committed or not"):
            ada.send(Update(each))
        before = room.clocks
        assert at.recorder.durable < room.ticket
        break_it(at, room)
        await mended(room)
        assert room.clocks == before
        eve = at.join(room)
        eve.send(SyncStep1(b"\x00"))
        assert clocks_of(updates_in(eve.messages)[-1]) == before


async def test_whoever_may_write_is_asked_for_what_the_new_copy_lacks() -> None:
    async with opened() as (at, room):
        ada = at.join(room)
        ada.send(SyncStep2(b"\x00\x00"))
        asked = len([message for message in ada.messages if isinstance(message, SyncStep1)])
        break_it(at, room)
        await mended(room)
        assert len([message for message in ada.messages if isinstance(message, SyncStep1)]) == asked + 1


async def test_who_comes_meanwhile_is_answered_afterwards() -> None:
    async with opened() as (at, room):
        break_it(at, room)
        eve = at.join(room)
        eve.send(SyncStep1(b"\x00"))
        assert updates_in(eve.messages) == []
        await mended(room)
        assert clocks_of(updates_in(eve.messages)[-1]) == room.clocks


async def test_who_leaves_meanwhile_has_sent_what_it_sent() -> None:
    async with opened() as (at, room):
        ada = at.join(room)
        break_it(at, room)
        ada.send(Update(typed("goodbye")[0]))
        room.leave(ada.member)
        await mended(room)
        assert room.clocks[7] == 7


async def test_a_room_that_everyone_leaves_meanwhile_stays_until_it_is_mended() -> None:
    async with opened() as (at, room):
        break_it(at, room)
        for member in room.members:
            room.leave(member)
        assert not room.is_empty
        await mended(room)
        assert room.is_empty


async def test_cursors_of_other_tasks_are_shown_meanwhile() -> None:
    async with opened() as (at, room):
        ada = at.join(room)
        break_it(at, room)
        cursor = AwarenessEntry(99, 1, b"{}")
        room.receive(Envelope(EnvelopeKind.AWARENESS, room.document.id, "another-task", encode_entries((cursor,))))
        assert room.rebuild.is_under_way
        assert ada.messages[-1] == Awareness((cursor,))


async def test_what_another_task_tells_meanwhile_reaches_the_members_of_the_new_copy() -> None:
    async with opened(network := MemoryNetwork()) as (here, room):
        await here.recorder.flush()
        async with house(network=network, storage=here) as there:
            other = await there.room()
            eve, bob = there.join(other), here.join(room)
            (word,) = typed("elsewhere")
            break_it(here, room)
            eve.send(Update(word))
            await there.recorder.flush()
            await until(lambda: room.clocks.get(7) == 9)
            await mended(room)
            assert b"elsewhere" in b"".join(updates_in(bob.messages))
            assert not bob.refusals


async def test_what_storage_got_from_elsewhere_meanwhile_is_sent_to_members() -> None:
    async with opened() as (at, room):
        bob = at.join(room)
        break_it(at, room)
        (word,) = typed("unheard of")
        await at.journal.append([JournalEntry(room.document.id, word, "eve", (7,), b"\x01\x07\x0a")])
        await mended(room)
        assert b"unheard of" in b"".join(updates_in(bob.messages))


async def test_a_member_that_had_fallen_behind_is_brought_level_afterwards() -> None:
    async with opened() as (at, room):
        ada, slow, slower = at.join(room), at.join(room), at.join(room)
        slow.member.fell_behind()
        slower.member.fell_behind()
        (word,) = typed("missed")
        ada.send(Update(word))
        break_it(at, room)
        slow.member.caught_up()  # it has read everything, in the midst of the rebuild
        assert b"missed" not in b"".join(updates_in(slow.messages))
        await mended(room)
        slower.member.caught_up()
        for each in (slow, slower):
            assert b"missed" in b"".join(updates_in(each.messages))
            assert not each.refusals


async def test_a_big_update_that_is_being_taken_in_is_taken_in_whole() -> None:
    async with opened() as (at, room):
        author = at.join(room)
        author.send(Update(BIG))
        await until(lambda: len(room.clocks) > 4)  # some pieces are in
        break_it(at, room)
        await mended(room)
        await until(lambda: not author.member.is_held)
        assert not author.refusals
        assert clocks_of(BIG).items() <= room.clocks.items()
        stored = await at.registry.stored(room)
        whole = document([*([stored.checkpoint] if stored.checkpoint else []), *stored.updates])
        assert whole.get_state() == document([corpus_document(), BIG]).get_state()


async def test_a_second_poison_among_what_waited_costs_its_sender_alone_too() -> None:
    async with opened() as (at, room):
        ada, eve = at.join(room), at.join(room, subject="eve")
        first, second = typed("a", "b")
        break_it(at, room)
        ada.send(Update(first))
        eve.send(Update(poison(6)))
        ada.send(Update(second))
        await until(lambda: room.clocks.get(7) == 2)
        assert [refusal.reason for refusal in eve.refusals] == [Close.UPDATE_REFUSED]
        assert not ada.refusals


async def test_without_storage_everyone_is_sent_away_to_come_back_later() -> None:
    async with opened() as (at, room):
        ada = at.join(room)
        ada.send(Update(typed("a")[0]))
        at.journal.available = False
        break_it(at, room)
        ada.send(Update(typed("a", "b")[1]))
        await until(lambda: ada.refusals)
        assert [refusal.reason for refusal in ada.refusals] == [Close.ROOM_RELOADED]
        assert "demo" not in at.registry.rooms
        at.journal.available = True
        again = await at.room()
        assert again is not room
        assert again.clocks[7] == 1


async def test_a_copy_that_breaks_again_and_again_is_given_up() -> None:
    async with opened() as (at, room):
        ada = at.join(room)
        for attempt in range(MOST_IN_A_ROW):
            break_it(at, room, f"mallory-{attempt}", 100 + attempt)
            await mended(room)
        assert not ada.refusals
        break_it(at, room, "the-last", 99)
        assert [refusal.reason for refusal in ada.refusals] == [Close.ROOM_RELOADED]
        assert "demo" not in at.registry.rooms


async def test_an_edit_the_journal_refuses_sends_everyone_away_though_a_rebuild_is_under_way() -> None:
    async with opened() as (at, room):
        ada = at.join(room)
        await at.recorder.flush()
        break_it(at, room)
        room.reload()
        await asyncio.sleep(0)
        assert [refusal.reason for refusal in ada.refusals] == [Close.ROOM_RELOADED]
        assert not room.rebuild.is_under_way
        assert not ada.member.is_held
