"""Rooms come and go: loaded once, checkpointed when due, dropped when empty, never opened empty by mistake."""

from __future__ import annotations

import asyncio
import dataclasses
from uuid import uuid4

import pytest

from collab_server.bus_memory import MemoryNetwork
from collab_server.errors import Close, Refused
from collab_server.wire.messages import Update
from persistence.catalog import Document
from persistence.journal import JournalEntry
from tests.unit.collab_server.rooms.parts import RULES, house, until
from tests.unit.collab_server.rooms.test_replica import typed
from tests.unit.collab_server.rooms.test_room import updates


async def test_a_hundred_who_come_at_once_share_one_load() -> None:
    async with house() as at:
        document = await at.catalog.find_or_create("demo")
        rooms = await asyncio.gather(*(at.registry.open(document) for _ in range(100)))
        assert len(set(map(id, rooms))) == 1
        assert at.metrics.registry.get_sample_value("collab_room_load_seconds_count") == 1


async def test_one_who_gives_up_does_not_take_the_load_from_the_others() -> None:
    async with house() as at:
        document = await at.catalog.find_or_create("demo")
        impatient = asyncio.create_task(at.registry.open(document))
        patient = asyncio.create_task(at.registry.open(document))
        await asyncio.sleep(0)
        impatient.cancel()
        assert (await patient).document == document


async def test_a_document_whose_storage_fails_is_refused_and_opens_later() -> None:
    async with house() as at:
        document = await at.catalog.find_or_create("demo")
        at.journal.available = False
        with pytest.raises(Refused) as refused:
            await at.registry.open(document)
        assert refused.value.reason is Close.ROOM_UNAVAILABLE
        at.journal.available = True
        assert (await at.registry.open(document)).document == document


async def test_a_room_is_checkpointed_after_so_many_updates() -> None:
    async with house(dataclasses.replace(RULES, checkpoint_after_updates=3)) as at:
        room = await at.room()
        ada = at.join(room)
        for update in typed("a", "b", "c"):
            ada.send(Update(update))
        await until(lambda: room.last_checkpoint is not None, 30)
        assert room.last_checkpoint is not None
        assert room.last_checkpoint.generation == 1
        assert await at.journal.unfolded(room.document.id) == []
        assert room.dirty_updates == 0


async def test_a_failed_checkpoint_leaves_the_room_dirty() -> None:
    async with house() as at:
        room = await at.room()
        at.join(room).send(Update(typed("a")[0]))
        await at.blobs.close()
        assert not await at.registry.checkpoint(room)
        assert room.dirty_updates == 1


async def test_an_empty_room_is_dropped_after_the_grace_time_and_comes_back_whole() -> None:
    async with house(dataclasses.replace(RULES, grace_s=0)) as at:
        room = await at.room()
        ada = at.join(room)
        ada.send(Update(typed("kept")[0]))
        room.leave(ada.member)
        at.registry.release(room)
        await until(lambda: not at.registry.rooms, 30)
        again = await at.room()
        assert again is not room
        assert again.clocks == {7: 4}


async def test_a_room_somebody_came_back_to_stays() -> None:
    async with house(dataclasses.replace(RULES, grace_s=0.2)) as at:
        room = await at.room()
        ada = at.join(room)
        room.leave(ada.member)
        at.registry.release(room)
        assert await at.room() is room
        at.join(room)
        await asyncio.sleep(1.2)  # several rounds of housekeeping: the fact is that nothing happens
        assert at.registry.rooms["demo"] is room


async def test_a_broken_room_is_replaced_by_one_from_storage() -> None:
    async with house() as at:
        room = await at.room()
        ada = at.join(room)
        ada.send(Update(typed("kept")[0]))
        await at.recorder.flush()
        room.reload()
        assert ada.refusals[0].reason is Close.ROOM_RELOADED
        again = await at.room()
        assert again is not room
        assert again.clocks == {7: 4}


async def test_two_tasks_share_edits_and_a_late_task_catches_up() -> None:
    network = MemoryNetwork()
    async with house(network=network) as one, house(network=network, storage=one) as two:
        here = await one.room()
        ada = one.join(here)
        first, second = typed("a", "b")
        ada.send(Update(first))
        there = await two.room()  # what was not yet committed is asked of the other task
        bob = two.join(there)
        await until(lambda: there.clocks == {7: 1})
        ada.send(Update(second))
        await until(lambda: updates(bob)[-1:] == [second])
        await one.recorder.flush()
        await two.recorder.flush()
        rows = await one.journal.unfolded(here.document.id)
        assert sorted(row.update for row in rows) == sorted([first, second]), "only the receiving task journals"


