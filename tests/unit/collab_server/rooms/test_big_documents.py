"""Big updates and documents in a room: piece by piece, in order, whole in the end, and never much at once."""

from __future__ import annotations

import asyncio

from pycrdt import Text

from collab_server.big_work import BOUNDS
from collab_server.errors import Close, Refused
from collab_server.firewall import check_state_vector
from collab_server.rooms.offload import Offload
from collab_server.update_split import split_update
from collab_server.wire.awareness import AwarenessEntry
from collab_server.wire.lib0 import encode_state_vector
from collab_server.wire.messages import Awareness, SyncStep2, Update
from persistence.sandbox import Sandbox
from tests.unit.collab_server.rooms.big_parts import (
    BIG,
    LARGEST_STEP_BYTES,
    clocks_of,
    document,
    joined,
    typed,
    updates_in,
    uploaded,
)
from tests.unit.collab_server.rooms.parts import house, until


async def test_a_big_update_reaches_the_others_and_the_journal_in_small_pieces() -> None:
    async with house() as home:
        room = await home.room()
        reader = home.join(room)
        await uploaded(home, room)
        relayed = updates_in(reader.messages)
        assert len(relayed) > 5
        assert max(map(len, relayed)) < LARGEST_STEP_BYTES
        assert document(relayed).get_update() == BIG
        await home.recorder.flush()
        rows = [row.update for row in await home.journal.unfolded(room.document.id)]
        assert sorted(rows) == sorted(relayed)
        assert room.clocks == clocks_of(BIG)


async def test_what_its_sender_sends_next_waits_for_it_and_what_others_send_does_not() -> None:
    async with house() as home:
        room = await home.room()
        author, other, reader = home.join(room), home.join(room), home.join(room)
        author.send(Update(BIG))
        after, meanwhile = typed("after"), typed("meanwhile")
        author.send(Update(after))
        assert author.member.is_held
        other.send(Update(meanwhile))
        assert updates_in(reader.messages) == [meanwhile]
        await until(lambda: not author.member.is_held)
        assert updates_in(reader.messages)[-1] == after
        assert author.transport.pauses == [True, False]


async def test_an_answer_in_one_big_message_may_be_followed_by_another() -> None:
    async with house() as home:
        room = await home.room()
        author = home.join(room)
        author.send(SyncStep2(BIG))
        author.send(Update(BIG))
        await until(lambda: author.transport.pauses == [True, True, False])
        assert room.clocks == clocks_of(BIG)
        assert not author.refusals


async def test_the_same_document_from_two_members_is_journaled_once() -> None:
    async with house() as home:
        room = await home.room()
        first, second = home.join(room), home.join(room)
        first.send(Update(BIG))
        second.send(Update(BIG))
        await until(lambda: not first.member.is_held and not second.member.is_held)
        await home.recorder.flush()
        rows = [row.update for row in await home.journal.unfolded(room.document.id)]
        assert sum(map(len, rows)) < 1.1 * len(BIG)
        assert document(rows).get_update() == BIG


async def test_a_big_update_whose_sender_closes_right_behind_it_is_taken_in_and_all_it_wrote_after_it() -> None:
    async with house() as home:
        room = await home.room()
        author, reader = home.join(room), home.join(room)
        after = document([BIG])
        before = after.get_state()
        after.get("content", type=Text).insert(0, "last words")
        author.send(Update(BIG))
        author.send(Update(after.get_update(before)))
        author.send(Awareness((AwarenessEntry(5, 1, b"{}"),)))
        room.leave(author.member)  # what a close frame in the same segment does
        room.leave(reader.member)
        assert not room.is_empty
        await until(lambda: room.is_empty)
        assert document([room.diff(b"\x00")]).get_update() == after.get_update()
        assert len(room.cursors) == 0
        await home.recorder.flush()
        rows = await home.journal.unfolded(room.document.id)
        assert document([row.update for row in rows]).get_update() == after.get_update()


