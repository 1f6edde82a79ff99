"""Who may write under which client id: every case of the table in docs/decisions/0010-client-id-leases.md (T12)."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from pycrdt import Doc, Text

from auth.permissions import Role
from collab_server.bus_memory import MemoryNetwork
from collab_server.errors import Close, Refused
from collab_server.rooms.leases import MOST_VOUCHED_CLOCKS
from collab_server.rooms.room import Room
from collab_server.wire.awareness import AwarenessEntry
from collab_server.wire.lib0 import varuint
from collab_server.wire.messages import Awareness, SyncStep1, SyncStep2, Update
from tests.unit.collab_server.rooms.parts import House, Person, house, until


class Copy:
    """A client's document under a client id of its own."""

    def __init__(self, client_id: int) -> None:
        self.id = client_id
        self.doc: Doc[Any] = Doc(client_id=client_id)
        self.text: Text = self.doc.get("content", type=Text)

    def type(self, text: str) -> bytes:
        before = self.doc.get_state()
        self.text.insert(len(self.text), text)
        return self.doc.get_update(before)

    def take(self, update: bytes) -> bytes:
        """Hear of `update`; returns it."""
        self.doc.apply_update(update)
        return update

    def sync(self, room: Room) -> SyncStep2:
        """The answer to the room's SyncStep1."""
        return SyncStep2(self.doc.get_update(room.state_vector()))


def garbage(client: int, clock: int, length: int) -> bytes:
    """The attack: a struct of collected garbage under another's client id, which burns its clocks."""
    numbers = b"".join(map(varuint, (client, clock)))
    return b"\x01\x01" + numbers + b"\x00" + varuint(length) + b"\x00"


def shows(client_id: int, clock: int = 1) -> Awareness:
    return Awareness((AwarenessEntry(client_id, clock, b"{}"),))


def text_of(room: Room) -> str:
    doc: Doc[Any] = Doc()
    doc.apply_update(room.diff(b"\x00"))
    return str(doc.get("content", type=Text))


def asked(person: Person) -> int:
    """How often it was asked for what the room lacks."""
    return sum(isinstance(message, SyncStep1) for message in person.messages)


def seat(at: House, room: Room, subject: str, role: Role = Role.EDITOR) -> Person:
    """Someone who has a seat and has answered its first SyncStep1."""
    person = at.join(room, role, subject)
    person.send(SyncStep2(b"\x00\x00"))
    return person


# Live updates


async def test_whoever_writes_first_as_a_client_holds_it_and_the_journal_says_so() -> None:
    async with house() as at:
        room = await at.room()
        ada, copy = seat(at, room, "ada"), Copy(7)
        ada.send(Update(copy.type("a")))
        ada.send(Update(copy.type("b")))
        assert room.leases.holder_of(7) == "ada"
        await at.recorder.flush()
        assert at.journal.leases[room.document.id] == {7: "ada"}


async def test_a_forged_struct_of_a_client_in_use_is_refused_and_its_holder_goes_on() -> None:
    async with house() as at:
        room = await at.room()
        ada, eve, copy = seat(at, room, "ada"), seat(at, room, "eve"), Copy(7)
        ada.send(Update(copy.type("a")))
        with pytest.raises(Refused) as refused:
            eve.send(Update(garbage(7, 1, 1_000)))
        assert refused.value.reason is Close.UPDATE_REFUSED
        await until(lambda: [note.reason for note in at.journal.quarantined] == ["foreign_client"])
        assert [note.actor_id for note in at.journal.quarantined] == ["eve"]
        ada.send(Update(copy.type("b")))
        assert text_of(room) == "ab"
        assert eve.member.room.clocks == {7: 2}


