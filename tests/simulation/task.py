"""One server task without sockets and processes: the real recorder, registry, rooms and checkpointer.

Assembled as `collab_server.assembly` does, over lines to the shared stores. It can be killed between any two callbacks,
frozen, drained and started again, each time with nothing but what the stores hold.
"""

from __future__ import annotations

import asyncio
import random
from collections import deque
from collections.abc import Callable
from contextvars import Context
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from auth.identity import Identity
from auth.permissions import Role
from collab_server.errors import Close, Refused
from collab_server.limits import TokenBucket
from collab_server.rooms.acknowledgements import Acknowledge, Acknowledgements, Acks
from collab_server.rooms.bounds import RoomBounds
from collab_server.rooms.member import Member
from collab_server.rooms.offload import Offload
from collab_server.rooms.outbox import Outbox
from collab_server.rooms.publication import Publication
from collab_server.rooms.registry import Registry
from collab_server.rooms.replica import Replica
from collab_server.rooms.room import Room
from collab_server.telemetry import Metrics
from collab_server.wire import yjs
from persistence.blobs import BlobsUnavailable
from persistence.catalog import CatalogUnavailable, Document
from persistence.checkpoints import CheckpointsUnavailable
from persistence.documents import Documents
from persistence.histories import HistoriesUnavailable
from persistence.history import FIRST_ID, HistoryUnavailable
from persistence.journal import JournalUnavailable
from persistence.leases import LeasesUnavailable
from persistence.pruner import ID_BITS, SHARD_BITS, Pruner
from persistence.recorder import Recorder, RecorderStopped
from persistence.rulings_memory import MemoryRulings
from tests.simulation.clients import CLOSED, LIMITS, OPENED, Client
from tests.simulation.loop import Process, at_once
from tests.simulation.network import SimulatedBus, Wire
from tests.simulation.stores import InLoopSandbox, Line, Weather

if TYPE_CHECKING:
    from tests.simulation.world import World

METRICS = Metrics()  # of all worlds: a registry costs more than a world's first second
DRAIN_S = 5.0
PRUNE_WITHIN_S = 2.0
FAR_FUTURE = datetime(9999, 1, 1, tzinfo=UTC)  # every row is older


class Connection:
    """A client's connection to a task: two wires, and the seat at the task's end."""

    def __init__(self, task: ServerTask, client: Client, chance: random.Random) -> None:
        world = task.world
        self.task = task
        self.client = client
        self.member: Member | None = None
        self.is_over = False
        self.up = Wire(world.loop, chance, task.context, self._received)
        self.down = Wire(world.loop, chance, world.loop.world_context, self._sent)

    def is_open_for(self, client: Client) -> bool:
        """Whether it is the connection of `client` and still leads somewhere."""
        return client.connection is self and not self.is_over

    def seated(self, member: Member) -> None:
        """The task gives its client a seat."""
        self.member = member
        self.down.send(OPENED)

    def end(self) -> None:
        """The task ends it, after all that was sent before."""
        if not self.is_over:
            self.is_over = True
            self.down.send(CLOSED)
            self._leave()

    def broken(self) -> None:
        """The task is gone."""
        self.is_over = True
        self.down.send(CLOSED)

    def hang_up(self) -> None:
        """The client ends it; what it sent before may or may not arrive."""
        if self.task.world.chance.random() < 0.5:
            self.up.cut()
        self.up.send(CLOSED)

    def _leave(self) -> None:
        if self.member is not None:
            self.task.world.loop.call_soon(self.task.left, self, context=self.task.context)

    def _received(self, payload: bytes) -> None:
        if self.is_over or (payload != CLOSED and self.member is None):
            return
        if payload == CLOSED:
            self.is_over = True
            self._leave()
        else:
            self.task.received(self, payload)

    def _sent(self, payload: bytes) -> None:
        self.client.receive(self, payload)