async def test_when_the_sender_is_expelled_what_was_taken_in_is_a_sound_part_and_the_rest_can_follow() -> None:
    async with house() as home:
        room = await home.room()
        author, reader = home.join(room), home.join(room)
        author.send(Update(BIG))
        await until(lambda: len(updates_in(reader.messages)) >= 2)
        author.member.close(Refused(Close.EXPIRED))
        room.leave(author.member)
        taken = len(updates_in(reader.messages))
        await until(lambda: not author.member.is_held)
        assert len(updates_in(reader.messages)) == taken
        part = document(updates_in(reader.messages))
        assert check_state_vector(part.get_state()) == room.clocks
        again = home.join(room)
        again.send(SyncStep2(BIG))
        await until(lambda: again.transport.pauses == [True, False])
        assert document(updates_in(reader.messages)).get_update() == BIG


async def test_a_big_update_with_a_gap_has_no_effect_and_its_sender_is_asked() -> None:
    first = typed("x" * 100)
    base = document([first])
    base.get("content", type=Text).insert(50, "y" * 100_000)
    builds_on = base.get_update(document([first]).get_state())
    async with house() as home:
        room = await home.room()
        author = home.join(room)
        author.member.awaiting_sync = False
        author.send(Update(builds_on))
        await until(lambda: not author.member.is_held)
        assert room.clocks == {}
        assert author.member.awaiting_sync
        author.send(SyncStep2(builds_on))
        await until(lambda: room.second_look.is_over(author.member.writer.look) and author.member.awaiting_sync)
        author.send(SyncStep2(builds_on))
        await until(lambda: bool(author.refusals))
        assert author.refusals[0].reason is Close.UPDATE_REFUSED


async def test_a_big_update_that_the_firewall_refuses_costs_its_sender_the_seat_and_nothing_else() -> None:
    async with house() as home:
        room = await home.room()
        author, reader = home.join(room), home.join(room)
        author.send(Update(BIG + b"\x00"))
        await until(lambda: bool(author.refusals))
        assert author.refusals[0].reason is Close.UPDATE_REFUSED
        assert "trailing" in author.refusals[0].detail
        assert room.clocks == {}
        assert not updates_in(reader.messages)


async def test_a_big_document_comes_back_from_storage_whole() -> None:
    async with house() as home:
        room = await home.room()
        await uploaded(home, room)
        await home.recorder.flush()
        async with house(storage=home) as restarted:
            again = await restarted.room()
            assert again.clocks == clocks_of(BIG)
            assert not again.has_old_snapshot  # what was folded just now
            reader = joined(restarted, again)
            assert document(updates_in(reader.messages)).get_update() == BIG


async def test_a_joiner_gets_a_big_document_in_pieces_and_the_sync_answer_last() -> None:
    async with house() as home:
        room = await home.room()
        author = await uploaded(home, room)
        author.send(Update(typed("and more")))
        reader = joined(home, room)
        kinds = [type(message) for message in reader.messages if isinstance(message, Update | SyncStep2)]
        assert kinds[:-1] == [Update] * (len(kinds) - 1)
        assert kinds[-1] is SyncStep2
        assert max(map(len, updates_in(reader.messages))) < LARGEST_STEP_BYTES
        assert str(document(updates_in(reader.messages)).get("content", type=Text)) == "and more"
        assert check_state_vector(document(updates_in(reader.messages)).get_state()) == room.clocks


