"""Nobody hears that an edit is durable before its commit, and everybody who asked hears it once (F01, F05, F23)."""

from __future__ import annotations

from typing import Any

import pytest
from pycrdt import Doc, Text

from auth.permissions import Role
from collab_server.errors import Close, Refused
from collab_server.rooms.acknowledgements import MOST_REPEATS, Acknowledge
from collab_server.update_reading import cut_deletes, read_update
from collab_server.wire.awareness import AwarenessEntry
from collab_server.wire.messages import Awareness, Durable, Message, SyncStep1, SyncStep2, Update
from tests.unit.collab_server.rooms.parts import House, Person, house, until
from tests.unit.collab_server.rooms.test_replica import typed


def echoes(person: Person) -> list[bytes]:
    return [message.update for message in person.messages if isinstance(message, Update)]


def counts(person: Person) -> list[int]:
    return [message.messages for message in person.messages if isinstance(message, Durable)]


async def outage(at: House) -> None:
    """From here on nothing is committed until `available` is true again."""
    await at.recorder.flush()
    at.journal.available = False


async def back(at: House) -> None:
    at.journal.available = True
    await at.recorder.flush()


async def test_each_update_comes_back_to_its_sender_after_its_commit() -> None:
    async with house() as at:
        room = await at.room()
        ada, bob = at.join(room, acknowledge=Acknowledge.ECHO), at.join(room)
        updates = typed("a", "b", "c")
        for update in updates:
            ada.send(Update(update))
        assert echoes(ada) == []
        await at.recorder.flush()
        assert echoes(ada) == updates == echoes(bob)


async def test_the_own_protocol_counts_what_is_durable() -> None:
    async with house() as at:
        room = await at.room()
        ada = at.join(room, acknowledge=Acknowledge.COUNT)
        first, second, third = typed("a", "b", "c")
        ada.send(SyncStep2(first))
        await at.recorder.flush()
        ada.send(Update(second))
        ada.send(Update(third))
        await at.recorder.flush()
        assert counts(ada) == [1, 3]


async def test_nothing_is_acknowledged_while_the_journal_is_away() -> None:
    async with house() as at:
        room = await at.room()
        ada, bob = at.join(room, acknowledge=Acknowledge.ECHO), at.join(room, acknowledge=Acknowledge.COUNT)
        await outage(at)
        mine, theirs = typed("mine", client_id=1), typed("theirs", client_id=2)
        ada.send(Update(mine[0]))
        bob.send(Update(theirs[0]))
        assert echoes(bob) == mine  # edits go on
        assert echoes(ada) == theirs
        assert counts(bob) == []
        await back(at)
        assert echoes(ada) == theirs + mine
        assert counts(bob) == [1]


async def test_an_update_that_is_known_already_is_acknowledged_when_what_the_room_holds_is_durable() -> None:
    async with house() as at:
        room = await at.room()
        ada, bob = (at.join(room, acknowledge=Acknowledge.COUNT) for _ in range(2))
        (update,) = typed("once")
        await outage(at)
        ada.send(Update(update))
        bob.send(Update(update))  # it had it from Ada
        assert counts(bob) == []
        await back(at)
        assert counts(ada) == counts(bob) == [1]
        bob.send(Update(update))
        assert counts(bob) == [1, 2]


async def test_what_was_set_aside_is_acknowledged_with_the_answer_that_brings_it_again() -> None:
    async with house() as at:
        room = await at.room()
        ada = at.join(room, acknowledge=Acknowledge.COUNT)
        first, second, third = typed("a", "b", "c")
        doc: Doc[Any] = Doc()
        for update in (first, second, third):
            doc.apply_update(update)
        ada.send(SyncStep2(b"\x00\x00"))
        ada.send(Update(second))  # needs the first
        ada.send(Update(third))
        ada.send(Update(typed("z", client_id=99)[0]))  # is taken, and counts only after those before it
        await at.recorder.flush()
        assert counts(ada) == [1]
        ada.send(SyncStep2(doc.get_update()))
        await at.recorder.flush()
        assert counts(ada) == [1, 5]


async def test_what_a_viewer_sends_is_never_acknowledged() -> None:
    async with house() as at:
        room = await at.room()
        for how in (Acknowledge.ECHO, Acknowledge.COUNT):
            viewer = at.join(room, Role.VIEWER, acknowledge=how)
            viewer.send(Update(typed("no")[0]))
            await at.recorder.flush()
            assert not [message for message in viewer.messages if isinstance(message, Update | Durable)]


