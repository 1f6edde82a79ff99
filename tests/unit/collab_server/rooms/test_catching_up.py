"""What one that fell behind is given: not its own edits, which look like an acknowledgement, nor all at once."""

from __future__ import annotations

from typing import Any

from pycrdt import Doc, Text

from collab_server.firewall import check_update
from collab_server.wire.messages import SyncStep1, SyncStep2, Update
from tests.unit.collab_server.rooms.parts import Person, house


def clients_in(person: Person, after: int) -> set[int]:
    """Whose operations `person` was sent since its first `after` frames."""
    found: set[int] = set()
    for message in person.messages[after:]:
        if isinstance(message, Update | SyncStep2):
            found |= {client for client, _end in check_update(message.update, dict.fromkeys(range(400), 10**6)).clocks}
    return found


def typing(client_id: int, word: str) -> bytes:
    doc: Doc[Any] = Doc(client_id=client_id)
    doc.get("content", type=Text).insert(0, word)
    update: bytes = doc.get_update()
    return update


async def test_one_that_types_while_it_is_behind_is_not_sent_its_own_edits() -> None:
    async with house() as here:
        room = await here.room()
        other, slow = here.join(room), here.join(room)
        slow.member.fell_behind()
        frames = len(slow.transport.frames)
        slow.send(Update(typing(1, "mine")))
        other.send(Update(typing(2, "theirs")))
        assert here.recorder.durable < room.ticket  # nothing is committed yet
        slow.member.caught_up()
        assert clients_in(slow, frames) == {2}


async def test_one_that_falls_behind_within_a_tick_is_not_sent_its_own_edits() -> None:
    async with house() as here:
        room = await here.room()
        crowd = [here.join(room) for _ in range(12)]
        slow = crowd[0]
        for number in range(240):
            crowd[1].send(Update(typing(100 + number, "word")))
        slow.send(Update(typing(1, "mine")))
        assert room.members.waiting_updates
        frames = len(slow.transport.frames)
        slow.member.fell_behind()
        slow.member.caught_up()
        assert here.recorder.durable < room.ticket
        assert 1 not in clients_in(slow, frames)


async def test_one_that_missed_a_big_upload_is_caught_up_a_mark_at_a_time() -> None:
    async with house() as here:
        room = await here.room()
        writer, slow = here.join(room), here.join(room)
        for number in range(6):
            writer.send(Update(typing(10 + number, "x" * 60_000)))
        assert room.encoded_bytes is not None  # it is kept in pieces
        slow.member.fell_behind()
        for number in range(40):
            writer.send(Update(typing(100 + number, "x" * 60_000)))
            await here.recorder.flush()
        mark_bytes = 300_000

        def count() -> None:
            if not slow.member.outbox.congested and sum(map(len, slow.transport.frames[since:])) > mark_bytes:
                slow.member.fell_behind()

        slow.transport.on_write = count
        sent = []
        since = len(slow.transport.frames)
        for _ in range(30):
            since = len(slow.transport.frames)
            if slow.member.outbox.congested:
                slow.member.caught_up()
            sent.append(sum(map(len, slow.transport.frames[since:])))
        assert max(sent) <= mark_bytes + 2 * 64 * 1024
        doc: Doc[Any] = Doc()
        for message in slow.messages:
            if isinstance(message, Update):
                doc.apply_update(message.update)
        assert len(str(doc.get("content", type=Text))) == 46 * 60_000


async def test_one_that_comes_back_to_a_big_document_is_not_sent_its_own_edits() -> None:
    async with house() as here:
        room = await here.room()
        writer = here.join(room)
        for number in range(6):
            writer.send(Update(typing(10 + number, "x" * 60_000)))
        assert room.encoded_bytes is not None  # it is kept in pieces
        await here.recorder.flush()
        writer.send(Update(typing(1, "mine")))
        room.leave(writer.member)
        again = here.join(room)
        again.send(SyncStep1(room.state_vector()))  # its client has everything
        assert here.recorder.durable < room.ticket
        assert 1 not in clients_in(again, 0)