async def test_a_client_that_its_owner_shows_but_has_not_written_as_cannot_be_taken() -> None:
    async with house() as at:
        room = await at.room()
        ada, eve, copy = seat(at, room, "ada"), seat(at, room, "eve"), Copy(7)
        ada.send(shows(7))
        with pytest.raises(Refused):
            eve.send(Update(garbage(7, 0, 1_000)))
        ada.send(Update(copy.type("a")))
        assert text_of(room) == "a"
        assert room.leases.holder_of(7) == "ada"


async def test_a_silent_holder_is_asked_before_anybody_else_is_believed() -> None:
    """It came back, shows no cursor and has not typed: nobody can tell which client it is."""
    async with house() as at:
        room = await at.room()
        ada, eve, copy = seat(at, room, "ada"), seat(at, room, "eve"), Copy(7)
        ada.send(Update(copy.type("a")))
        room.leave(ada.member)
        ada = seat(at, room, "ada")
        eve.send(Update(garbage(7, 1, 1_000)))
        assert room.clocks == {7: 1}
        assert asked(ada) == 2
        ada.send(copy.sync(room))
        await until(lambda: asked(eve) == 2)
        with pytest.raises(Refused):
            eve.send(SyncStep2(garbage(7, 1, 1_000)))
        ada.send(Update(copy.type("b")))
        assert text_of(room) == "ab"


async def test_one_person_may_write_as_many_clients_on_many_seats() -> None:
    async with house() as at:
        room = await at.room()
        one, two, copy = seat(at, room, "ada"), seat(at, room, "ada"), Copy(7)
        other = Copy(8)
        one.send(Update(copy.type("a")))
        two.send(Update(other.take(copy.type("b"))))
        two.send(Update(other.type("c")))
        one.send(Update(copy.type("d")))
        assert sorted(text_of(room)) == list("abcd")


async def test_everyone_is_one_subject_where_there_are_no_identities() -> None:
    async with house() as at:
        room = await at.room()
        ada, eve, copy = seat(at, room, "anyone"), seat(at, room, "anyone"), Copy(7)
        ada.send(Update(copy.type("a")))
        eve.send(Update(copy.type("b")))
        assert text_of(room) == "ab"


# What a SyncStep2 brings of others


async def test_edits_of_an_absent_holder_are_taken_from_anybody_and_the_journal_says_from_whom() -> None:
    """A task died before it had committed them; and a browser that two people share."""
    async with house() as at:
        room = await at.room()
        ada, bob, copy, other = seat(at, room, "ada"), seat(at, room, "bob"), Copy(7), Copy(8)
        ada.send(Update(other.take(copy.type("a"))))
        room.leave(ada.member)
        other.take(copy.type("lost"))
        bob.send(other.sync(room))
        assert text_of(room) == "alost"
        assert room.leases.holder_of(7) == "ada"
        assert at.metrics.vouched.count == 1
        await at.recorder.flush()
        assert at.journal.leases[room.document.id] == {7: "ada"}


async def test_a_live_update_may_bring_them_too_for_that_is_how_stored_copies_are_loaded() -> None:
    async with house() as at:
        room = await at.room()
        ada, bob, copy = seat(at, room, "ada"), seat(at, room, "bob"), Copy(7)
        ada.send(Update(copy.type("a")))
        room.leave(ada.member)
        bob.send(Update(copy.type("b")))
        assert text_of(room) == "ab"


async def test_edits_nobody_leased_are_not_leased_to_who_brings_them() -> None:
    """Their author comes back and goes on."""
    async with house() as at:
        room = await at.room()
        bob, copy, other = seat(at, room, "bob"), Copy(7), Copy(8)
        other.take(copy.type("from a task that died "))
        bob.send(SyncStep2(other.take(other.type("mine")) and other.doc.get_update()))
        ada = seat(at, room, "ada")
        ada.send(Update(copy.type("and on")))
        assert room.leases.holder_of(7) == "ada"
        assert "and on" in text_of(room)