async def test_a_big_update_is_acknowledged_piece_by_piece_and_counted_once() -> None:
    async with house() as at:
        room = await at.room()
        ada, bob = at.join(room, acknowledge=Acknowledge.ECHO), at.join(room, acknowledge=Acknowledge.COUNT)
        for number, person in enumerate((ada, bob), start=1):
            doc: Doc[Any] = Doc(client_id=number)
            text = doc.get("content", type=Text)
            for _ in range(100):
                text.insert(0, "word " * 200)
            person.send(Update(doc.get_update()))
            await until(lambda: not room.taking_in)
        await at.recorder.flush()
        copy: Doc[Any] = Doc()
        for update in echoes(ada):
            copy.apply_update(update)
        assert len(copy.get("content", type=Text)) == 2 * 100 * 1_000
        assert counts(bob) == [1]


async def test_whoever_has_left_is_sent_nothing() -> None:
    async with house() as at:
        room = await at.room()
        ada = at.join(room, acknowledge=Acknowledge.ECHO)
        ada.send(Update(typed("bye")[0]))
        room.leave(ada.member)
        await at.recorder.flush()
        assert echoes(ada) == []


async def test_repeats_without_end_are_refused_while_the_journal_is_away() -> None:
    async with house() as at:
        room = await at.room()
        ada = at.join(room, acknowledge=Acknowledge.COUNT)
        await outage(at)
        update = Update(typed("again")[0])
        for _ in range(MOST_REPEATS + 1):
            ada.send(update)
        with pytest.raises(Refused) as refused:
            ada.send(update)
        assert refused.value.reason is Close.JOURNAL_FULL
        at.journal.available = True


# What comes back from others must not look like an acknowledgement


class Editor:
    """A person's own copy, which makes real updates."""

    def __init__(self, client_id: int, *updates: bytes) -> None:
        self.doc: Doc[Any] = Doc(client_id=client_id)
        self.text: Text = self.doc.get("content", type=Text)
        for update in updates:
            self.doc.apply_update(update)

    def delete(self, start: int, end: int) -> bytes:
        found: list[bytes] = []
        subscription = self.doc.observe(lambda event: found.append(event.update))
        del self.text[start:end]
        self.doc.unobserve(subscription)
        return found[0]


def deleted(messages: list[Message]) -> int:
    """How many deletions these messages bring."""
    return sum(len(read_update(message.update)[1]) for message in messages if isinstance(message, SyncStep2 | Update))


async def test_a_sync_answer_holds_ones_own_deletions_back_until_they_are_durable() -> None:
    async with house() as at:
        room = await at.room()
        ada = at.join(room, acknowledge=Acknowledge.ECHO)
        (update,) = typed("some words")
        ada.send(Update(update))
        editor = Editor(9, update)
        await outage(at)
        ada.send(Update(editor.delete(0, 4)))
        room.leave(ada.member)
        again = at.join(room, acknowledge=Acknowledge.ECHO)
        again.send(SyncStep1(editor.doc.get_state()))
        assert [type(message) for message in again.messages].count(SyncStep2) == 1
        assert deleted(again.messages) == 0
        await back(at)
        assert deleted(again.messages) == 1


async def test_nothing_overtakes_a_large_answer_that_waits() -> None:
    """What others write builds on it, and a CRDT that gets things out of order may leave one out for good."""
    async with house() as at:
        room = await at.room()
        ada, bob = at.join(room, acknowledge=Acknowledge.ECHO), at.join(room)
        (update,) = typed("some words " * 4_000, client_id=3)
        bob.send(Update(update))
        mine = Editor(9)
        mine.text.insert(0, "mine")
        ada.send(Update(mine.doc.get_update()))
        await outage(at)
        ada.send(Update(mine.delete(0, 2)))
        room.leave(ada.member)
        again = at.join(room, acknowledge=Acknowledge.ECHO)
        again.send(SyncStep1(mine.doc.get_state()))
        theirs = Editor(8, update)
        before = theirs.doc.get_state()
        theirs.text.insert(5, "built upon")
        bob.send(Update(theirs.doc.get_update(before)))
        assert not any(isinstance(message, SyncStep2 | Update) for message in again.messages)
        await back(at)
        answer, news = (message for message in again.messages if isinstance(message, SyncStep2 | Update))
        assert isinstance(answer, SyncStep2)
        assert b"built upon" in news.update


