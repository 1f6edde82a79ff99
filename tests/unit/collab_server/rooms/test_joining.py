"""A task that opens a room while others write misses nothing, and many that open one at once cost little."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from uuid import UUID

import pytest
from pycrdt import Doc, Text

from collab_server.bus import EnvelopeKind, Receive
from collab_server.bus_memory import MemoryBus, MemoryNetwork
from collab_server.envelopes import came_from, decode
from collab_server.rooms.room import Room
from collab_server.wire.messages import Update
from persistence.checkpoints import Snapshot
from persistence.checkpoints_memory import MemoryCheckpointTable
from tests.unit.collab_server.rooms.parts import House, house, until

NEVER_S = 3_600.0
TURNS = 3


async def some_turns() -> None:
    for _ in range(TURNS):
        await asyncio.sleep(0)


class SlowBus(MemoryBus):
    """Subscriptions take some turns to come into force and to be told of, as over Redis."""

    async def subscribe(self, document_id: UUID | None, receive: Receive) -> None:
        await some_turns()
        await super().subscribe(document_id, receive)
        await some_turns()

    async def unsubscribe(self, document_id: UUID | None, receive: Receive) -> None:
        await some_turns()
        await super().unsubscribe(document_id, receive)
        await some_turns()


class SlowTable(MemoryCheckpointTable):
    """What is stored takes some turns to be read and to arrive."""

    async def snapshot(self, document_id: UUID, base: int | None = None) -> Snapshot:
        await some_turns()
        seen = await super().snapshot(document_id, base)
        await some_turns()
        return seen


class Net(MemoryNetwork):
    """Notes what it carries; whoever is in `mute` is not heard by anybody."""

    def __init__(self) -> None:
        super().__init__()
        self.mute: set[bytes] = set()
        self.kinds: list[EnvelopeKind] = []

    def carry(self, batch: list[bytes]) -> None:
        heard = [wire for wire in batch if not any(came_from(wire, task_id) for task_id in self.mute)]
        self.kinds += [envelope.kind for wire in heard for envelope in decode(wire).envelopes]
        super().carry(heard)


@asynccontextmanager
async def typing(here: House, room: Room) -> AsyncIterator[None]:
    """Someone who types and erases on every turn of the loop."""
    person, doc = here.join(room), Doc()
    text = doc.get("content", type=Text)

    async def type_on() -> None:
        number = 0
        while True:
            before, number = doc.get_state(), number + 1
            if number % 3:
                text.insert(0, f"{number} ")
            else:
                del text[:1]
            person.send(Update(doc.get_update(before)))
            await asyncio.sleep(0)

    typist = asyncio.create_task(type_on())
    try:
        yield
    finally:
        typist.cancel()
        await asyncio.gather(typist, return_exceptions=True)
        await here.recorder.flush()


def same(*rooms: Room) -> bool:
    return len({(tuple(sorted(room.clocks.items())), _text(room)) for room in rooms}) == 1


def _text(room: Room) -> str:
    copy: Doc = Doc()
    copy.apply_update(room.diff(b"\x00"))
    return str(copy.get("content", type=Text))


@pytest.mark.parametrize("is_heard", [False, True], ids=["by listening alone", "with questions"])
async def test_edits_at_every_await_of_a_load_are_in_the_room(is_heard: bool) -> None:
    """Not heard by anybody, the joiner can ask for nothing: what it has it read or heard itself."""
    network = Net()
    async with house(network=network, table_kind=SlowTable, compare_every_s=NEVER_S) as here:
        there = await here.room()
        for _ in range(10):
            async with house(network=network, storage=here, bus_kind=SlowBus, compare_every_s=NEVER_S) as joiner:
                if not is_heard:
                    network.mute.add(joiner.bus.task_id.encode())
                async with typing(here, there):
                    await some_turns()
                    joined = await joiner.room()
                    await some_turns()
                await until(lambda joined=joined: same(joined, there))


async def test_tasks_that_open_a_room_at_once_and_lack_nothing_are_sent_nothing() -> None:
    async with AsyncExitStack() as stack:
        network = Net()
        first = await stack.enter_async_context(house(network=network, compare_every_s=NEVER_S))
        async with typing(first, await first.room()):
            await asyncio.sleep(0.05)
        tasks = [
            await stack.enter_async_context(house(network=network, storage=first, compare_every_s=NEVER_S))
            for _ in range(7)
        ]
        network.kinds.clear()
        rooms = await asyncio.gather(*(task.room() for task in tasks))
        assert same(*rooms, await first.room())
        await asyncio.sleep(0.3)  # the fact is that nothing comes
        assert network.kinds.count(EnvelopeKind.SYNC_REQUEST) == len(tasks)
        assert EnvelopeKind.SYNC_REPLY not in network.kinds


async def test_a_storm_of_questions_costs_each_task_few_answers() -> None:
    async with AsyncExitStack() as stack:
        network = Net()
        tasks = [await stack.enter_async_context(house(network=network, compare_every_s=NEVER_S))]
        tasks += [
            await stack.enter_async_context(house(network=network, storage=tasks[0], compare_every_s=NEVER_S))
            for _ in range(7)
        ]
        rooms = [await task.room() for task in tasks]
        await asyncio.sleep(0.6)
        for task in tasks[1:]:
            network.cut(task.bus.task_id)
        async with typing(tasks[0], rooms[0]):
            await some_turns()
        for task in tasks[1:]:  # they come back together and lack the same
            network.mend(task.bus.task_id)
        network.kinds.clear()
        await until(lambda: same(*rooms))
        await asyncio.sleep(0.3)
        assert network.kinds.count(EnvelopeKind.SYNC_REPLY) <= 3 * len(tasks)
