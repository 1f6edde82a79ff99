"""After a restore nothing of the replaced history comes back, whoever brings it, and nobody else is troubled."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from auth.permissions import Role
from collab_server.bus_memory import MemoryNetwork
from collab_server.errors import Close, Refused
from collab_server.rooms import history as history_module
from collab_server.rooms import lookout as lookout_module
from collab_server.rooms.room import Room
from collab_server.wire.messages import SyncStep1, SyncStep2, Update
from persistence.restore import Restorer
from tests.unit.collab_server.rooms.parts import House, Person, house, until
from tests.unit.collab_server.rooms.test_leases import Copy, asked, shows, text_of


async def restore(at: House, generation: int) -> None:
    document = await at.catalog.find_or_create("demo")
    await Restorer(at.histories, at.checkpointer, at.blobs, at.sandbox).restore(document, generation)


async def folded(at: House, room: Room) -> None:
    """Make a generation of what there is."""
    await at.recorder.flush()
    assert await at.registry.checkpoint(room)


def greet(person: Person, copy: Copy) -> None:
    """What every client does on opening: say what it has."""
    person.send(SyncStep1(copy.doc.get_state()))


def refusals(person: Person) -> list[Close]:
    return [refusal.reason for refusal in person.refusals]


@asynccontextmanager
async def restored(network: MemoryNetwork | None = None) -> AsyncIterator[tuple[House, Room, Copy, Copy]]:
    """A document restored to "good": its room, a copy of "good bad", and one that had deleted all of "good"."""
    async with house(network=network) as at:
        room = await at.room()
        ada, old, emptied = at.join(room, subject="ada"), Copy(7), Copy(8)
        ada.send(Update(emptied.take(old.type("good"))))
        await folded(at, room)
        del emptied.text[0:4]
        ada.send(Update(old.type(" bad")))
        await at.recorder.flush()
        await restore(at, 1)
        room = await at.room()
        assert text_of(room) == "good"
        yield at, room, old, emptied


async def test_a_running_room_is_given_up_and_its_members_come_back(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lookout_module, "LOOK_EVERY_S", 0.01)
    async with house() as at:
        room = await at.room()
        ada, copy = at.join(room), Copy(7)
        ada.send(Update(copy.type("good")))
        await folded(at, room)
        ada.send(Update(copy.type(" bad")))
        await restore(at, 1)
        await until(lambda: refusals(ada) == [Close.ROOM_RELOADED])
        assert text_of(await at.room()) == "good"


async def test_an_edit_in_the_moment_of_the_restore_is_not_stored_and_its_room_is_given_up() -> None:
    async with house() as at:
        room = await at.room()
        ada, copy = at.join(room), Copy(7)
        ada.send(Update(copy.type("good")))
        await folded(at, room)
        await restore(at, 1)
        ada.send(Update(copy.type(" bad")))
        await until(lambda: Close.ROOM_RELOADED in refusals(ada))
        assert text_of(await at.room()) == "good"
        assert [note.reason.partition(":")[0] for note in at.journal.quarantined] == ["journal"]


async def test_a_fresh_client_reads_and_writes_and_comes_back() -> None:
    async with restored() as (at, room, _old, _emptied):
        bob, copy = at.join(room, subject="bob"), Copy(9)
        greet(bob, copy)
        for message in bob.messages:
            if isinstance(message, (Update, SyncStep2)):
                copy.take(message.update)
        assert str(copy.text) == "good"
        bob.send(SyncStep2(b"\x00\x00"))
        bob.send(Update(copy.type(", better")))
        room.leave(bob.member)
        bob = at.join(room, subject="bob")
        greet(bob, copy)
        bob.send(copy.sync(room))
        assert (refusals(bob), text_of(room)) == ([], "good, better")


async def test_what_was_written_offline_before_the_first_visit_is_welcome() -> None:
    async with restored() as (at, room, _old, _emptied):
        bob, copy = at.join(room), Copy(9)
        copy.type("mine ")
        greet(bob, copy)
        bob.send(copy.sync(room))
        assert text_of(room) in ("mine good", "goodmine ")


async def test_an_old_copy_is_refused_and_its_edits_are_noted() -> None:
    async with restored() as (at, room, old, _emptied):
        bob = at.join(room, subject="bob")
        old.type(" and worse")
        greet(bob, old)
        assert not any(isinstance(message, SyncStep2) for message in bob.messages)
        with pytest.raises(Refused) as refused:
            bob.send(old.sync(room))
        assert refused.value.reason is Close.HISTORY_REPLACED
        await until(
            lambda: [(note.actor_id, note.reason) for note in at.journal.quarantined] == [("bob", "old_history")]
        )
        assert text_of(room) == "good"


async def test_an_old_copy_that_only_deleted_is_refused_too() -> None:
    """Its state vector is that of the restored state: only the marker tells."""
    async with restored() as (at, room, _old, emptied):
        bob = at.join(room)
        greet(bob, emptied)
        with pytest.raises(Refused):
            bob.send(emptied.sync(room))
        assert text_of(room) == "good"


async def test_a_reader_with_an_old_copy_is_refused_at_once() -> None:
    async with restored() as (at, room, old, _emptied):
        eve = at.join(room, Role.VIEWER)
        with pytest.raises(Refused) as refused:
            greet(eve, old)
        assert refused.value.reason is Close.HISTORY_REPLACED


async def test_an_old_copy_that_says_nothing_more_is_refused_in_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(history_module, "LAST_WORD_S", 0.01)
    async with restored() as (at, room, old, _emptied):
        bob = at.join(room)
        greet(bob, old)
        await until(lambda: refusals(bob) == [Close.HISTORY_REPLACED])


async def test_who_writes_before_saying_what_it_holds_is_asked_again() -> None:
    async with restored() as (at, room, _old, emptied):
        bob = at.join(room)
        bob.send(emptied.sync(room))
        assert text_of(room) == "good"
        await until(lambda: asked(bob) == 2)
        greet(bob, emptied)
        with pytest.raises(Refused):
            bob.send(emptied.sync(room))
        assert text_of(room) == "good"


async def test_nothing_is_written_as_a_client_with_dead_structs_nor_as_the_marker() -> None:
    async with restored() as (at, room, old, _emptied):
        for update in (old.doc.get_update(), Copy(room.history.reserved[-1]).type("forged")):  # type: ignore[union-attr]
            bob = at.join(room, subject="bob")
            greet(bob, Copy(9))
            with pytest.raises(Refused):
                bob.send(Update(update))
        assert text_of(room) == "good"


async def test_a_big_old_copy_is_refused_too() -> None:
    async with restored() as (at, room, old, _emptied):
        old.type("x" * 100_000)
        bob = at.join(room)
        greet(bob, old)
        bob.send(old.sync(room))
        await until(lambda: refusals(bob) == [Close.HISTORY_REPLACED])
        assert text_of(room) == "good"


async def test_a_copy_that_heard_the_old_history_from_another_tab_is_refused_when_it_comes_back() -> None:
    async with restored() as (at, room, old, _emptied):
        bob, copy = at.join(room), Copy(9)
        greet(bob, copy)
        for message in bob.messages:
            if isinstance(message, (Update, SyncStep2)):
                copy.take(message.update)
        copy.take(old.doc.get_update())
        room.leave(bob.member)
        bob = at.join(room)
        greet(bob, copy)
        with pytest.raises(Refused):
            bob.send(copy.sync(room))
        assert text_of(room) == "good"


async def test_a_task_of_the_old_history_is_not_heard_by_one_of_the_new() -> None:
    network = MemoryNetwork()
    async with house(network=network) as one, house(network=network, storage=one) as two:
        here = await one.room()
        ada, old = one.join(here, subject="ada"), Copy(7)
        ada.send(shows(7))
        ada.send(Update(old.type("good")))
        await folded(one, here)
        ada.send(Update(old.type(" bad")))
        await one.recorder.flush()
        await restore(two, 1)
        there = await two.room()
        there.greet_peers()
        bob, copy = two.join(there), Copy(9)
        greet(bob, copy)
        for message in bob.messages:
            if isinstance(message, (Update, SyncStep2)):
                copy.take(message.update)
        bob.send(Update(copy.type(", new")))
        await two.recorder.flush()
        await until(lambda: Close.ROOM_RELOADED in refusals(ada))
        assert text_of(there) == "good, new"
        assert text_of(await one.room()) == "good, new"
