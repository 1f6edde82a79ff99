"""One world: two tasks over one set of stores, a few people, and a seeded run of misfortunes; then all is healed.

`simulate(seed)` runs it and raises `Failed` with the trace when a promise was broken. The same seed gives the same
world, callback for callback. Nothing in here waits on anything real.
"""

from __future__ import annotations

import asyncio
import gc
import hashlib
import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from collab_server.rooms.registry import Registry, RoomRules
from persistence.blobs_memory import MemoryBlobs
from persistence.catalog_memory import MemoryCatalog
from persistence.checkpointer import Checkpointer
from persistence.checkpoints_memory import MemoryCheckpointTable
from persistence.histories_memory import MemoryHistories
from persistence.history_memory import MemoryHistory
from persistence.journal_memory import MemoryJournal
from persistence.leases_memory import MemoryLeaseTable
from persistence.replay import replay
from tests.simulation.checker import Checker, text_of
from tests.simulation.clients import Client
from tests.simulation.log_watch import listening
from tests.simulation.loop import Process, SimulatedLoop, at_once
from tests.simulation.network import LossyNetwork
from tests.simulation.outsider import Outsider
from tests.simulation.task import ServerTask

HEALED_WITHIN_S = 60.0
FOLDED_WITHIN_S = 90.0  # the longest wait for a checkpoint, after some that failed: their pauses double from 10 s


@dataclass(frozen=True, slots=True)
class Parts:
    """The classes that a world is made of; a test of the simulation puts a broken one in."""

    registry: Callable[..., Registry] = Registry
    checkpointer: Callable[..., Checkpointer] = Checkpointer
    table: Callable[[MemoryJournal], MemoryCheckpointTable] = MemoryCheckpointTable
    compare_every_s: float = 3.0
    instead: Mapping[Any, Any] = field(default_factory=dict)  # functions that workers run → what they run instead


REAL = Parts()


