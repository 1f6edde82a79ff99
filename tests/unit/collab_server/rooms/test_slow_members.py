"""A member that is dropped while a frame is being sent to everyone takes nothing from the others or the journal."""

from __future__ import annotations

from typing import Any

from pycrdt import Doc, Text

from auth.identity import Identity
from auth.permissions import Role
from collab_server.limits import TokenBucket
from collab_server.rooms.member import Member
from collab_server.rooms.outbox import Outbox
from collab_server.rooms.room import Room
from collab_server.wire import yjs
from collab_server.wire.awareness import AwarenessEntry
from collab_server.wire.messages import Awareness, Update
from tests.unit.collab_server.rooms.parts import House, RecordingTransport, house


def slow_member(room: Room) -> Member:
    """A member whose socket is full: the next frame is one too many, and it leaves at once, as a connection does."""
    transport = RecordingTransport()
    left: list[Member] = []

    def overflow() -> None:
        if not left:
            left.append(member)
            room.leave(member)

    member = Member(
        room,
        Identity("slow", "Slow"),
        Role.EDITOR,
        dialect=yjs,
        outbox=Outbox(transport, 1_000, overflow),
        close=lambda _refusal: None,
        pause_reading=lambda _pause: None,
        address="127.0.0.1",
        syncs=TokenBucket(1, 10),
        now=0.0,
    )
    room.join(member)
    transport.unsent_bytes = 1_000
    member.outbox.congested = True
    return member


def insertion() -> bytes:
    doc: Doc[Any] = Doc()
    doc.get("content", type=Text).insert(0, "hello")
    return doc.get_update()


async def members_around(house: House) -> tuple[Room, Any, Any, list[Member]]:
    """A room of a writer, two slow members that have shown a cursor, and a reader who came last."""
    room = await house.room()
    writer = house.join(room, subject="writer")
    slow = [slow_member(room), slow_member(room)]
    for number, member in enumerate(slow):
        member.outbox.congested = False
        room.share_presence(member, [AwarenessEntry(100 + number, 1, b"{}")], 0.0)
        member.outbox.congested = True
    return room, writer, house.join(room, subject="reader"), slow


async def test_an_update_reaches_the_others_and_the_journal_when_members_are_dropped_on_its_way() -> None:
    async with house() as here:
        room, writer, reader, slow = await members_around(here)
        update = insertion()
        writer.send(Update(update))
        assert Update(update) in reader.messages
        assert not set(slow) & set(room.members)
        await here.recorder.flush()
        assert [row.update for row in await here.journal.unfolded(room.document.id)] == [update]


async def test_the_cursors_of_dropped_members_leave_every_screen() -> None:
    async with house() as here:
        _room, writer, reader, _slow = await members_around(here)
        writer.send(Update(insertion()))
        entries = [entry for message in reader.messages if isinstance(message, Awareness) for entry in message.entries]
        assert {entry.client_id for entry in entries if entry.state == b"null"} == {100, 101}