async def test_offline_edits_are_leased_to_who_shows_their_client_as_its_own() -> None:
    async with house() as at:
        room = await at.room()
        ada, copy = seat(at, room, "ada"), Copy(7)
        copy.type("offline")
        ada.send(shows(7))
        ada.send(copy.sync(room))
        assert room.leases.holder_of(7) == "ada"


async def test_while_the_holder_is_here_it_is_asked_first_and_then_the_sender_again() -> None:
    async with house() as at:
        room = await at.room()
        ada, bob, copy, other = seat(at, room, "ada"), seat(at, room, "bob"), Copy(7), Copy(8)
        ada.send(Update(other.take(copy.type("a"))))
        other.take(copy.type("b"))
        bob.send(other.sync(room))
        assert (asked(ada), asked(bob)) == (2, 1)
        assert text_of(room) == "a"
        ada.send(copy.sync(room))
        await until(lambda: asked(bob) == 2)
        bob.send(other.sync(room))
        assert text_of(room) == "ab"
        assert list(at.journal.quarantined) == []


async def test_what_the_holder_does_not_have_itself_is_forged() -> None:
    async with house() as at:
        room = await at.room()
        ada, eve, copy = seat(at, room, "ada"), seat(at, room, "eve"), Copy(7)
        ada.send(Update(copy.type("a")))
        eve.send(SyncStep2(garbage(7, 1, 1_000)))
        ada.send(copy.sync(room))
        await until(lambda: asked(eve) == 2)
        with pytest.raises(Refused) as refused:
            eve.send(SyncStep2(garbage(7, 1, 1_000)))
        assert "foreign_client" in refused.value.detail


async def test_a_holder_that_has_not_answered_yet_costs_the_sender_patience_only() -> None:
    async with house() as at:
        room = await at.room()
        ada, bob, copy, other = seat(at, room, "ada"), seat(at, room, "bob"), Copy(7), Copy(8)
        ada.send(Update(other.take(copy.type("a"))))
        other.take(copy.type("b"))
        for times in (2, 3):
            bob.send(other.sync(room))
            await until(lambda times=times: asked(bob) == times)
        room.leave(ada.member)
        bob.send(other.sync(room))
        assert text_of(room) == "ab"


async def test_a_jump_over_more_clocks_than_its_bytes_pay_for_is_refused() -> None:
    async with house() as at:
        room = await at.room()
        ada, eve, copy = seat(at, room, "ada"), seat(at, room, "eve"), Copy(7)
        ada.send(Update(copy.type("a")))
        room.leave(ada.member)
        with pytest.raises(Refused) as refused:
            eve.send(SyncStep2(garbage(7, 1, MOST_VOUCHED_CLOCKS + 100)))
        assert "clock_jump" in refused.value.detail


async def test_a_paste_of_any_size_is_no_jump() -> None:
    async with house() as at:
        room = await at.room()
        ada, bob, copy = seat(at, room, "ada"), seat(at, room, "bob"), Copy(7)
        ada.send(Update(copy.type("a")))
        ada.send(Update(copy.type("x" * 3 * MOST_VOUCHED_CLOCKS)))
        await until(lambda: room.is_empty or not room.taking_in)
        copy.type("y" * 3 * MOST_VOUCHED_CLOCKS)
        room.leave(ada.member)
        bob.send(copy.sync(room))
        await until(lambda: not room.taking_in)
        assert room.clocks == {7: 1 + 6 * MOST_VOUCHED_CLOCKS}


async def test_a_big_update_is_held_to_the_same_rules() -> None:
    async with house() as at:
        room = await at.room()
        ada, eve, copy = seat(at, room, "ada"), seat(at, room, "eve"), Copy(7)
        ada.send(Update(copy.type("a")))
        eve.send(Update(copy.type("x" * 100_000)))
        await until(lambda: eve.refusals)
        assert "foreign_client" in eve.refusals[0].detail
        assert room.clocks == {7: 1}


# Storage and other tasks