class Failed(Exception):
    """A promise was broken in the world of `seed`."""

    def __init__(self, seed: int, cause: BaseException, trace: list[str]) -> None:
        super().__init__(f"seed {seed}: {type(cause).__name__}: {cause}")
        self.seed = seed
        self.trace = trace


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a world came to."""

    steps: int
    simulated_s: float
    rows: int
    generations: int
    entries: list[tuple[float, int, str, tuple[Any, ...]]]

    @property
    def trace(self) -> list[str]:
        """Everything that happened."""
        return [line(entry) for entry in self.entries]

    @property
    def print(self) -> str:
        """A digest of everything that happened."""
        told = "\n".join(self.trace) + str((self.steps, self.simulated_s))
        return hashlib.sha256(told.encode()).hexdigest()[:16]


@dataclass(frozen=True, slots=True)
class Plan:
    """What kind of world a seed makes."""

    pause_s: float  # between two things a client does, on average half of it
    misfortunes: int
    lasts_s: float
    error_rate: float
    loss: float  # of envelopes
    backlog_bytes: int
    has_outsider: bool
    rules: RoomRules
    tasks: tuple[str, ...] = ("one", "two")

    @classmethod
    def of(cls, seed: int) -> Plan:
        """What the world of `seed` will be like."""
        chance = random.Random(f"plan {seed}")
        return cls(
            pause_s=chance.choice((0.3, 0.6, 1.2)),
            misfortunes=chance.randrange(7),
            lasts_s=chance.uniform(2.0, 6.0),
            error_rate=chance.choice((0.0, 0.0, 0.05, 0.2)),
            loss=chance.choice((0.0, 0.1, 0.4)),
            backlog_bytes=chance.choice((3_000, 1_000_000)),
            has_outsider=chance.random() < 0.25,
            rules=RoomRules(
                checkpoint_after_updates=chance.choice((1, 2, 3, 6)),
                checkpoint_after_bytes=100_000,
                checkpoint_after_s=chance.choice((0.5, 2.0)),
                grace_s=chance.choice((0.0, 1.0, 30.0)),
            ),
        )


class World:
    """See the module."""

    def __init__(self, seed: int, parts: Parts) -> None:
        self.seed = seed
        self.parts = parts
        self.chance = chance = random.Random(seed)
        random.seed(seed)  # the jitter of recorder and registry
        self.plan = self.drawn_plan()
        self.loop = SimulatedLoop(chance)
        self.trace: list[tuple[float, int, str, tuple[Any, ...]]] = []
        self.is_settling = False  # who is away comes back and stays; they go on writing
        self.is_healing = self.is_over = False
        self.is_spoilt = False  # a blob was; then a document may be beyond reading for a while
        self.erased: set[str] = set()
        self.catalog = MemoryCatalog()
        self.document = at_once(self.catalog.find_or_create("play"))
        self.journal = MemoryJournal(self.catalog)
        self.table = parts.table(self.journal)
        self.history = MemoryHistory(self.table, self.catalog)
        self.leases = MemoryLeaseTable(self.journal)
        self.histories = MemoryHistories(self.catalog, self.journal, self.table)
        self.blobs = MemoryBlobs()
        self.checker = Checker(self, self.document.id, self.table, self.blobs)
        self.network = self.laid_network()
        self.tasks = [ServerTask(self, name, chance) for name in self.plan.tasks]
        self.clients = self.people()
        self.outsider = Outsider(self) if self.plan.has_outsider else None

    def drawn_plan(self) -> Plan:
        """What kind of world this one is to be."""
        return Plan.of(self.seed)

    def laid_network(self) -> LossyNetwork:
        """The bus between the tasks."""
        return LossyNetwork(self.loop, self.chance, self.plan.loss)

    def people(self) -> Sequence[Client]:
        """Those who write."""
        return [Client(self, number, self.chance) for number in range(self.chance.randrange(2, 5))]

    def note(self, what: str, *about: Any) -> None:
        """A line of the trace; put together only when somebody reads it."""
        self.trace.append((self.loop.now, self.loop.steps, what, about))

    def unseen(self, *_: Any) -> None:
        """What no promise is about."""

    async def run(self) -> None:
        """All of it."""
        loop = self.loop
        for task in self.tasks:
            task.weather.error_rate = self.plan.error_rate
            task.weather.worker_failure_rate = self.plan.error_rate / 2
            task.start()
        for client in self.clients:
            loop.create_task(client.live())
        if self.outsider is not None:
            loop.create_task(self.outsider.live())
        for _ in range(self.plan.misfortunes):
            await asyncio.sleep(self.chance.random() * self.plan.lasts_s / self.plan.misfortunes)
            loop.interrupt(self.chance.randrange(60), self._strike)
        await asyncio.sleep(self.chance.random() * self.plan.lasts_s)
        await self.heal()
        await self._check()
        self.is_over = True

    # Misfortunes

    def _strike(self) -> None:
        if self.is_healing or self.is_settling:
            return
        task = self.chance.choice(self.tasks)
        what = self.chance.choice(self.misfortunes())
        if task.is_alive:
            what(task)

    def misfortunes(self) -> Sequence[Callable[[ServerTask], None]]:
        """What may happen to a task; what is there twice happens twice as often."""
        return (
            *(self.crash, self.crash, self.store_away, self.store_away),
            *(self.freeze, self._freeze_amid_checkpoint, self._freeze_amid_checkpoint),
            *(self.checkpoint, self.break_room, self.drain, self.cut, self._spoil),
        )

    def crash(self, task: ServerTask) -> None:
        task.kill()
        self.loop.outside(self.chance.random() * 2, task.start)

    def freeze(self, task: ServerTask) -> None:
        self._stop(task.process, self.chance.choice((0.1, 1.0, 5.0)))

    def _freeze_amid_checkpoint(self, task: ServerTask) -> None:
        """F08: between two of its steps, for as long as others need for a few of them."""
        for room in task.registry.rooms.values():
            if room.dirty_updates:
                self.checkpoint(task)
                self.loop.interrupt(self.chance.randrange(10, 30), partial(self._stop, task.process, 5.0))

    def _stop(self, process: Process, for_s: float) -> None:
        if process.alive and not self.is_healing:
            self.note("%s stands still", process.name)
            process.frozen = True
            self.loop.outside(for_s, self.thaw, process)

    def thaw(self, process: Process) -> None:
        if process.frozen:
            self.note("%s goes on", process.name)
            process.frozen = False

    def store_away(self, task: ServerTask) -> None:
        store = self.chance.choice(("journal", "table", "blobs"))
        tasks = self.chance.choice(([task], self.tasks))
        self.note("%s is away from %s", store, [each.name for each in tasks])
        for each in tasks:
            each.weather.away.add(store)
        self.loop.outside(self.chance.choice((0.05, 0.5, 3.0)), self._store_back, store, tasks)

    def _store_back(self, store: str, tasks: list[ServerTask]) -> None:
        self.note("%s is back", store)
        for each in tasks:
            each.weather.away.discard(store)

    def cut(self, task: ServerTask) -> None:
        task_id = task.bus.task_id
        self.note("%s is cut off the bus", task_id)
        self.network.cut(task_id)
        self.loop.outside(self.chance.choice((0.1, 1.0, 4.0)), self.network.mend, task_id)

    def checkpoint(self, task: ServerTask) -> None:
        """An administrator asks for one."""
        for room in task.registry.rooms.values():
            self.note("%s is asked for a checkpoint", task.process.name)
            self.loop.create_task(task.registry.checkpoint(room), context=task.context)

    def break_room(self, task: ServerTask) -> None:
        """As a CRDT failure does: it is rebuilt, or given up."""
        for room in list(task.registry.rooms.values()):
            self.note("the room on %s breaks", task.process.name)
            end = room.rebuild.begin if self.chance.random() < 0.8 else room.reload
            self.loop.call_soon(end, context=task.context)

    def drain(self, task: ServerTask) -> None:
        self.note("%s drains", task.process.name)
        self.loop.create_task(task.drain(), context=task.context)
        self.loop.outside(self.chance.uniform(0.1, 12.0), self._end_of_drain, task, task.process)

    def _end_of_drain(self, task: ServerTask, process: object) -> None:
        if task.process is process:
            task.kill()
        task.start()

    def _spoil(self, _task: ServerTask) -> None:
        """One checkpoint rots or vanishes; never a second one, which is more than is promised to be survived."""
        generations = at_once(self.table.snapshot(self.document.id)).generations
        if not self.is_spoilt and generations:
            self.is_spoilt = True
            key = self.chance.choice(generations).key
            self.note("the blob of generation %s rots", key.rsplit("/")[-1][:8])
            self.blobs._bodies[key] = b"rotten" + self.blobs._bodies[key]

    # The end

    async def heal(self) -> None:
        """From now on all goes well: wait until everybody holds the same."""
        self.note("all is healed")
        self.is_healing = True
        self.network.loss = 0.0
        for task in self.tasks:
            task.weather.clear_up()
            self.thaw(task.process)
            task.start()
            self.network.mend(task.bus.task_id)
        if self.outsider is not None:
            await self.outsider.finish()
        until = self.loop.now + HEALED_WITHIN_S
        while True:
            for task in self.tasks:
                task.start()
                self.loop.create_task(task.open(), context=task.context)
            if self.outsider is not None:
                self.outsider.tell()
            self.network.compare_all()
            await asyncio.sleep(1.5)
            differing = self._differing()
            if not differing:
                return
            if self.loop.now > until:
                self.checker.violated(f"no agreement {HEALED_WITHIN_S:.0f} s after healing: {differing}")

    def _differing(self) -> dict[str, str]:
        """The texts by who holds them, when they differ or somebody is not there; empty when all agree."""
        texts = {"storage": self.checker.stored_text()}
        for task in self.tasks:
            room = task.registry.rooms.get(self.document.name) if task.is_alive else None
            is_sound = room is not None and not room.rebuild.is_under_way
            texts[task.name] = text_of(replay(room.diff(b"\x00"), ())) if room and is_sound else "(no room)"
            if task.recorder.backlog_rows:
                texts["backlog"] = task.name
        for client in self.clients:
            here = client.connection is not None and client.synced and client.connection.is_open_for(client)
            texts[f"client {client.number}"] = str(client.text) if here else "(not here)"
        return texts if len(set(texts.values())) > 1 else {}

    async def _check(self) -> None:
        await self._until_folded()
        self.checker.look_through()
        agreed = str(self.clients[0].text)
        self.checker.check_text("what everyone agrees on", agreed, self.erased)
        for way, text in self.checker.cold_loads().items():
            self.checker.check_text(way, text, self.erased)
            if text != agreed:
                self.checker.violated(f"{way} gives another text: {text!r} instead of {agreed!r}")

    async def _until_folded(self) -> None:
        """Every row gets into a checkpoint although nobody writes any more."""
        if self.outsider is not None or self.is_spoilt:
            return  # what an outsider brings late is folded with the next edit; a rotten blob can be found too late
        until = self.loop.now + FOLDED_WITHIN_S
        while left := self.checker.unfolded():
            if self.loop.now > until:
                self.checker.violated(f"{left} rows are in no checkpoint, and nobody is going to make one")
            await asyncio.sleep(0.5)


def simulate(seed: int, parts: Parts = REAL, kind: Callable[[int, Parts], World] = World) -> Outcome:
    """Run the world of that kind that `seed` makes. Raises `Failed`."""
    jitter = random.getstate()
    collects = gc.isenabled()
    gc.disable()  # a finalizer of one world must not run in another
    try:
        world = kind(seed, parts)
        with listening(world):
            try:
                world.loop.run(world.run())
            except Exception as error:
                raise Failed(seed, error, [line(entry) for entry in world.trace]) from error
        checker = world.checker
        return Outcome(world.loop.steps, world.loop.now, checker.committed, checker.newest, world.trace)
    finally:
        if collects:
            gc.enable()
        random.setstate(jitter)


def line(entry: tuple[float, int, str, tuple[Any, ...]]) -> str:
    """An entry of the trace for people."""
    now, step, what, about = entry
    return f"{now:9.4f} s {step:6}  {what % about}"
