"""What members of one room do to each other, through the member's one choke point."""

from __future__ import annotations

import orjson
import pytest

from auth.permissions import Role
from collab_server.errors import Close, Refused
from collab_server.wire import yjs
from collab_server.wire.awareness import AwarenessEntry
from collab_server.wire.lib0 import encode_state_vector
from collab_server.wire.messages import (
    Awareness,
    PermissionDenied,
    QueryAwareness,
    SyncStep1,
    SyncStep2,
    Update,
)
from tests.unit.collab_server.rooms.parts import Person, house, until
from tests.unit.collab_server.rooms.test_replica import typed


def cursor(client_id: int, clock: int = 1, **state: object) -> Awareness:
    return Awareness((AwarenessEntry(client_id, clock, orjson.dumps(state)),))


def updates(person: Person) -> list[bytes]:
    return [message.update for message in person.messages if isinstance(message, Update)]


async def test_the_received_bytes_reach_every_other_member_and_the_journal() -> None:
    async with house() as at:
        room = await at.room()
        ada, bob, eve = at.join(room), at.join(room), at.join(room)
        (update,) = typed("hello")
        ada.send(Update(update))
        assert updates(bob) == updates(eve) == [update]
        assert updates(ada) == []
        await at.recorder.flush()
        rows = await at.journal.unfolded(room.document.id)
        assert [row.update for row in rows] == [update]


async def test_a_writer_is_asked_for_what_the_room_lacks_and_a_reader_is_not() -> None:
    async with house() as at:
        room = await at.room()
        assert at.join(room).messages == [SyncStep1(b"\x00")]
        assert at.join(room, Role.VIEWER).messages == []


async def test_a_sync_request_is_answered_with_what_the_client_lacks() -> None:
    async with house() as at:
        room = await at.room()
        ada, bob = at.join(room), at.join(room, Role.VIEWER)
        ada.send(Update(typed("hello")[0]))
        bob.send(SyncStep1(b"\x00"))
        answer = next(message for message in bob.messages if isinstance(message, SyncStep2))
        assert b"hello" in answer.update


@pytest.mark.parametrize("role", [Role.VIEWER, Role.COMMENTER])
async def test_a_reader_changes_nothing_and_is_told_once(role: Role) -> None:
    async with house() as at:
        room = await at.room()
        ada, bob = at.join(room), at.join(room, role)
        (update,) = typed("x")
        for message in (SyncStep2(update), Update(update), Update(update)):
            bob.send(message)
        assert room.clocks == {}
        assert updates(ada) == []
        assert [type(message) for message in bob.messages].count(PermissionDenied) == 1


async def test_resent_updates_are_neither_relayed_nor_journaled_again() -> None:
    async with house() as at:
        room = await at.room()
        ada, bob = at.join(room), at.join(room)
        (update,) = typed("hello")
        ada.send(Update(update))
        ada.send(SyncStep2(update))
        assert updates(bob) == [update]
        assert room.updates == 1


async def test_a_gap_asks_that_client_for_a_sync_once_and_the_answer_fills_it() -> None:
    async with house() as at:
        room = await at.room()
        ada, bob = at.join(room), at.join(room)
        first, second, third = typed("a", "b", "c")
        ada.send(SyncStep2(b"\x00\x00"))
        ada.transport.frames.clear()
        ada.send(Update(second))
        ada.send(Update(third))
        assert [type(message) for message in ada.messages] == [SyncStep1]
        assert room.clocks == {}
        for update in (first, second, third):
            ada.send(SyncStep2(update))
        assert room.clocks == {7: 3}
        assert updates(bob) == [first, second, third]


async def test_an_answer_with_a_gap_that_storage_does_not_close_costs_the_client_its_connection() -> None:
    async with house() as at:
        room = await at.room()
        ada = at.join(room)
        ada.send(SyncStep2(typed("a", "b")[1]))
        await until(lambda: room.second_look.is_over(ada.member.writer.look) and ada.member.awaiting_sync)
        with pytest.raises(Refused) as refused:
            ada.send(SyncStep2(typed("a", "b")[1]))
        assert refused.value.reason is Close.UPDATE_REFUSED


async def test_a_refused_update_costs_its_sender_alone_and_leaves_a_note() -> None:
    async with house() as at:
        room = await at.room()
        ada, bob = at.join(room, subject="ada"), at.join(room)
        with pytest.raises(Refused) as refused:
            ada.send(Update(bytes.fromhex("80808040")))
        assert refused.value.reason is Close.UPDATE_REFUSED
        bob.send(Update(typed("hello")[0]))
        assert room.clocks == {7: 5}
        await until(lambda: at.journal.quarantined)
        assert [(note.actor_id, note.size_bytes) for note in at.journal.quarantined] == [("ada", 4)]


