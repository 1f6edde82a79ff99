"""A big document at the bound of its size: what is measured, what begins, what is refused."""

from __future__ import annotations

import pytest
from pycrdt import Text

from collab_server.errors import Close, Refused
from collab_server.firewall import check_state_vector
from collab_server.rooms.bounds import RoomBounds
from collab_server.wire.messages import SyncStep2, Update
from tests.unit.collab_server.rooms.big_parts import BIG, document, typed, uploaded
from tests.unit.collab_server.rooms.parts import house, until


def bounded(max_document_bytes: int) -> RoomBounds:
    return RoomBounds(warn_document_bytes=1_000, max_document_bytes=max_document_bytes)


async def test_a_big_update_that_would_end_at_the_documents_bound_does_not_begin() -> None:
    async with house(bounds=bounded(len(BIG) - 10_000)) as home:
        room = await home.room()
        author = home.join(room)
        author.send(Update(BIG))
        await until(lambda: bool(author.refusals))
        assert author.refusals[0].reason is Close.DOCUMENT_FULL
        assert room.clocks == {}


async def test_of_a_big_update_only_what_is_new_counts_for_the_bound() -> None:
    async with house(bounds=bounded(len(BIG) + len(BIG) // 4)) as home:
        room = await home.room()
        author = await uploaded(home, room)
        doc = document([BIG])
        doc.get("content", type=Text).insert(0, "news")
        author.send(SyncStep2(doc.get_update()))
        await until(lambda: not author.member.is_held)
        assert not author.refusals
        assert room.clocks == check_state_vector(doc.get_state())


async def test_a_big_document_from_storage_counts_for_the_bound() -> None:
    async with house() as home:
        await uploaded(home, await home.room())
        await home.recorder.flush()
        async with house(storage=home, bounds=bounded(len(BIG))) as tight:
            with pytest.raises(Refused) as refused:
                tight.join(await tight.room()).send(Update(typed("x" * 20_000)))
            assert refused.value.reason is Close.DOCUMENT_FULL


async def test_a_big_document_that_may_be_below_its_bound_is_measured_before_anyone_is_refused() -> None:
    most = len(BIG) + len(BIG) // 4
    async with house(bounds=bounded(most)) as home:
        room = await home.room()
        author = await uploaded(home, room)
        await room.renew_snapshot()
        doc = document([BIG])
        text = doc.get("content", type=Text)
        encoded = room.encoded_bytes
        while encoded is not None and encoded <= most and not author.refusals:  # all of it is deleted again
            before = doc.get_state()
            text.insert(0, "words " * 1_000)
            author.send(Update(doc.get_update(before)))
            before = doc.get_state()
            del text[0:6_000]
            author.send(Update(doc.get_update(before)))
            encoded = room.encoded_bytes
        author.send(Update(typed("over")))
        assert room.has_old_snapshot
        await until(lambda: not room.has_old_snapshot)
        assert (room.encoded_bytes or 0) < most
        for _ in range(5):
            author.send(Update(typed("words " * 1_000)))


async def test_while_a_big_document_is_measured_it_passes_its_bound_by_a_sixteenth_at_most() -> None:
    most = len(BIG) + len(BIG) // 4
    async with house(bounds=bounded(most)) as home:
        room = await home.room()
        author = await uploaded(home, room)
        await room.renew_snapshot()
        refused = None
        while refused is None:
            try:
                author.send(Update(typed("words " * 1_000)))
            except Refused as refusal:
                refused = refusal
        assert refused.reason is Close.DOCUMENT_FULL
        assert most < (room.encoded_bytes or 0) <= most + most // 16
