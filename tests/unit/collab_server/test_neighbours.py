"""Which other tasks live: heard at once, gone when they say so or after silence, and never because we slept."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from collab_server.bus_memory import MemoryBus, MemoryNetwork
from collab_server.control import Control
from collab_server.neighbours import ALIVE_EVERY_S, GONE_AFTER_S, Neighbours
from collab_server.telemetry import Metrics
from tests.unit.collab_server.rooms.parts import until
from tests.unit.collab_server.test_control import listening


class Task:
    """A task with a clock that the test moves."""

    def __init__(self, network: MemoryNetwork, name: str, speaks: frozenset[int]) -> None:
        self.network = network
        self.bus = MemoryBus(name, network)
        self.metrics = Metrics()
        self.control = Control(self.bus, self.metrics)
        self.now = 1_000.0
        self.neighbours = Neighbours(self.control, self.metrics, speaks=speaks, clock=lambda: self.now)
        self.gone: list[str] = []
        self.neighbours.on_gone.append(self.gone.append)

    @property
    def sees(self) -> set[str]:
        return set(self.neighbours.living)


@asynccontextmanager
async def cluster(**speaks: set[int]) -> AsyncIterator[list[Task]]:
    network = MemoryNetwork()
    made = [Task(network, name, frozenset(versions)) for name, versions in speaks.items()]
    async with listening((task.bus, task.control) for task in made):
        yield made


async def test_one_word_of_a_newcomer_makes_everyone_known_to_everyone() -> None:
    async with cluster(one={1}, two={1}, three={1}) as (one, two, three):
        one.neighbours.say_alive()
        await until(lambda: one.sees == {"two", "three"})
        await until(lambda: two.sees == {"one", "three"} and three.sees == {"one", "two"})
        assert one.metrics.registry.get_sample_value("collab_neighbours") == 2


async def test_who_leaves_is_gone_at_once_and_who_is_silent_after_a_while() -> None:
    async with cluster(one={1}, two={1}, three={1}) as (one, two, three):
        one.neighbours.say_alive()
        await until(lambda: one.sees == {"two", "three"})
        two.neighbours.say_leaving()
        await until(lambda: one.sees == {"three"})
        one.now += GONE_AFTER_S - 0.1
        one.neighbours.look()
        assert one.sees == {"three"}
        one.now += 0.2
        one.neighbours.look()
        assert one.sees == set()
        assert one.gone == ["two", "three"]
        three.neighbours.say_alive()
        await until(lambda: one.sees == {"three"})  # it had only been cut off


async def test_a_task_that_was_stopped_itself_takes_nobody_for_dead() -> None:
    async with cluster(one={1}, two={1}) as (one, two):
        two.neighbours.say_alive()
        await until(lambda: one.sees == {"two"})
        one.now += 60
        one.neighbours.look(late_s=60 - ALIVE_EVERY_S)
        assert one.sees == {"two"}
        one.now += GONE_AFTER_S + ALIVE_EVERY_S
        one.neighbours.look()
        assert one.sees == set()


async def test_the_common_versions_are_those_that_every_living_task_reads() -> None:
    async with cluster(one={1, 2}, two={1}) as (one, two):
        assert one.neighbours.common_versions() == {1, 2}
        two.neighbours.draining = True
        two.neighbours.say_alive()
        await until(lambda: one.sees == {"two"})
        assert one.neighbours.common_versions() == {1}
        assert one.neighbours.living["two"].draining


async def test_who_has_left_does_not_come_back_by_what_it_does_at_its_end() -> None:
    """After a failed start of its last part a task says that it leaves first, and drains then."""
    async with cluster(one={1}, two={1}, three={1}) as (one, two, three):
        one.neighbours.say_alive()
        await until(lambda: one.sees == {"two", "three"})
        two.neighbours.say_leaving()
        two.neighbours.draining = True
        two.neighbours.say_alive()
        three.neighbours.draining = True
        three.neighbours.say_alive()
        await until(lambda: one.neighbours.living["three"].draining)
        assert one.sees == {"three"}