async def test_a_joiner_who_has_a_part_gets_what_it_lacks_and_little_else() -> None:
    half = {client: end // 2 for client, end in clocks_of(BIG).items()}
    async with house() as home:
        room = await home.room()
        await uploaded(home, room)
        reader = joined(home, room, encode_state_vector(clocks_of(BIG)))
        assert sum(map(len, updates_in(reader.messages))) < 0.1 * len(BIG)
        reader = joined(home, room, encode_state_vector(half))
        sent = updates_in(reader.messages)
        assert sum(map(len, sent)) < 0.75 * len(BIG)
        partial = document(part_below(half))
        for update in sent:
            partial.apply_update(update)
        assert check_state_vector(partial.get_state()) == room.clocks


def part_below(clocks: dict[int, int]) -> list[bytes]:
    """The pieces of the big document that one at `clocks` holds."""
    pieces = split_update(BIG, {}, BOUNDS)
    return [piece.update for piece in pieces if all(end <= clocks[client] for client, end in piece.ends)]


async def test_one_who_reads_slowly_during_an_upload_is_caught_up_in_pieces() -> None:
    async with house() as home:
        room = await home.room()
        author, reader = home.join(room), home.join(room)
        author.send(Update(BIG))
        await until(lambda: len(updates_in(reader.messages)) >= 2)
        reader.member.fell_behind()
        before = len(updates_in(reader.messages))
        await until(lambda: not author.member.is_held)
        assert len(updates_in(reader.messages)) == before
        reader.member.caught_up()
        relayed = updates_in(reader.messages)
        assert max(map(len, relayed)) < LARGEST_STEP_BYTES
        assert document(relayed).get_update() == BIG


async def test_one_who_falls_behind_in_a_big_document_gets_just_what_it_missed() -> None:
    async with house() as home:
        room = await home.room()
        author = await uploaded(home, room)
        reader = joined(home, room)
        reader.member.fell_behind()
        before = len(reader.messages)
        author.send(Update(typed("missed")))
        assert len(reader.messages) == before
        reader.member.caught_up()
        assert sum(map(len, updates_in(reader.messages[before:]))) < 1_000
        assert str(document(updates_in(reader.messages)).get("content", type=Text)) == "missed"


async def test_every_joiner_is_sent_the_same_bytes_and_nothing_is_encoded_for_it() -> None:
    async with house() as home:
        room = await home.room()
        await uploaded(home, room)
        first, second = joined(home, room), joined(home, room)
        assert first.transport.frames[1:] == second.transport.frames[1:]
        large = [frame for frame in first.transport.frames if len(frame) > 10_000]
        assert large
        others = {id(frame) for frame in second.transport.frames}
        assert all(id(frame) in others for frame in large)


async def test_a_document_that_was_edited_much_is_folded_again_while_edits_go_on() -> None:
    async with house() as home:
        room = await home.room()
        author = await uploaded(home, room)
        doc = document([BIG])
        text = doc.get("content", type=Text)
        news: list[bytes] = []
        subscription = doc.observe(lambda event: news.append(event.update))
        while not room.has_old_snapshot:
            text.insert(0, "words " * 2_000)
            del text[0:9_000]
            for update in news:
                author.send(Update(update))
            news.clear()
        renewing = asyncio.create_task(room.renew_snapshot())
        await asyncio.sleep(0)
        text.insert(0, "meanwhile ")
        author.send(Update(news[-1]))
        await renewing
        doc.unobserve(subscription)
        assert not room.has_old_snapshot
        reader = joined(home, room)
        again = document(updates_in(reader.messages))
        assert str(again.get("content", type=Text)) == str(text)
        assert check_state_vector(again.get_state()) == room.clocks


async def test_of_all_steps_that_wait_for_the_loop_one_is_taken_a_turn() -> None:
    sandbox = Sandbox()
    offload = Offload(sandbox, big_update_bytes=1, timeout_s=1)
    taken = 0
    most = 0

    async def steps() -> None:
        nonlocal taken
        for _ in range(20):
            async with offload.turn():
                taken += 1

    async def others() -> None:
        nonlocal most
        while taken < 100:
            before = taken
            await asyncio.sleep(0)
            most = max(most, taken - before)

    await asyncio.gather(others(), *(steps() for _ in range(5)))
    assert most == 1
    await sandbox.close()


# Bounds