async def test_presence_carries_the_verified_identity_and_comes_back_to_its_sender() -> None:
    async with house() as at:
        room = await at.room()
        ada, bob = at.join(room, subject="ada"), at.join(room)
        ada.send(cursor(5, user={"name": "The Queen", "color": "#ff0000"}, cursor=3))
        for person in (ada, bob):
            shown = next(message for message in person.messages if isinstance(message, Awareness))
            state = orjson.loads(shown.entries[0].state)
            assert state == {
                "user": {"id": "ada", "name": "Ada", "role": "editor", "color": "#ff0000"},
                "cursor": 3,
            }


async def test_a_client_that_comes_back_is_asked_to_announce_itself_with_a_new_clock() -> None:
    async with house() as at:
        room = await at.room()
        ada, bob = at.join(room), at.join(room)
        ada.send(cursor(5, clock=3))
        assert ada.messages[-1] == Awareness((AwarenessEntry(5, 3, b"null"),))
        assert isinstance(bob.messages[-1], Awareness)
        assert bob.messages[-1].entries[0].state != b"null"
        ada.transport.frames.clear()
        ada.send(cursor(5, clock=4))
        assert len(ada.messages) == 1, "asked once"


async def test_a_newcomer_sees_who_is_here_and_a_query_is_answered() -> None:
    async with house() as at:
        room = await at.room()
        at.join(room).send(cursor(5))
        bob = at.join(room)
        assert [entry.client_id for entry in bob.messages[-1].entries] == [5]  # type: ignore[union-attr]
        bob.transport.frames.clear()
        bob.send(QueryAwareness())
        assert [entry.client_id for entry in bob.messages[-1].entries] == [5]  # type: ignore[union-attr]


async def test_cursors_of_someone_who_leaves_are_removed_everywhere_with_the_same_clock() -> None:
    async with house() as at:
        room = await at.room()
        ada, bob = at.join(room), at.join(room)
        ada.send(cursor(5, clock=9))
        room.leave(ada.member)
        assert bob.messages[-1] == Awareness((AwarenessEntry(5, 9, b"null"),))
        assert len(room.cursors) == 0


async def test_renewing_a_cursor_or_repeating_that_of_another_does_not_make_anybody_active() -> None:
    """Stock clients renew an unchanged state every 15 s and send back what they hear: nobody need be there."""
    async with house() as at:
        room = await at.room()
        ada, bob = at.join(room, subject="ada"), at.join(room, subject="bob")
        ada.send(cursor(5, clock=1, cursor=1), now=10.0)
        bob.send(cursor(6, clock=1, cursor=1), now=10.0)
        ada.send(cursor(5, clock=2, cursor=1), now=20.0)  # renewed
        ada.send(cursor(6, clock=1, cursor=1), now=30.0)  # repeated
        bob.send(cursor(6, clock=2, cursor=2), now=40.0)  # moved
        assert [here.active_at for here in room.roster.people(now=50.0)] == [10.0, 40.0]


async def test_writing_is_noted_with_its_time_at_the_seat() -> None:
    async with house() as at:
        room = await at.room()
        ada = at.join(room)
        first, second = typed("a", "b")
        ada.send(Update(first), now=10.0)
        assert ada.member.edited_at == 10.0
        ada.send(SyncStep2(second), now=20.0)  # what a client brings when it connects, nobody typed just now
        assert ada.member.edited_at == 10.0


async def test_a_member_cannot_move_the_cursor_of_another() -> None:
    async with house() as at:
        room = await at.room()
        ada, eve, bob = at.join(room), at.join(room), at.join(room)
        ada.send(cursor(5, cursor=1))
        eve.send(cursor(6))
        bob.transport.frames.clear()
        eve.send(cursor(5, clock=100, cursor=2))
        assert bob.messages == []


async def test_a_state_that_is_no_object_costs_its_sender_the_connection() -> None:
    async with house() as at:
        room = await at.room()
        ada = at.join(room)
        for state in (b'"text"', b"NaN", b"[", b"1"):
            with pytest.raises(Refused) as refused:
                ada.send(Awareness((AwarenessEntry(5, 1, state),)))
            assert refused.value.reason is Close.MALFORMED


async def test_edits_are_refused_with_try_again_when_the_journal_is_full() -> None:
    async with house() as at:
        room = await at.room()
        ada = at.join(room)
        at.journal.available = False
        *fitting, over = typed(*("x" * 50_000 for _ in range(19)))
        for stroke in fitting:
            ada.send(Update(stroke))
        with pytest.raises(Refused) as refused:
            ada.send(Update(over))
        assert refused.value.reason is Close.JOURNAL_FULL
        assert Close.JOURNAL_FULL.retry
        at.journal.available = True


