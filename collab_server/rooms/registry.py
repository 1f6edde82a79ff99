"""All rooms of this process: opened once however many ask, checkpointed when due, dropped when long empty.

A room leaves memory only when its last update is durable. Never opens a document as empty because its storage failed.
Called by `server` for each connection and by `admin`; owns the rooms and their background work.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable
from functools import partial
from uuid import UUID

import structlog

from collab_server.bus import Bus, BusUnavailable
from collab_server.errors import Close, Refused
from collab_server.rooms.early import Early
from collab_server.rooms.greetings import Greetings
from collab_server.rooms.history import RoomHistory
from collab_server.rooms.lookout import Lookout, replaced
from collab_server.rooms.offload import Offload
from collab_server.rooms.overseer import Overseer
from collab_server.rooms.refusals import CRDT_FAILURE, Refusals
from collab_server.rooms.replica import Replica, ReplicaBroken
from collab_server.rooms.room import Room
from collab_server.rooms.triggers import RoomRules, Triggers
from collab_server.tasks import Tasks
from collab_server.telemetry import Metrics
from persistence.catalog import Document
from persistence.checkpointer import Checkpointer
from persistence.documents import Documents, DocumentUnloadable, StoredDocument
from persistence.errors import StorageUnavailable
from persistence.histories import Histories
from persistence.journal import Journal, JournalEntry
from persistence.leases import LeaseTable
from persistence.recorder import Recorder
from persistence.rulings import Rulings
from persistence.sandbox import SandboxFailed

log = structlog.get_logger(__name__)

HOUSEKEEPING_EVERY_S = 0.5  # precision of "due": a fraction of the shortest sensible trigger
BARRED_S = 600.0  # for someone whose update broke a room
MOST_BARRED = 1_000
RETRY_RENEWAL_AFTER_S = 10.0  # a worker that just failed is left alone for a while
FINAL_CHECKPOINTS_AT_ONCE = 8  # while stopping: they wait for storage most of the time, on connections of one pool


class Registry:
    """The rooms of this process by document name. `open` raises `Refused`; `release` never waits."""

    def __init__(
        self,
        *,
        documents: Documents,
        checkpointer: Checkpointer,
        journal: Journal,
        leases: LeaseTable,
        histories: Histories,
        rulings: Rulings,
        recorder: Recorder,
        bus: Bus,
        offload: Offload,
        rules: RoomRules,
        metrics: Metrics,
        build: Callable[[Document, Replica, Registry], Room],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.rooms: dict[str, Room] = {}
        self.greetings = Greetings(self.rooms)
        self._documents = documents
        self._checkpointer = checkpointer
        self._leases = leases
        self._histories = histories
        self.overseer = Overseer(rulings, self.rooms)
        self._lookout = Lookout(self.rooms, histories, self.overseer)
        self._recorder = recorder
        self._bus = bus
        self._offload = offload
        self._renewing: set[Room] = set()
        self._rules = rules
        self._metrics = metrics
        self._build = build
        self._clock = clock
        self._loading: dict[str, asyncio.Task[Room]] = {}
        self._triggers = Triggers(rules)
        self._empty: dict[Room, float] = {}  # room → when it may be dropped; the first has been empty for longest
        self._checkpointing: dict[Room, asyncio.Task[None]] = {}
        self._unsettled: dict[UUID, int] = {}  # document of a broken room → the newest ticket that room was given
        self._tasks = Tasks()
        self._housekeeper: asyncio.Task[None] | None = None
        self._refusals = Refusals(journal, metrics, self._tasks)
        self._barred: dict[tuple[UUID, str], float] = {}  # who broke which document → until when
        recorder.add_refusal_listener(self._never_stored)

    def start(self) -> None:
        """Begin checkpointing and dropping rooms."""
        self._bus.on_reconnect.append(self.greetings.begin)
        self._housekeeper = asyncio.create_task(self._keep_house(), name="room-housekeeper")

    # Opening

    async def open(self, document: Document) -> Room:
        """The room of `document`, loaded if need be; concurrent callers share one load. Raises `Refused`.

        The caller must seat a member without a further `await`, or the room may be dropped in between.
        """
        while (room := self.rooms.get(document.name)) is None or room.document.epoch < document.epoch:
            if room is not None:
                replaced(room)
                continue
            loading = self._loading.get(document.name)
            if loading is None or loading.done():  # done and gone again: to await it would spin without a turn
                self._refuse_when_full()
                loading = asyncio.create_task(self._load(document), name=f"load-room-{document.id}")
                self._loading[document.name] = loading
                loading.add_done_callback(partial(self._loaded, document.name))
            # Shielded: the one who gives up must not take the load from the others.
            await asyncio.shield(loading)
        if room.document.id != document.id:  # of a deleted document of that name, about to be noticed
            raise Refused(Close.ROOM_UNAVAILABLE)
        self._empty.pop(room, None)
        return room

    async def settled(self, name: str) -> Room | None:
        """The room of that name, if there is one once a load under way has ended; nobody is given a seat by this."""
        if (loading := self._loading.get(name)) is not None:
            await asyncio.wait([loading])
        return self.rooms.get(name)

    def _loaded(self, name: str, loading: asyncio.Task[Room]) -> None:
        if self._loading.get(name) is loading:
            del self._loading[name]

    @property
    def is_full(self) -> bool:
        """Whether no further room may be opened."""
        return len(self.rooms) + len(self._loading) >= self._rules.max_rooms

    def _refuse_when_full(self) -> None:
        """At the bound the room that has been empty for longest goes at once, for the one who tries again."""
        if self.is_full:
            if self._empty:
                self._empty[next(iter(self._empty))] = self._clock()
            raise Refused(Close.TOO_MANY_ROOMS)

    async def _load(self, document: Document) -> Room:
        started = self._clock()
        early = Early()
        try:
            # Listening before loading, so that no edit of another task falls between the two.
            await self._bus.subscribe(document.channel, early.receive)
            room = await self._build_from_storage(document)
            early.pass_on(room)
            await self._bus.subscribe(document.channel, room.receive)
        except (DocumentUnloadable, StorageUnavailable, ReplicaBroken, BusUnavailable, SandboxFailed) as error:
            self._metrics.room_load_failures.inc()
            self._alarm_if_lost(document, error)
            log.error("room_load_failed", document_id=str(document.id), exc_info=error)
            raise Refused(Close.ROOM_UNAVAILABLE) from error
        finally:
            await self._bus.unsubscribe(document.channel, early.receive)
        self.rooms[document.name] = room
        if room.dirty_updates:
            self.edited(room)
        self._empty[room] = self._clock() + self._triggers.grace_s()
        self._metrics.rooms.set(len(self.rooms))
        self._metrics.room_loads.observe(self._clock() - started)
        room.greet_peers()
        return room

    async def _build_from_storage(self, document: Document) -> Room:
        await self._recorder.flush(self._unsettled.get(document.id, 0))
        self._unsettled.pop(document.id, None)
        stored = await self._documents.load(document)
        room = self._build(document, await self._offload.load(stored), self)
        room.leases.learn(await self._leases.held(document.id))
        await self.overseer.look_at(room)
        if document.epoch:
            await self._begin_history(room)
        room.bounds.grew(stored.size_bytes)
        if stored.updates:
            room.dirty_updates = len(stored.updates)
            room.dirty_bytes = sum(map(len, stored.updates))
        return room

    async def stored(self, room: Room) -> StoredDocument:
        """The document of `room` as storage holds it once everything it recorded is durable."""
        await self._recorder.flush(room.ticket)
        return await self._documents.load(room.document)

    def _alarm_if_lost(self, document: Document, error: Exception) -> None:
        """A document that nothing in storage makes whole stays closed until somebody has looked into it."""
        if isinstance(error, DocumentUnloadable) and not error.temporary:
            self._metrics.documents_unloadable.inc()
            log.critical("document_unloadable", document_id=str(document.id), reason=str(error))

    async def _begin_history(self, room: Room) -> None:
        history = await self._histories.current(room.document.id)
        if history is None or history.epoch != room.document.epoch:
            raise DocumentUnloadable("its history was replaced meanwhile", temporary=True)
        room.history = RoomHistory(history)
        room.leases.reserve(room.history.reserved)

    def deleted(self, room: Room) -> None:
        """The document of `room` is no more: everyone is sent away for good, and what is open of it is forgotten."""
        log.info("document_deleted", document_id=str(room.document.id), members=len(room.members))
        room.is_lost = True
        room.close(Refused(Close.NOT_FOUND))
        self._drop(room)

    # What rooms report

    def edited(self, room: Room) -> None:
        """A room has an update that no checkpoint holds."""
        if room not in self._checkpointing and self.rooms.get(room.document.name) is room:
            self._triggers.edited(room, self._clock())

    def broken(self, room: Room) -> None:
        """A room's copy broke: rebuild it from storage."""
        self._tasks.start(room.rebuild.run(self._load_again, self._rules.rebuild_timeout_s), "rebuild-room")

    def behind(self, room: Room) -> None:
        """A room lacks what its members hold: look into storage."""
        self._tasks.start(room.second_look.run(self._load_again), "second-look")

    async def _load_again(self, room: Room) -> Replica:
        return await self._offload.load(await self.stored(room))

    def lost(self, room: Room) -> None:
        """A room gave up: forget it, the next member loads it again."""
        self._metrics.room_rebuilds["given_up"].inc()
        self._unsettled[room.document.id] = room.ticket
        self._drop(room)

    def let_go(self, room: Room, refusal: Refused) -> None:
        """Send everyone away and forget the room: whoever comes next waits until all of it is durable."""
        self._unsettled[room.document.id] = room.ticket
        self._drop(room)
        room.let_go(refusal)

    def refused(self, room: Room, actor_id: str, reason: str, update: bytes) -> None:
        """A room refused an update: keep it for the operator."""
        self._refusals.keep(room.document.id, actor_id, reason, update)
        if reason == CRDT_FAILURE:
            if len(self._barred) >= MOST_BARRED:
                del self._barred[next(iter(self._barred))]
            self._barred[room.document.id, actor_id] = self._clock() + BARRED_S

    def look_up_leases(self, room: Room) -> None:
        """A room has heard of client ids whose holders it does not know."""
        self._tasks.start(room.leases.settle(self._leases), "look-up-leases")

    def bars(self, document: Document, subject: str) -> bool:
        """Whether `subject` broke this document lately: everyone else had to reconnect, which must not go on and on."""
        return self._barred.get((document.id, subject), 0.0) > self._clock()

    def _never_stored(self, _ticket: int, entry: JournalEntry, _reason: str) -> None:
        """The journal will never take an update that members already see: give them what storage holds."""
        for room in list(self.rooms.values()):
            if room.document.id == entry.document_id:
                room.reload()

    def release(self, room: Room) -> None:
        """A member left: a room without members is dropped after the grace time."""
        if room.is_empty and self.rooms.get(room.document.name) is room:
            self._empty.pop(room, None)
            self._empty[room] = self._clock() + self._triggers.grace_s()

    # Housekeeping

    async def _keep_house(self) -> None:
        while True:
            await asyncio.sleep(HOUSEKEEPING_EVERY_S)
            now = self._clock()
            if self.rooms and self._lookout.is_due(now):
                self._tasks.start(self._lookout.look(), "look-around")
            for room in self._triggers.take(now):
                self._checkpointing[room] = self._tasks.start(self._checkpoint_and_note(room), "checkpoint")
            for room in [room for room, due in self._empty.items() if due <= now]:
                del self._empty[room]
                self._tasks.start(self._evict(room), "evict")
            for room in [room for room in self.rooms.values() if room.has_old_snapshot and room not in self._renewing]:
                self._renewing.add(room)
                self._tasks.start(self._renew(room), "renew-snapshot")

    async def _renew(self, room: Room) -> None:
        """Make what joiners of a big document are sent as small as it can be again."""
        try:
            await room.renew_snapshot()
        except SandboxFailed as failure:  # joiners get more than they need, until the next attempt
            log.warning("snapshot_not_renewed", document_id=str(room.document.id), reason=failure.reason)
            await asyncio.sleep(RETRY_RENEWAL_AFTER_S)
        finally:
            self._renewing.discard(room)

    async def _checkpoint_and_note(self, room: Room) -> None:
        try:
            await self.checkpoint(room)
        finally:
            self._checkpointing.pop(room, None)
            if room.dirty_updates:
                self.edited(room)

    async def checkpoint(self, room: Room) -> bool:
        """Fold the room's durable updates into a new checkpoint; say whether storage is up to date. Never raises.

        The marks are cleared before the awaited write and restored if it fails: an edit made meanwhile is not
        forgotten.
        """
        updates, size = room.dirty_updates, room.dirty_bytes
        room.dirty_updates = room.dirty_bytes = 0
        try:
            await self._recorder.flush(room.ticket)
            with self._metrics.checkpoint_seconds.time():
                checkpoint = await self._checkpointer.checkpoint(room.document)
        except BaseException as error:  # whatever it is, the journal still has every update
            room.dirty_updates += updates
            room.dirty_bytes += size
            if not isinstance(error, Exception):
                raise  # this process stops
            self._metrics.checkpoints["failed"].inc()
            log.warning("checkpoint_failed", document_id=str(room.document.id), exc_info=error)
            if self.rooms.get(room.document.name) is room:
                self._triggers.failed(room, self._clock())
            return False
        self._triggers.succeeded(room)
        self._metrics.checkpoints["written" if checkpoint else "nothing_new"].inc()
        room.last_checkpoint = checkpoint or room.last_checkpoint
        return True

    async def _evict(self, room: Room) -> None:
        """Drop an empty room once everything it recorded is durable; someone who comes meanwhile keeps it."""
        await self._recorder.flush(room.ticket)
        if room.dirty_updates and room not in self._checkpointing:
            self._triggers.forget(room)
            await self.checkpoint(room)
        if not room.is_empty or room in self._empty or self.rooms.get(room.document.name) is not room:
            return
        if self._recorder.durable < room.ticket or room in self._checkpointing:
            self._empty[room] = self._clock() + HOUSEKEEPING_EVERY_S  # someone came, typed and left meanwhile
        else:
            self._drop(room)

    def _drop(self, room: Room) -> None:
        if self.rooms.get(room.document.name) is room:
            del self.rooms[room.document.name]
        room.dropped()
        self._triggers.drop(room)
        self._empty.pop(room, None)
        self._metrics.rooms.set(len(self.rooms))
        self._tasks.start(self._bus.unsubscribe(room.document.channel, room.receive), "unsubscribe")

    async def close(self, deadline: float) -> int:
        """Checkpoint what is dirty until `deadline` (on the registry's clock) and stop; returns rooms left to do.

        Called after the recorder was flushed and all members have left: what is not checkpointed lies in the journal.
        Cancelled, it may be called again.
        """
        self.greetings.close()
        for task in (self._housekeeper, *self._loading.values()):
            if task is not None and not task.done():
                task.cancel()
                await asyncio.wait([task])
        waiting = [room for room in self.rooms.values() if room.dirty_updates or room in self._checkpointing]
        left = set(waiting)

        async def checkpoint_one_by_one() -> None:
            while waiting:
                room = waiting.pop()
                if await self._is_up_to_date(room):
                    left.remove(room)

        if (left_s := deadline - self._clock()) > 0:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(left_s):
                    await asyncio.gather(*(checkpoint_one_by_one() for _ in range(FINAL_CHECKPOINTS_AT_ONCE)))
        await self._tasks.close()
        await self._offload.tasks.close()
        return len(left)

    async def _is_up_to_date(self, room: Room) -> bool:
        """Whether a checkpoint holds all of it now; one that is under way is awaited first."""
        if (under_way := self._checkpointing.get(room)) is not None:
            await asyncio.wait([under_way])
        return not room.dirty_updates or await self.checkpoint(room)