class FrameTransport(asyncio.Transport):
    """Takes the frames written to it apart and sends their payloads down the wire."""

    def __init__(self, down: Wire) -> None:
        super().__init__()
        self._down = down

    def write(self, data: bytes | bytearray | memoryview) -> None:
        rest = bytes(data)
        while rest:
            head = {126: 4, 127: 10}.get(rest[1], 2)
            length = int.from_bytes(rest[2:head], "big") if rest[1] >= 126 else rest[1]
            self._down.send(rest[head : head + length])
            rest = rest[head + length :]

    def get_write_buffer_size(self) -> int:
        return 0


class ServerTask:
    """See the module. `weather` outlives the process, as a bad network does."""

    def __init__(self, world: World, name: str, chance: random.Random) -> None:
        self.world = world
        self.name = name
        self.weather = Weather()
        self._chance = chance
        self._births = 0
        self.connections: list[Connection] = []
        self.process = Process("not started")
        self.process.alive = False
        self.context: Context = self.process.context()
        self.registry: Registry
        self.recorder: Recorder
        self.bus: SimulatedBus
        self.is_draining = False
        self._owed: deque[tuple[int, Client, int]] = deque()

    # Its life

    @property
    def is_alive(self) -> bool:
        return self.process.alive

    def start(self) -> None:
        """A new process, unless one is alive."""
        if not self.is_alive and not self.world.is_over:
            self._births += 1
            self.is_draining = False
            self.process = self.world.loop.add(f"{self.name}.{self._births}")
            self.context = self.process.context()
            self.world.note("%s starts", self.process.name)
            self.context.run(self._assemble)

    def kill(self) -> None:
        """kill -9, now."""
        if self.is_alive:
            self.world.note("%s is killed", self.process.name)
            self.world.loop.kill(self.process)
            self.world.network.leave(self.bus)
            self._owed.clear()
            connections, self.connections = self.connections, []
            for connection in connections:
                connection.broken()

    def _assemble(self) -> None:
        world, parts = self.world, self.world.parts
        loop, chance, weather, checker = world.loop, self._chance, self.weather, world.checker

        def line(store: str, inner: object, failure: type[Exception], seen: Callable[..., None]) -> Line:
            return Line(loop, chance, weather, store, inner, failure, seen)

        journal = line("journal", world.journal, JournalUnavailable, checker.journal)
        table = line("table", world.table, CheckpointsUnavailable, checker.checkpoints)
        blobs = line("blobs", world.blobs, BlobsUnavailable, checker.bodies)
        catalog = line("catalog", world.catalog, CatalogUnavailable, world.unseen)
        leases = line("catalog", world.leases, LeasesUnavailable, world.unseen)
        histories = line("catalog", world.histories, HistoriesUnavailable, world.unseen)
        sandbox = InLoopSandbox(loop, chance, weather, parts.instead)
        self.bus = SimulatedBus(self.process.name, world.network, self.process, chance)
        self.recorder = Recorder(journal, world.plan.backlog_bytes, clock=loop.time)
        offload = Offload(sandbox, big_update_bytes=64 * 1024, timeout_s=60.0, clock=loop.time)
        publication = Publication(self.bus, self.recorder)
        acknowledgements = Acknowledgements(self.recorder)

        def build(document: Document, replica: Replica, registry: Registry) -> Room:
            return Room(
                document,
                replica,
                owner=registry,
                recorder=self.recorder,
                bus=self.bus,
                publication=publication,
                acknowledgements=acknowledgements,
                offload=offload,
                metrics=METRICS,
                awareness_limits=LIMITS,
                max_awareness_ids=4,
                max_coalesce_s=0.025,
                bounds=RoomBounds(),
                compare_every_s=parts.compare_every_s,
            )

        self.registry = parts.registry(
            documents=Documents(table, blobs),
            checkpointer=parts.checkpointer(catalog, table, blobs, sandbox),
            journal=journal,
            leases=leases,
            histories=histories,
            rulings=MemoryRulings(),
            recorder=self.recorder,
            bus=self.bus,
            offload=offload,
            rules=world.plan.rules,
            metrics=METRICS,
            build=build,
            clock=loop.time,
        )
        history = line("table", world.history, HistoryUnavailable, checker.history)
        pruner = Pruner(history, blobs, timedelta(), shards_a_run=1, orphan_after_s=0.0)
        pruner._cursor, pruner._shard = FIRST_ID, world.document.id.int >> ID_BITS - SHARD_BITS
        loop.create_task(self._prune(pruner), context=self.context)
        self.recorder.add_listener(self._durable)
        self.recorder.start()
        self.registry.start()
        at_once(self.bus.start())

    async def _prune(self, pruner: Pruner) -> None:
        """Let go of whatever may go, at once and much too often."""
        while True:
            await asyncio.sleep(self._chance.random() * PRUNE_WITHIN_S)
            pruner._shard = self.world.document.id.int >> ID_BITS - SHARD_BITS
            await pruner.run(FAR_FUTURE)

    async def drain(self) -> None:
        """SIGTERM, as the server does it: members off, journal flushed, rooms checkpointed, end."""
        self.is_draining = True
        for connection in list(self.connections):
            if connection.member is not None:
                connection.member.close(Refused(Close.RESTARTING))
        await asyncio.sleep(0.1)
        try:
            async with asyncio.timeout(DRAIN_S):
                await self.recorder.flush()
            await self.registry.close(self.world.loop.time() + DRAIN_S)
            await self.recorder.stop(1.0)
        except (TimeoutError, RecorderStopped):
            self.world.note("%s could not drain", self.process.name)
        self.world.loop.outside(0.0, self.kill)

    # Connections

    def connect(self, client: Client) -> Connection:
        """Called by a client: begins to seat it."""
        connection = Connection(self, client, self._chance)
        if self.is_alive and not self.is_draining:
            self.connections.append(connection)
            self.world.loop.create_task(self._seat(connection), context=self.context)
        else:
            connection.broken()
        return connection

    async def open(self) -> Room | None:
        """The room, None if it cannot be opened now."""
        try:
            return await self.registry.open(self.world.document)
        except (Refused, RecorderStopped):
            return None

    async def _seat(self, connection: Connection) -> None:
        room = await self.open()
        if room is None or connection.is_over:
            connection.end()
            return
        number = connection.client.number
        outbox = Outbox(FrameTransport(connection.down), 1_000_000, connection.end)
        how = connection.client.acknowledge
        member = Member(
            room,
            Identity(f"client-{number}", f"Client {number}"),
            Role.EDITOR,
            dialect=yjs,
            outbox=outbox,
            close=lambda _refusal: connection.end(),
            pause_reading=bool,
            address="127.0.0.1",
            syncs=TokenBucket(1, 10),
            acks=None if how is Acknowledge.NOTHING else Acks(how, yjs, outbox),
            now=self.world.loop.time(),
        )
        connection.seated(member)
        room.join(member)

    def left(self, connection: Connection) -> None:
        """A connection has ended: free its seat."""
        member = connection.member
        if connection in self.connections:
            self.connections.remove(connection)
        if member is not None:
            member.room.leave(member)
            self.registry.release(member.room)

    def received(self, connection: Connection, payload: bytes) -> None:
        """One message of a client, and what it may rely on once all that the room holds now is durable."""
        member = connection.member
        assert member is not None
        try:
            member.receive(payload, self.world.loop.time())
        except Refused as refusal:
            self.world.note("%s refuses client %d: %s", self.process.name, connection.client.number, refusal.reason)
            member.close(refusal)
        room, client = member.room, connection.client
        if member.expelled or self.registry.rooms.get(room.document.name) is not room:
            return
        covered = client.tokens_until(room.clocks.get(client.id, 0))
        if room.ticket <= self.recorder.durable:
            self.world.checker.promise(client, covered)
        else:
            self._owed.append((room.ticket, client, covered))

    def _durable(self, durable: int) -> None:
        owed = self._owed
        while owed and owed[0][0] <= durable:
            _ticket, client, covered = owed.popleft()
            self.world.checker.promise(client, covered)
