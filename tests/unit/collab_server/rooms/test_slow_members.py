"""Members that read too slowly: what they miss and get back, and that nobody else and no journal pays for it."""

from __future__ import annotations

from functools import partial
from typing import Any

from pycrdt import Doc, Text

from collab_server.wire.awareness import AwarenessEntry
from collab_server.wire.messages import Awareness, Update
from tests.unit.collab_server.rooms.parts import House, Person, house, until


def insertion(text: str = "hello") -> bytes:
    doc: Doc[Any] = Doc()
    doc.get("content", type=Text).insert(0, text)
    return doc.get_update()


def text_of(person: Person) -> str:
    """What the client of `person` shows after all it was sent."""
    doc: Doc[Any] = Doc()
    content = doc.get("content", type=Text)
    for message in person.messages:
        if isinstance(message, Update):
            doc.apply_update(message.update)
    return str(content)


async def members_around(house: House) -> tuple[Person, Person, list[Person]]:
    """A room of a writer, two who have shown a cursor and leave at the next frame, and a reader who came last."""
    room = await house.room()
    writer = house.join(room)
    leaving = [house.join(room), house.join(room)]
    for number, person in enumerate(leaving):
        person.send(Awareness((AwarenessEntry(100 + number, 1, b"{}"),)))
    reader = house.join(room)
    for person in leaving:
        person.transport.on_write = partial(room.leave, person.member)
    return writer, reader, leaving


async def test_an_update_reaches_the_others_and_the_journal_when_members_are_dropped_on_its_way() -> None:
    async with house() as here:
        writer, reader, leaving = await members_around(here)
        room = writer.member.room
        update = insertion()
        writer.send(Update(update))
        assert Update(update) in reader.messages
        assert not {person.member for person in leaving} & set(room.members)
        await here.recorder.flush()
        assert [row.update for row in await here.journal.unfolded(room.document.id)] == [update]


async def test_the_cursors_of_dropped_members_leave_every_screen() -> None:
    async with house() as here:
        writer, reader, _leaving = await members_around(here)
        writer.send(Update(insertion()))
        entries = [entry for message in reader.messages if isinstance(message, Awareness) for entry in message.entries]
        assert {entry.client_id for entry in entries if entry.state == b"null"} == {100, 101}


async def test_a_member_that_fell_behind_gets_nothing_until_it_has_read_and_then_one_diff() -> None:
    async with house() as here:
        room = await here.room()
        writer, slow = here.join(room), here.join(room)
        writer.send(Update(insertion("before ")))
        slow.member.fell_behind()
        frames = len(slow.transport.frames)
        for word in ("one ", "two ", "three "):
            writer.send(Update(insertion(word)))
        writer.send(Awareness((AwarenessEntry(7, 1, b'{"here": true}'),)))
        assert len(slow.transport.frames) == frames
        slow.member.caught_up()
        updates = [message for message in slow.messages if isinstance(message, Update)]
        assert len(updates) == 2  # the first, and one diff
        assert sorted(text_of(slow).split()) == ["before", "one", "three", "two"]
        assert isinstance(slow.messages[-1], Awareness)
        assert [entry.client_id for entry in slow.messages[-1].entries] == [7]
        writer.send(Update(insertion("after ")))
        assert "after" in text_of(slow)
        assert here.metrics.catch_ups.count == here.metrics.fell_behind.count == 1


async def test_a_diff_holds_only_what_the_member_missed() -> None:
    async with house() as here:
        room = await here.room()
        writer, slow = here.join(room), here.join(room)
        writer.send(Update(insertion("x" * 10_000)))
        slow.member.fell_behind()
        writer.send(Update(insertion("news")))
        slow.member.caught_up()
        last = [message for message in slow.messages if isinstance(message, Update)][-1]
        assert len(last.update) < 100


async def test_without_news_nothing_is_sent_again() -> None:
    async with house() as here:
        room = await here.room()
        writer, slow = here.join(room), here.join(room)
        writer.send(Update(insertion()))
        slow.member.fell_behind()
        frames = len(slow.transport.frames)
        slow.member.caught_up()
        assert len(slow.transport.frames) == frames
        assert here.metrics.catch_ups.count == 0


async def test_a_member_that_falls_behind_between_two_ticks_misses_nothing_of_what_was_gathered() -> None:
    async with house() as here:
        room = await here.room()
        writers = [here.join(room) for _ in range(12)]
        slow = here.join(room)
        words = {f"w{number}-{turn} " for turn in range(20) for number in range(12)}
        for word in sorted(words):
            writers[0].send(Update(insertion(word)))
        assert here.metrics.coalesced_updates.count == 0  # they wait for the tick
        assert len(text_of(slow).split()) < len(words)
        slow.member.fell_behind()
        await until(lambda: here.metrics.coalesced_updates.count > 0)
        assert len(text_of(slow).split()) < len(words)
        slow.member.caught_up()
        assert set(text_of(slow).split()) == {word.strip() for word in words}


async def test_one_that_is_too_slow_for_its_diff_falls_behind_again_and_misses_nothing() -> None:
    async with house() as here:
        room = await here.room()
        writer, slow = here.join(room), here.join(room)
        slow.member.fell_behind()
        writer.send(Update(insertion("one ")))
        slow.transport.on_write = slow.member.fell_behind
        slow.member.caught_up()
        slow.transport.on_write = None
        writer.send(Update(insertion("two ")))
        assert slow.member.outbox.congested
        assert text_of(slow) == "one "
        slow.member.caught_up()
        assert sorted(text_of(slow).split()) == ["one", "two"]