async def test_a_diff_after_falling_behind_holds_ones_own_deletions_back_too() -> None:
    async with house() as at:
        room = await at.room()
        ada, bob = at.join(room, acknowledge=Acknowledge.ECHO), at.join(room)
        (update,) = typed("some words")
        ada.send(Update(update))
        editor = Editor(9, update)
        await outage(at)
        ada.member.fell_behind()
        ada.send(Update(editor.delete(0, 4)))
        bob.send(Update(typed("theirs", client_id=8)[0]))
        seen = len(ada.messages)
        ada.member.caught_up()
        assert any(b"theirs" in message.update for message in ada.messages[seen:] if isinstance(message, Update))
        assert deleted(ada.messages) == 0
        await back(at)
        assert deleted(ada.messages) >= 1


@pytest.mark.parametrize("crowd", [0, 12])  # alone, and in a room that gathers
async def test_the_same_deletion_by_another_waits_for_ones_own_commit(crowd: int) -> None:
    async with house() as at:
        room = await at.room()
        ada, bob = at.join(room, acknowledge=Acknowledge.ECHO), at.join(room)
        readers = [at.join(room) for _ in range(crowd)]
        (update,) = typed("some words")
        bob.send(Update(update))
        await outage(at)
        ada.send(Update(Editor(9, update).delete(0, 4)))
        other = Editor(8, update)
        for number in range(20 * bool(crowd)):
            bob.send(Update(typed("x", client_id=100 + number)[0]))
        bob.send(Update(other.delete(0, 6)))
        before = other.doc.get_state()
        other.text.insert(0, "new")
        bob.send(Update(other.doc.get_update(before)))
        room.members.flush()
        assert any(b"new" in update for update in echoes(ada))  # what was typed comes at once
        assert deleted(ada.messages) == 0
        assert all(deleted(reader.messages) for reader in readers)
        await back(at)
        assert deleted(ada.messages) >= 2


async def test_anothers_sync_answer_that_repeats_ones_edit_waits_for_its_commit() -> None:
    async with house() as at:
        room = await at.room()
        ada, bob, eve = at.join(room, acknowledge=Acknowledge.ECHO), at.join(room), at.join(room)
        await outage(at)
        (mine,) = typed("mine", client_id=1)
        ada.send(Update(mine))
        copy = Editor(2, mine)
        copy.text.insert(0, "offline")
        answer = copy.doc.get_update()
        bob.send(SyncStep2(answer))
        assert echoes(ada) == []
        assert echoes(eve) == [mine, answer]
        await back(at)
        assert set(echoes(ada)) == {mine, answer}


async def test_what_comes_behind_a_sync_answer_that_waits_does_not_overtake_it() -> None:
    """One that is cut off in between would hold something nobody can complete, and be refused for good elsewhere."""
    async with house() as at:
        room = await at.room()
        ada = at.join(room, acknowledge=Acknowledge.ECHO)
        bob = at.join(room)
        at.journal.available = False
        ada.send(Update(typed("mine")[0]))
        first, second = typed("b", "c", client_id=8)
        heard = len(ada.messages)
        bob.send(SyncStep2(first))
        bob.send(Update(second))
        assert ada.messages[heard:] == []
        at.journal.available = True
        await until(lambda: Update(second) in ada.messages)
        others = [message.update for message in ada.messages if isinstance(message, Update)]
        assert [update for update in others if update in {first, second}] == [first, second]


async def test_one_that_comes_back_is_shown_what_it_wrote_before_once_that_is_durable() -> None:
    async with house() as at:
        room = await at.room()
        ada = at.join(room, acknowledge=Acknowledge.ECHO)
        (mine,) = typed("mine", client_id=1)
        await outage(at)
        ada.send(Update(mine))
        room.leave(ada.member)  # its acknowledgement is lost
        again = at.join(room, acknowledge=Acknowledge.ECHO)
        again.send(SyncStep1(Editor(1, mine).doc.get_state()))
        again.send(Awareness((AwarenessEntry(1, 1, b"{}"),)))
        assert not any(b"mine" in update for update in echoes(again))
        await back(at)
        assert sum(b"mine" in update for update in echoes(again)) == 1


def test_cutting_the_deletes_off_an_update_loses_nothing() -> None:
    editor = Editor(1, *typed("a few words", client_id=3))
    editor.text.insert(2, "more ")
    editor.delete(0, 3)
    whole = editor.doc.get_update()
    structs, deletes = cut_deletes(whole)
    assert read_update(structs)[1] == [] == read_update(deletes)[0]
    for parts in ((structs, deletes), (deletes, structs)):
        copy: Doc[Any] = Doc()
        for part in parts:
            copy.apply_update(part)
        assert str(copy.get("content", type=Text)) == str(editor.text)
        assert copy.get_update() == whole
