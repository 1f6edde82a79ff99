"""A frozen room takes no edit of anybody, tells so in-band, and loses nothing; who is kept out gets no seat."""

from __future__ import annotations

import orjson
import pytest

from auth.permissions import Role
from collab_server.errors import Close, Refused
from collab_server.rooms.acknowledgements import Acknowledge
from collab_server.rooms.member import FROZEN
from collab_server.wire.awareness import AwarenessEntry
from collab_server.wire.messages import Awareness, Durable, PermissionDenied, SyncStep1, SyncStep2, Update
from persistence.rulings import Ruling, RulingsUnavailable
from persistence.rulings_memory import MemoryRulings
from tests.unit.collab_server.rooms.big_parts import BIG
from tests.unit.collab_server.rooms.parts import House, Person, house, until
from tests.unit.collab_server.rooms.test_replica import typed


def told(person: Person) -> list[str]:
    return [message.reason for message in person.messages if isinstance(message, PermissionDenied)]


def asked(person: Person) -> int:
    return sum(isinstance(message, SyncStep1) for message in person.messages)


async def freeze(at: House, name: str = "demo", *, lift: bool = False) -> None:
    room = await at.room(name)
    await (at.rulings.unfreeze(room.document.id) if lift else at.rulings.freeze(room.document.id, "root"))
    await at.registry.overseer.look_at(room)


async def test_an_edit_to_a_frozen_room_has_no_effect_and_its_sender_is_told() -> None:
    async with house() as at:
        room = await at.room()
        ada, bob, eve = at.join(room), at.join(room), at.join(room, Role.VIEWER)
        await freeze(at)
        assert (told(ada), told(bob), told(eve)) == ([FROZEN], [FROZEN], [])
        (update,) = typed("x")
        ada.send(Update(update))
        ada.send(SyncStep2(update))
        assert (room.clocks, room.updates, ada.refusals) == ({}, 0, [])
        assert told(ada) == [FROZEN]  # once is enough
        assert not [message for message in bob.messages if isinstance(message, Update)]
        assert ada.member.role is Role.EDITOR


async def test_cursors_and_reading_go_on_in_a_frozen_room() -> None:
    async with house() as at:
        room = await at.room()
        ada, bob = at.join(room), at.join(room)
        ada.send(Update(typed("hello")[0]))
        await freeze(at)
        ada.send(Awareness((AwarenessEntry(7, 1, orjson.dumps({"cursor": 3})),)))
        assert [message for message in bob.messages if isinstance(message, Awareness)]
        bob.send(SyncStep1(b"\x00"))
        [answer] = [message for message in bob.messages if isinstance(message, SyncStep2)]
        assert b"hello" in answer.update


async def test_what_was_typed_into_a_frozen_room_is_acknowledged_only_when_it_came_again() -> None:
    async with house() as at:
        room = await at.room()
        ada = at.join(room, acknowledge=Acknowledge.COUNT)
        ada.send(SyncStep2(b"\x00\x00"))
        await freeze(at)
        first, second = typed("one ", "two")
        ada.send(Update(first))
        ada.send(Update(second))
        await at.recorder.flush()
        assert [message.messages for message in ada.messages if isinstance(message, Durable)] == [1]
        before = asked(ada)
        await freeze(at, lift=True)
        assert asked(ada) == before + 1
        ada.send(Update(first))
        ada.send(SyncStep2(second))
        await until(lambda: [m.messages for m in ada.messages if isinstance(m, Durable)][-1] == 5)
        assert sum(room.clocks.values()) == len("one two")


async def test_an_answer_that_came_too_late_does_not_stop_the_next_question() -> None:
    async with house() as at:
        room = await at.room()
        ada = at.join(room)  # asked, and has not answered
        await freeze(at)
        ada.send(SyncStep2(typed("x")[0]))
        await freeze(at, lift=True)
        assert asked(ada) == 2


