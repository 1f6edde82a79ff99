"""A draining task's rooms are open on its neighbours before its members come (F21)."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, replace
from functools import partial

import pytest

from collab_server.bus_memory import MemoryNetwork
from collab_server.control import Control
from collab_server.handover import HANDING_OVER, NAMES_A_WORD, OPEN_AT_ONCE, Handover
from collab_server.neighbours import Neighbours
from persistence.catalog import CatalogUnavailable, Document
from persistence.catalog_memory import MemoryCatalog
from tests.unit.collab_server.rooms.parts import RULES, House, RoomRules, house, until


class WatchedCatalog:
    """The memory catalog, which notes how many look for a document at once; `away` refuses as an outage does."""

    def __init__(self, inner: MemoryCatalog) -> None:
        self._inner = inner
        self.looked = self.looking = self.most = 0
        self.away = False

    async def find(self, name: str) -> Document | None:
        if self.away:
            raise CatalogUnavailable("away")
        self.looked += 1
        self.looking += 1
        self.most = max(self.most, self.looking)
        await asyncio.sleep(0.001)
        self.looking -= 1
        return await self._inner.find(name)

    find_or_create = record_content = None  # opening a room that is handed over makes and notes nothing


@dataclass
class Task:
    """One task of a cluster."""

    home: House
    control: Control
    neighbours: Neighbours
    handover: Handover
    catalog: WatchedCatalog

    @property
    def rooms(self) -> set[str]:
        return set(self.home.registry.rooms)

    def figure(self, name: str) -> float | None:
        return self.home.metrics.registry.get_sample_value(name)


@asynccontextmanager
async def cluster(count: int, rules: RoomRules = RULES) -> AsyncIterator[list[Task]]:
    """Tasks on one storage that know each other."""
    network = MemoryNetwork()
    async with AsyncExitStack() as stack:
        tasks: list[Task] = []
        for _ in range(count):
            storage = tasks[0].home if tasks else None
            home = await stack.enter_async_context(house(rules, network, storage))
            control = Control(home.bus, home.metrics)
            neighbours = Neighbours(control, home.metrics, speaks=frozenset({1}))
            catalog = WatchedCatalog(home.catalog)
            handover = Handover(control, neighbours, home.registry, catalog, home.metrics)  # type: ignore[arg-type]
            await control.start()
            stack.push_async_callback(control.close)
            stack.push_async_callback(handover.close)
            tasks.append(Task(home, control, neighbours, handover, catalog))
        tasks[0].neighbours.say_alive()
        await until(lambda: all(len(task.neighbours.living) == count - 1 for task in tasks))
        yield tasks


async def documents(task: Task, count: int) -> list[str]:
    names = [f"room-{number}" for number in range(count)]
    for name in names:
        await task.home.catalog.find_or_create(name)
    return names


async def test_neighbours_open_each_room_once_and_a_few_at_a_time() -> None:
    async with cluster(3) as (leaving, *others):
        names = await documents(leaving, 2 * NAMES_A_WORD + 5)
        leaving.handover.give(names)
        for other in others:
            opened = partial(other.figure, "collab_rooms_handed_over_total")
            await until(lambda opened=opened: opened() == len(names))  # type: ignore[misc]
            assert other.rooms == set(names)
            assert other.figure("collab_room_load_seconds_count") == len(names)
            assert 1 < other.catalog.most <= OPEN_AT_ONCE
            assert other.neighbours.living[leaving.control.task_id].draining
        assert leaving.rooms == set()


async def test_a_room_that_nobody_comes_to_is_dropped_after_its_grace_like_any_other() -> None:
    async with cluster(2, replace(RULES, grace_s=0.1)) as (leaving, other):
        (name,) = await documents(leaving, 1)
        leaving.handover.give([name])
        await until(lambda: other.figure("collab_rooms_handed_over_total") == 1)
        await until(lambda: other.rooms == set())


async def test_a_member_who_is_faster_shares_the_load() -> None:
    async with cluster(2) as (leaving, other):
        (name,) = await documents(leaving, 1)
        leaving.handover.give([name])
        room = await other.home.room(name)
        other.home.join(room)
        await until(lambda: other.neighbours.living[leaving.control.task_id].draining and other.catalog.looking == 0)
        assert other.home.registry.rooms[name] is room
        assert other.figure("collab_room_load_seconds_count") == 1


async def test_no_more_rooms_are_opened_than_may_be_open() -> None:
    async with cluster(2, replace(RULES, max_rooms=3)) as (leaving, other):
        names = await documents(leaving, 10)
        leaving.handover.give(names)
        await until(lambda: len(other.rooms) == 3 and other.catalog.looking == 0)
        before = other.catalog.looked
        leaving.handover.give(names[3:])
        await until(lambda: other.catalog.looked > before and other.catalog.looking == 0)
        assert other.rooms == set(names[:3])


async def test_a_task_that_drains_itself_opens_nothing_for_another() -> None:
    async with cluster(2) as (leaving, other):
        names = await documents(leaving, 3)
        other.handover.give([])
        leaving.handover.give(names)
        await until(lambda: leaving.neighbours.living[other.control.task_id].draining)
        other.handover.give(names)  # nor does the first one, which drains as well
        assert (leaving.rooms, other.rooms, other.catalog.most) == (set(), set(), 0)


async def test_a_document_nobody_has_and_a_catalog_that_is_away_cost_nothing_more() -> None:
    async with cluster(2) as (leaving, other):
        (name,) = await documents(leaving, 1)
        other.catalog.away = True
        leaving.handover.give([name])
        other.catalog.away = False
        leaving.handover.give(["no-such-document", name])
        await until(lambda: other.rooms == {name})


async def test_one_that_gives_knows_whether_anybody_hears_it() -> None:
    async with cluster(1) as (only,):
        assert not only.handover.give(["demo"])
    async with cluster(2) as (leaving, _other):
        assert leaving.handover.give([])


@pytest.mark.parametrize("found", [None, "demo", [1], [""], ["x" * 129], ["x"] * (NAMES_A_WORD + 1)])
async def test_what_is_no_list_of_names_is_dropped_and_counted(found: object) -> None:
    async with cluster(2) as (one, other):
        one.control.tell(HANDING_OVER, {"documents": found})
        await until(
            lambda: (
                other.home.metrics.registry.get_sample_value("collab_bus_refused_total", {"reason": "malformed"}) == 1
            )
        )
        assert other.rooms == set()