async def test_tasks_that_missed_each_other_heal_when_the_bus_is_back() -> None:
    network = MemoryNetwork()
    async with house(network=network) as one, house(network=network, storage=one) as two:
        here, there = await one.room(), await two.room()
        ada, bob = one.join(here), two.join(there)
        network.cut(one.bus.task_id)
        ada.send(Update(typed("ada", client_id=1)[0]))
        bob.send(Update(typed("bob", client_id=2)[0]))
        await one.recorder.flush()
        await two.recorder.flush()
        await asyncio.sleep(0)  # what could be delivered by now would have been
        assert here.clocks == {1: 3}
        assert there.clocks == {2: 3}
        network.mend(one.bus.task_id)
        await until(lambda: here.clocks == there.clocks == {1: 3, 2: 3})


async def test_other_tasks_hear_of_an_edit_only_once_it_is_committed() -> None:
    network = MemoryNetwork()
    async with house(network=network) as one, house(network=network, storage=one) as two:
        here, there = await one.room(), await two.room()
        ada, bob = one.join(here), two.join(there)
        one.journal.available = False
        ada.send(Update(typed("a")[0]))
        here.greet_peers()
        there.greet_peers()  # its answer must wait as well
        await asyncio.sleep(0.1)
        assert there.clocks == {}
        assert updates(bob) == []
        one.journal.available = True
        await until(lambda: there.clocks == {7: 1})


async def test_a_room_whose_newest_edit_is_not_committed_is_kept() -> None:
    async with house(dataclasses.replace(RULES, grace_s=0)) as at:
        room = await at.room()
        ada = at.join(room)
        at.journal.available = False
        ada.send(Update(typed("kept")[0]))
        room.leave(ada.member)
        at.registry.release(room)
        await asyncio.sleep(1.2)  # two rounds of housekeeping: the fact is that nothing happens
        assert at.registry.rooms["demo"] is room
        at.journal.available = True
        await until(lambda: not at.registry.rooms, 30)
        assert (await at.room()).clocks == {7: 4}


async def test_a_room_nobody_took_a_seat_in_is_dropped() -> None:
    async with house(dataclasses.replace(RULES, grace_s=0)) as at:
        room = await at.room()
        at.registry.release(room)
        await until(lambda: not at.registry.rooms)


async def test_edits_made_during_a_checkpoint_make_the_next_one_due() -> None:
    async with house() as at:
        room = await at.room()
        ada = at.join(room)
        first, second = typed("a", "b")
        ada.send(Update(first))
        checkpointing = asyncio.create_task(at.registry.checkpoint(room))
        await asyncio.sleep(0)
        ada.send(Update(second))
        assert await checkpointing
        assert room.dirty_updates == 1


async def test_members_of_a_document_the_journal_refuses_are_sent_back_to_storage() -> None:
    async with house() as at:
        room = await at.registry.open(Document(uuid4(), "deleted-meanwhile", 0))
        ada = at.join(room)
        ada.send(Update(typed("a")[0]))
        await until(lambda: ada.refusals)
        assert ada.refusals[0].reason is Close.ROOM_RELOADED


async def test_who_broke_a_room_may_not_write_to_that_document_for_a_while() -> None:
    async with house() as at:
        room = await at.room()
        at.registry.refused(room, "eve", "crdt_failure", b"\0" * 9)
        at.registry.refused(room, "bob", "truncated", b"\0" * 9)
        assert at.registry.bars(room.document, "eve")
        assert not at.registry.bars(room.document, "bob")
        assert not at.registry.bars(dataclasses.replace(room.document, id=uuid4()), "eve")


async def test_a_row_and_what_it_builds_on_load_in_any_order() -> None:
    async with house() as at:
        document = await at.catalog.find_or_create("demo")
        for update in reversed(typed("a", "b", "c")):
            await at.journal.append([JournalEntry(document.id, update, "ada", (7,), b"\x00")])
        assert (await at.registry.open(document)).clocks == {7: 3}