async def test_leases_outlive_the_room() -> None:
    async with house() as at:
        room = await at.room()
        copy = Copy(7)
        seat(at, room, "ada").send(Update(copy.type("a")))
        await at.recorder.flush()
        room.reload()
        again = await at.room()
        assert again is not room
        ada, eve = seat(at, again, "ada"), seat(at, again, "eve")
        ada.send(shows(7))
        with pytest.raises(Refused):
            eve.send(Update(garbage(7, 1, 1_000)))


async def test_another_task_knows_the_lease_from_the_table() -> None:
    network = MemoryNetwork()
    async with house(network=network) as one, house(network=network, storage=one) as two:
        here, there = await one.room(), await two.room()
        ada, eve, copy = seat(one, here, "ada"), seat(two, there, "eve"), Copy(7)
        ada.send(shows(7))
        ada.send(Update(copy.type("a")))
        await until(lambda: there.leases.holder_of(7) == "ada")
        with pytest.raises(Refused):
            eve.send(Update(garbage(7, 1, 1_000)))
        ada.send(Update(copy.type("b")))
        await until(lambda: text_of(there) == "ab")


async def test_what_another_task_has_just_brought_is_nobodys_until_it_was_looked_up() -> None:
    network = MemoryNetwork()
    async with house(network=network) as one, house(network=network, storage=one) as two:
        here, there = await one.room(), await two.room()
        ada, eve, copy = seat(one, here, "ada"), seat(two, there, "eve"), Copy(7)
        ada.send(Update(copy.type("a")))
        await until(lambda: there.clocks == {7: 1})
        eve.send(Update(garbage(7, 1, 1_000)))  # before the table has answered
        assert there.clocks == {7: 1}
        room, ada = there, seat(two, there, "ada")  # it has moved, and goes on at once
        ada.send(Update(copy.type("b")))
        ada.send(copy.sync(room))
        await until(lambda: room.leases.holder_of(7) == "ada")
        ada.send(copy.sync(room))
        assert text_of(room) == "ab"


async def test_of_two_tasks_that_saw_a_client_first_the_table_decides() -> None:
    network = MemoryNetwork()
    async with house(network=network) as one, house(network=network, storage=one) as two:
        here, there = await one.room(), await two.room()
        ada, eve, copy = seat(one, here, "ada"), seat(two, there, "eve"), Copy(7)
        first = copy.type("a")
        one.journal.leases[here.document.id][7] = "ada"  # committed, and not heard of yet
        eve.send(Update(first))
        assert there.leases.holder_of(7) == "eve"
        ada.send(Update(first))
        ada.send(shows(7))
        ada.send(Update(copy.type("b")))
        await until(lambda: there.leases.holder_of(7) == "ada")
        with pytest.raises(Refused):
            eve.send(Update(garbage(7, 2, 1_000)))


async def test_a_table_that_is_away_is_asked_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("collab_server.rooms.leases.RETRY_LOOK_UP_S", 0.01)
    async with house() as at:
        room = await at.room()
        await at.journal.append([])
        at.journal.leases[room.document.id][7] = "ada"
        at.journal.available = False
        room.leases.hear(((7, 1),), {}, 0)
        await asyncio.sleep(0)
        at.journal.available = True
        await until(lambda: room.leases.holder_of(7) == "ada")


async def test_a_keystroke_of_the_client_it_wrote_as_last_is_not_judged_again(monkeypatch: pytest.MonkeyPatch) -> None:
    async with house() as at:
        room = await at.room()
        ada, copy, other = seat(at, room, "ada"), Copy(7), Copy(8)
        judged: list[object] = []
        judge = room.leases.judge
        monkeypatch.setattr(room.leases, "judge", lambda *given, **how: (judged.append(given[1]), judge(*given, **how)))
        for letter in "abc":
            ada.send(Update(copy.type(letter)))
        other.take(copy.doc.get_update())
        ada.send(Update(other.type("d")))
        assert judged == [((7, 1),), ((8, 1),)]