async def test_who_joins_a_frozen_room_is_told_and_one_opened_anew_is_frozen() -> None:
    async with house() as at:
        room = await at.room()
        await at.rulings.freeze(room.document.id, "root")
        at.registry.let_go(room, Refused(Close.CLOSED_BY_OPERATOR))
        again = await at.room()
        assert again is not room
        assert again.ruling.frozen
        ada, bob = at.join(again), at.join(again, Role.VIEWER)
        assert (told(ada), asked(ada), told(bob)) == ([FROZEN], 0, [])


async def test_a_task_that_nobody_told_notices_by_itself() -> None:
    async with house() as at:
        room = await at.room()
        ada = at.join(room)
        await at.rulings.freeze(room.document.id, "root")
        await until(lambda: room.ruling.frozen)
        assert told(ada) == [FROZEN]


async def test_a_reading_that_comes_in_late_does_not_undo_a_newer_one() -> None:
    async with house() as at:
        room = await at.room()
        await freeze(at)
        room.ruling.obey(Ruling(), read_at=0.0)
        assert room.ruling.frozen


async def test_a_big_update_that_is_being_taken_in_stops_at_the_freeze() -> None:
    async with house() as at:
        room = await at.room()
        ada = at.join(room)
        ada.send(Update(BIG))
        assert room.taking_in
        await freeze(at)
        await until(lambda: not room.taking_in)
        assert room.clocks == {}
        await freeze(at, lift=True)
        ada.send(SyncStep2(BIG))
        await until(lambda: bool(room.clocks))


async def test_a_big_update_that_is_being_taken_in_stops_when_its_sender_may_only_read() -> None:
    """It may have waited for a worker for long: whoever may write no more within a second may not by that either."""
    async with house() as at:
        room = await at.room()
        ada = at.join(room)
        ada.send(Update(BIG))
        ada.member.become(ada.member.identity, Role.VIEWER, 0.0)
        await until(lambda: not room.taking_in)
        assert (room.clocks, ada.refusals) == ({}, [])
        ada.member.become(ada.member.identity, Role.EDITOR, 0.0)
        ada.send(SyncStep2(BIG))
        await until(lambda: bool(room.clocks))


async def test_who_is_kept_out_loses_every_seat_and_gets_none_until_the_time_is_up() -> None:
    async with house() as at:
        room = await at.room()
        phone, laptop, bob = (at.join(room, subject=who) for who in ("mallory", "mallory", "bob"))
        await at.rulings.keep_out(room.document.id, "mallory", 60, "root")
        await at.registry.overseer.look()
        assert [refusal.reason for refusal in (*phone.refusals, *laptop.refusals)] == [Close.KEPT_OUT] * 2
        assert bob.refusals == []
        with pytest.raises(Refused, match="try again in 60 s"):
            room.ruling.check_seat("mallory")
        room.ruling.check_seat("bob")
        await at.rulings.keep_out(room.document.id, "mallory", 0, "root")
        await at.registry.overseer.look_at(room)
        room.ruling.check_seat("mallory")


class Away(MemoryRulings):
    async def in_force(self, document_ids: object) -> dict[object, Ruling]:  # type: ignore[override]
        raise RulingsUnavailable("the database is away")


async def test_a_room_whose_ruling_cannot_be_read_is_not_opened_and_an_open_one_stays_as_it_is() -> None:
    async with house() as at:
        room = await at.room()
        await freeze(at)
        at.registry.overseer._rulings = Away()
        await at.registry.overseer.look()
        assert room.ruling.frozen
        with pytest.raises(Refused) as refusal:
            await at.room("another")
        assert refusal.value.reason is Close.ROOM_UNAVAILABLE


async def test_a_room_that_is_let_go_comes_back_with_every_edit_it_took() -> None:
    async with house() as at:
        room = await at.room()
        ada = at.join(room)
        ada.send(Update(typed("hello")[0]))
        at.registry.let_go(room, Refused(Close.CLOSED_BY_OPERATOR))
        assert [refusal.reason for refusal in ada.refusals] == [Close.CLOSED_BY_OPERATOR]
        again = await at.room()
        assert again is not room
        assert sum(again.clocks.values()) == len("hello")
