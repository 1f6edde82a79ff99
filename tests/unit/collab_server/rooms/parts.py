"""A registry on memory adapters and members whose socket is a list: everything real but the network."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from uuid import uuid4

from auth.identity import Identity
from auth.permissions import Role
from collab_server.bus_memory import MemoryBus, MemoryNetwork
from collab_server.errors import Refused
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
from collab_server.rooms.triggers import RoomRules
from collab_server.telemetry import Metrics
from collab_server.wire import yjs
from collab_server.wire.awareness import AwarenessLimits
from collab_server.wire.messages import Message
from persistence.blobs_memory import MemoryBlobs
from persistence.catalog import Document
from persistence.catalog_memory import MemoryCatalog
from persistence.checkpointer import Checkpointer
from persistence.checkpoints_memory import MemoryCheckpointTable
from persistence.documents import Documents
from persistence.histories_memory import MemoryHistories
from persistence.journal_memory import MemoryJournal
from persistence.leases_memory import MemoryLeaseTable
from persistence.recorder import Recorder
from persistence.rulings_memory import MemoryRulings
from persistence.sandbox import Sandbox

LIMITS = AwarenessLimits()
RULES = RoomRules(
    checkpoint_after_updates=500,
    checkpoint_after_bytes=1_000_000,
    checkpoint_after_s=60,
    grace_s=30,
    rebuild_timeout_s=60,  # a busy machine starts a worker process in ten seconds
)


class RecordingTransport(asyncio.Transport):
    """Keeps the frames written to it; `unsent_bytes` is what it pretends the peer has not read."""

    def __init__(self) -> None:
        super().__init__()
        self.frames: list[bytes] = []
        self.unsent_bytes = 0
        self.pauses: list[bool] = []
        self.on_write: Callable[[], None] | None = None

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """Keep what is written, a frame each although several may come in one piece."""
        rest = bytes(data)
        while rest:
            end = _head_length(rest) + _payload_length(rest)
            self.frames.append(rest[:end])
            rest = rest[end:]
        if self.on_write is not None:
            self.on_write()

    def get_write_buffer_size(self) -> int:
        return self.unsent_bytes


@dataclass
class Person:
    """A member and what it has been sent."""

    member: Member
    transport: RecordingTransport
    refusals: list[Refused] = field(default_factory=list)

    @property
    def messages(self) -> list[Message]:
        return [yjs.decode(_payload(frame), LIMITS) for frame in self.transport.frames]

    def send(self, message: Message, now: float = 0.0) -> None:
        self.member.receive(yjs.encode(message), now)


def _head_length(frame: bytes) -> int:
    """Of an unmasked frame (RFC 6455 §5.2)."""
    return {126: 4, 127: 10}.get(frame[1], 2)


def _payload_length(frame: bytes) -> int:
    return int.from_bytes(frame[2 : _head_length(frame)], "big") if frame[1] >= 126 else frame[1]


def _payload(frame: bytes) -> bytes:
    return frame[_head_length(frame) :]


@dataclass
class House:
    """Storage and one task's registry over it."""

    registry: Registry
    journal: MemoryJournal
    table: MemoryCheckpointTable
    recorder: Recorder
    blobs: MemoryBlobs
    catalog: MemoryCatalog
    histories: MemoryHistories
    rulings: MemoryRulings
    checkpointer: Checkpointer
    metrics: Metrics
    bus: MemoryBus
    splitters: Sandbox
    sandbox: Sandbox

    async def room(self, name: str = "demo") -> Room:
        return await self.registry.open(await self.catalog.find_or_create(name))

    def join(
        self,
        room: Room,
        role: Role = Role.EDITOR,
        subject: str | None = None,
        acknowledge: Acknowledge = Acknowledge.NOTHING,
    ) -> Person:
        subject = subject or f"person-{uuid4().hex[:6]}"
        transport = RecordingTransport()
        refusals: list[Refused] = []
        outbox = Outbox(transport, 1_000_000, lambda: None)
        member = Member(
            room,
            Identity(subject, subject.title()),
            role,
            dialect=yjs,
            outbox=outbox,
            close=refusals.append,
            pause_reading=transport.pauses.append,
            address="127.0.0.1",
            syncs=TokenBucket(1, 10),
            acks=None if acknowledge is Acknowledge.NOTHING else Acks(acknowledge, yjs, outbox),
            now=0.0,
        )
        room.join(member)
        return Person(member, transport, refusals)


@asynccontextmanager
async def house(
    rules: RoomRules = RULES,
    network: MemoryNetwork | None = None,
    storage: House | None = None,
    bounds: RoomBounds = RoomBounds(),  # noqa: B008 - frozen
    journal_kind: type[MemoryJournal] = MemoryJournal,
    compare_every_s: float = 3.0,
    bus_kind: type[MemoryBus] = MemoryBus,
    table_kind: type[MemoryCheckpointTable] = MemoryCheckpointTable,
) -> AsyncIterator[House]:
    """A running registry; `storage` of another one is shared, as between two tasks."""
    catalog = storage.catalog if storage else MemoryCatalog()
    journal = storage.journal if storage else journal_kind(catalog)
    blobs = storage.blobs if storage else MemoryBlobs()
    table = storage.table if storage else table_kind(journal)
    histories = storage.histories if storage else MemoryHistories(catalog, journal, table)
    rulings = storage.rulings if storage else MemoryRulings()
    metrics = Metrics()
    bus = bus_kind(f"task-{uuid4().hex[:6]}", network)
    await bus.start()
    recorder = Recorder(journal, 1_000_000)
    recorder.start()
    sandbox = Sandbox(max_workers=1)
    splitters = Sandbox(max_workers=1)
    offload = Offload(splitters, big_update_bytes=64 * 1024, timeout_s=60)

    publication, acknowledgements = Publication(bus, recorder), Acknowledgements(recorder)

    def build(document: Document, replica: Replica, registry: Registry) -> Room:
        return Room(
            document,
            replica,
            owner=registry,
            recorder=recorder,
            bus=bus,
            publication=publication,
            acknowledgements=acknowledgements,
            offload=offload,
            metrics=metrics,
            awareness_limits=LIMITS,
            max_awareness_ids=4,
            max_coalesce_s=0.025,
            bounds=bounds,
            compare_every_s=compare_every_s,
        )

    checkpointer = Checkpointer(catalog, table, blobs, sandbox)
    registry = Registry(
        documents=Documents(table, blobs),
        checkpointer=checkpointer,
        journal=journal,
        leases=MemoryLeaseTable(journal),
        histories=histories,
        rulings=rulings,
        recorder=recorder,
        bus=bus,
        offload=offload,
        rules=rules,
        metrics=metrics,
        build=build,
    )
    registry.start()
    try:
        yield House(
            registry,
            journal,
            table,
            recorder,
            blobs,
            catalog,
            histories,
            rulings,
            checkpointer,
            metrics,
            bus,
            splitters,
            sandbox,
        )
    finally:
        await recorder.stop()
        await registry.close(0.0)
        await sandbox.close()
        await splitters.close()
        await bus.close()


async def until(fact: object, deadline_s: float = 10.0) -> None:
    """Wait until the callable `fact` holds."""
    async with asyncio.timeout(deadline_s):
        while not fact():  # type: ignore[operator]  # noqa: ASYNC110 - what is waited for has no event
            await asyncio.sleep(0.005)
