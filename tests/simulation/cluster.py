"""A cluster of two to four tasks over a bus that nobody would want: promise 2, everyone converges.

Envelopes are lost, doubled and late, a task hears nothing or is cut off for a while, some are killed or stand still;
and people edit text with formats, a map and an array, leave, and come back to another task. They write until the very
moment at which the bus is well again, so that the last thing said may be what was lost. Five seconds later everybody
holds the same: nobody types, reconnects or opens anything to bring that about.
"""

from __future__ import annotations

import asyncio
import random
import re
from collections.abc import Callable, Sequence
from typing import Any

from pycrdt import Array, Doc, Map, Text

from collab_server.rooms.triggers import RoomRules
from persistence.replay import replay
from persistence.state_vectors import decode
from tests.simulation.clients import Client
from tests.simulation.loop import SimulatedLoop
from tests.simulation.network import LossyNetwork, SimulatedBus
from tests.simulation.task import ServerTask
from tests.simulation.world import Plan, World

EQUAL_WITHIN_S = 5.0
LOOKS_EVERY_S = 0.25
BACK_WITHIN_S = 60.0
TASKS = ("one", "two", "three", "four")
KEYS = "abc"
ARRIVES_WITHIN_S = 1.0  # a late envelope, or the second copy of one


class BadNetwork(LossyNetwork):
    """A bus that loses, doubles and reorders without telling anyone; `deaf` are tasks that hear nothing now."""

    def __init__(self, loop: SimulatedLoop, chance: random.Random, loss: float, doubled: float, late: float) -> None:
        super().__init__(loop, chance, loss)
        self.doubled = doubled
        self.late = late
        self.deaf: set[str] = set()

    def carry(self, batch: list[bytes]) -> None:
        for bus in list(self._buses):
            if self.reaches(bus) and bus.task_id not in self.deaf:
                assert isinstance(bus, SimulatedBus)
                for envelope in batch:
                    self._carry_one(bus, envelope)

    def _carry_one(self, bus: SimulatedBus, envelope: bytes) -> None:
        chance = self._chance
        if chance.random() < self.loss:
            self.lost += 1
        elif chance.random() < self.late:
            self._later(bus, chance.random() * ARRIVES_WITHIN_S, bus.hear, envelope)
        else:
            bus.way.send(envelope)
        if chance.random() < self.doubled:
            self._later(bus, chance.random() * ARRIVES_WITHIN_S, bus.hear, envelope)

    def hear_again(self, task_id: str) -> None:
        """The end of being deaf, and of what is known to have been missed."""
        self.deaf.discard(task_id)
        for bus in self._buses:
            if bus.task_id == task_id:
                self._later(bus, 0.0, bus.back_online)

    def be_well(self) -> None:
        """From now on everything arrives, once and in its order; who was cut off or deaf learns that, as ever."""
        self.loss = self.doubled = self.late = 0.0
        for task_id in list(self._cut):
            self.mend(task_id)
        for task_id in list(self.deaf):
            self.hear_again(task_id)


class Editor(Client):
    """One who edits more than text."""

    def __init__(self, world: World, number: int, chance: random.Random) -> None:
        super().__init__(world, number, chance)
        self.map: Map[Any] = self.doc.get("map", type=Map)
        self.array: Array[Any] = self.doc.get("array", type=Array)

    def edit_besides(self, token: str, chance: random.Random) -> None:
        """A format, a key, an element, or one of them less; or nothing."""
        match chance.randrange(8):
            case 0 | 1:
                # Whole tokens: what stands instead of one would stand inside it, until its deletion comes too.
                bounds = [0, *(at.end() for at in re.finditer(";", str(self.text)))]
                start, end = sorted((chance.choice(bounds), chance.choice(bounds)))
                self.text.format(start, end, {chance.choice(KEYS): chance.choice((True, None))})
            case 2:
                self.map[chance.choice(KEYS)] = token
            case 3 if len(self.map):
                del self.map[chance.choice(sorted(self.map.to_py() or ()))]
            case 4:
                self.array.insert(chance.randrange(len(self.array) + 1), token)
            case 5 if len(self.array):
                del self.array[chance.randrange(len(self.array))]
            case _:
                pass


def content(document: Doc[Any]) -> tuple[Any, ...]:
    """All that a copy holds: text with formats, map, array, and how much of each client."""
    text, keys, array = (document.get(name, type=kind) for name, kind in ROOTS)
    return text.diff(), keys.to_py(), array.to_py(), sorted(decode(document.get_state()).items())