async def test_too_many_sync_requests_cost_the_connection() -> None:
    async with house() as at:
        room = await at.room()
        bob = at.join(room, Role.VIEWER)
        for _ in range(10):
            bob.send(SyncStep1(b"\x00"))
        with pytest.raises(Refused) as refused:
            bob.send(SyncStep1(b"\x00"))
        assert refused.value.reason is Close.TOO_FREQUENT


async def test_a_full_journal_turns_away_only_those_who_bring_something_new() -> None:
    async with house() as at:
        room = await at.room()
        ada = at.join(room)
        at.journal.available = False
        *fitting, over = typed(*("x" * 50_000 for _ in range(19)))
        for stroke in fitting:
            ada.send(Update(stroke))
        bob = at.join(room)
        bob.send(SyncStep2(b"\x00\x00"))
        bob.send(SyncStep2(fitting[0]))
        with pytest.raises(Refused):
            bob.send(SyncStep2(over))
        at.journal.available = True


async def test_a_full_journal_asks_again_later_for_what_a_client_that_stays_has_deleted() -> None:
    async with house() as at:
        room = await at.room()
        ada = at.join(room)
        ada.send(SyncStep2(b"\x00\x00"))
        strokes = iter(typed("ab", *("x" * 50_000 for _ in range(18)), *"y" * 300))
        ada.send(Update(next(strokes)))
        await at.recorder.flush()
        at.journal.available = False
        deletes = b"\x00\x01\x07\x01\x00\x01"  # the first clock of client 7
        while at.recorder.accepts(len(deletes)):
            ada.send(Update(next(strokes)))
        taken = room.updates
        ada.send(Update(deletes))
        assert room.updates == taken
        asked = sum(isinstance(message, SyncStep1) for message in ada.messages)
        at.journal.available = True
        await at.recorder.flush()
        await until(lambda: sum(isinstance(message, SyncStep1) for message in ada.messages) > asked)
        ada.send(SyncStep2(deletes))
        assert room.updates == taken + 1


async def test_a_state_that_grows_too_large_with_its_identity_is_dropped_and_nobody_is_closed() -> None:
    async with house() as at:
        room = await at.room()
        ada, bob = at.join(room), at.join(room)
        shown = len(bob.messages)
        filler = "x" * (room.awareness_limits.max_state_bytes - len('{"a":""}'))
        ada.send(cursor(5, a=filler))
        assert len(bob.messages) == shown


async def test_a_state_nested_too_deep_costs_its_sender_the_connection() -> None:
    async with house() as at:
        ada = at.join(await at.room())
        with pytest.raises(Refused) as refused:
            ada.send(Awareness((AwarenessEntry(5, 1, b'{"a":' + b"[" * 300 + b"]" * 300 + b"}"),)))
        assert refused.value.reason is Close.MALFORMED


async def test_presence_that_only_repeats_is_told_apart_from_news() -> None:
    async with house() as at:
        room = await at.room()
        ada, bob = at.join(room), at.join(room)
        assert ada.member.receive(yjs.encode(cursor(5)), 0.0)
        assert bob.member.receive(yjs.encode(cursor(6)), 0.0)
        assert not bob.member.receive(yjs.encode(cursor(5)), 0.0)


async def test_everyone_in_a_large_room_is_shown_in_messages_a_client_can_repeat() -> None:
    async with house() as at:
        room = await at.room()
        for client_id in range(1_201):
            at.join(room).send(cursor(client_id))
        newcomer = at.join(room, Role.VIEWER)
        shown = [message.entries for message in newcomer.messages if isinstance(message, Awareness)]
        assert sum(map(len, shown)) == 1_201
        assert max(map(len, shown)) <= 500


async def test_a_state_vector_of_far_too_many_clients_is_refused_unread() -> None:
    async with house() as at:
        bob = at.join(await at.room(), Role.VIEWER)
        with pytest.raises(Refused) as refused:
            bob.send(SyncStep1(encode_state_vector(dict.fromkeys(range(1, 20000), 1))))
        assert refused.value.reason is Close.MALFORMED


async def test_one_who_does_not_read_may_not_ask_for_more() -> None:
    async with house() as at:
        bob = at.join(await at.room(), Role.VIEWER)
        bob.member.outbox.congested = True
        with pytest.raises(Refused) as refused:
            bob.send(SyncStep1(b"\x00"))
        assert refused.value.reason is Close.TOO_SLOW