ROOTS: tuple[tuple[str, Any], ...] = (("content", Text), ("map", Map), ("array", Array))


class ClusterWorld(World):
    """See the module."""

    network: BadNetwork

    def drawn_plan(self) -> Plan:
        chance = random.Random(f"cluster {self.seed}")
        return Plan(
            pause_s=chance.choice((0.3, 0.6)),
            misfortunes=chance.randrange(5),
            lasts_s=chance.uniform(1.5, 4.0),
            error_rate=0.0,
            loss=chance.choice((0.0, 0.2, 0.2, 0.4)),
            backlog_bytes=1_000_000,
            has_outsider=False,
            rules=RoomRules(
                checkpoint_after_updates=chance.choice((6, 40)),
                checkpoint_after_bytes=100_000,
                checkpoint_after_s=2.0,
                grace_s=chance.choice((0.0, 1.0, 30.0)),
            ),
            tasks=TASKS[: chance.randrange(2, 5)],
        )

    def laid_network(self) -> LossyNetwork:
        chance = random.Random(f"bus {self.seed}")
        shares = 0.0, 0.2
        return BadNetwork(self.loop, self.chance, self.plan.loss, chance.choice(shares), chance.choice(shares))

    def people(self) -> Sequence[Client]:
        return [Editor(self, number, self.chance) for number in range(self.chance.randrange(2, 6))]

    def misfortunes(self) -> Sequence[Callable[[ServerTask], None]]:
        return (
            *(self.cut, self.cut, self.cut, self.deafen, self.deafen, self.part),
            *(self.crash, self.crash, self.store_away, self.store_away),
            *(self.freeze, self.break_room, self.drain, self.checkpoint),
        )

    def deafen(self, task: ServerTask) -> None:
        """It is heard, but hears nothing: its listening connection is lost and it has not noticed."""
        task_id = task.bus.task_id
        self.note("%s is deaf", task_id)
        self.network.deaf.add(task_id)
        self.loop.outside(self.chance.choice((0.1, 1.0, 4.0)), self.network.hear_again, task_id)

    def part(self, _task: ServerTask) -> None:
        """All of them lose the bus, and get it back one after the other."""
        for task in self.tasks:
            if task.is_alive:
                self.cut(task)

    async def heal(self) -> None:
        """First everybody is back and goes on writing over a bus that is bad; then it is well, and nobody writes."""
        await self._settle()
        self.note("the bus is well")
        self.is_healing = True
        self.network.be_well()
        until = self.loop.now + EQUAL_WITHIN_S
        while differing := self._different():
            if self.loop.now > until:
                self.checker.violated(f"not equal {EQUAL_WITHIN_S:.0f} s after the bus was well: {differing}")
            self._start_the_dead()
            await asyncio.sleep(LOOKS_EVERY_S)
        self.note("all are equal")

    async def _settle(self) -> None:
        self.note("all come back")
        self.is_settling = True
        for task in self.tasks:
            task.weather.clear_up()
            self.thaw(task.process)
        until = self.loop.now + BACK_WITHIN_S
        while away := [client.number for client in self.clients if not self._is_here(client)]:
            if self.loop.now > until:
                self.checker.violated(f"clients {away} do not get back in")
            self._start_the_dead()
            await asyncio.sleep(LOOKS_EVERY_S)

    def _start_the_dead(self) -> None:
        for task in self.tasks:
            task.start()

    @staticmethod
    def _is_here(client: Client) -> bool:
        return client.connection is not None and client.synced and client.connection.is_open_for(client)

    def _different(self) -> dict[str, Any]:
        """What each copy holds, when they differ or somebody is not there; empty when all agree."""
        copies: dict[str, Any] = {"storage": content(replay(None, self.checker.rows))}
        for client in self.clients:
            copies[f"client {client.number}"] = content(client.doc) if self._is_here(client) else "(not here)"
        for task in self.tasks:
            room = task.registry.rooms.get(self.document.name) if task.is_alive else None
            if room is not None and not room.is_empty:
                is_sound = not room.rebuild.is_under_way
                copies[task.name] = content(replay(room.diff(b"\x00"), ())) if is_sound else "(being rebuilt)"
        usual = copies["storage"]
        return copies if any(copy != usual for copy in copies.values()) else {}
