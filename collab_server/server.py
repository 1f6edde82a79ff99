"""The WebSocket server: listens, admits, counts, and stops well.

Holds everything a connection needs; knows no adapter by name. Never takes a connection while draining. Built by
`assembly`, run by `commands`, inspected by `admin`.
"""

from __future__ import annotations

import asyncio
import errno
import gc
import math
import time
from collections.abc import Callable
from functools import partial
from uuid import UUID

import structlog
from websockets.http11 import Response

from auth.identity import Identity
from auth.permissions import Action, Role, permits
from collab_server.admission import Admission, Opening, Seat
from collab_server.budget import BufferBudget
from collab_server.connection import Connection
from collab_server.cool_down import CoolDown
from collab_server.crash_bars import BARRED, CrashBars
from collab_server.drain import Drained, HandOver, drain
from collab_server.errors import Close, ConfigurationError, Refused
from collab_server.limits import AddressCaps, ConnectionLimits, TokenBucket, address_key
from collab_server.phase import Phase
from collab_server.renewal import Renewals
from collab_server.rights import Rights
from collab_server.rooms.acknowledgements import Acknowledge, Acks
from collab_server.rooms.member import Member
from collab_server.rooms.outbox import Outbox
from collab_server.rooms.registry import Registry
from collab_server.rooms.room import Room
from collab_server.settings import Auth, Settings
from collab_server.tasks import Tasks
from collab_server.telemetry import Metrics
from collab_server.wheel import SLOTS, Wheel
from collab_server.wire import yjs
from collab_server.wire.messages import PermissionDenied
from persistence.errors import StorageUnavailable
from persistence.recorder import Recorder

log = structlog.get_logger(__name__)

SYNCS_WINDOW_S = 10.0


class Server:
    """One process's WebSocket endpoint. `start`, then `drain` once; `settings.ws_port` 0 takes a free port."""

    def __init__(
        self,
        settings: Settings,
        *,
        admission: Admission,
        bars: CrashBars,
        rights: Rights,
        renewals: Renewals,
        registry: Registry,
        recorder: Recorder,
        metrics: Metrics,
        hand_over: HandOver,
    ) -> None:
        self.settings = settings
        self.admission = admission
        self._bars = bars
        self._rights = rights
        self._renewals = renewals
        self.registry = registry
        self.metrics = metrics
        self.wheel = Wheel(after_step=self._stay_within_budget)
        self.budget = BufferBudget(settings.buffer_budget_bytes, SLOTS)
        self.tasks = Tasks()
        self.loop = asyncio.get_running_loop()
        self.wall_clock = time.time
        self.draining = False
        self.connections: set[Connection] = set()
        self.port = settings.ws_port
        self._recorder = recorder
        self._hand_over = hand_over
        self._listener: asyncio.Server | None = None
        self._addresses = AddressCaps(settings.max_connections_per_address)
        self._users = AddressCaps(settings.max_connections_per_user)
        self._over_cap: set[Connection] = set()
        self._cool_down = CoolDown(settings.flood_cool_down_s)

    async def start(self) -> None:
        """Begin to listen. Raises `ConfigurationError` when the port is taken."""
        settings = self.settings
        try:
            self._listener = await self.loop.create_server(
                lambda: Connection(self), settings.host, settings.ws_port, backlog=4096, reuse_address=True
            )
        except OSError as error:
            raise port_taken(error, "COLLAB_WS_PORT", settings.host, settings.ws_port) from error
        self.port = self._listener.sockets[0].getsockname()[1]
        self.registry.start()
        self.tasks.start(self._turn_wheel(), "wheel")
        self.tasks.start(self._bars.watch(self._end_seats), "crash-bars")
        self.tasks.start(self._rights.watch_words(self), "rights-words")
        self.tasks.start(self._rights.watch_age(self), "rights-age")
        # What was imported and built so far stays: 130,000 objects that each full collection would visit, in 80 ms.
        gc.collect()
        gc.freeze()

    async def _turn_wheel(self) -> None:
        await self.wheel.turn()

    # From openings to seats

    async def admit(self, connection: Connection, opening: Opening, response: Response) -> None:
        """Check rights, open the room, seat the member - or refuse in the way this client can see."""
        heard = self._rights.heard
        try:
            self._refuse_when_full(connection)
            seat = await self.admission.admit(
                opening, self.wall_clock(), check=lambda who: self._refuse_when_cooling_down(who, connection.address)
            )
            if permits(seat.role, Action.WRITE_DOCUMENT):
                await self._bars.check(seat.document.id, seat.identity.subject, self.wall_clock())
            room = await self.registry.open(seat.document)
            try:
                self._seat(connection, seat, room, response, opening.acknowledge)
                if heard != self._rights.heard:  # somebody's rights changed since they were looked up
                    self._rights.look_soon(opening.document, seat.identity.subject)
            finally:
                self.registry.release(room)  # if nobody took a seat, it is as empty as before
        except Refused as refusal:
            self._refuse(connection, opening, response, refusal)
        except StorageUnavailable as error:
            log.warning("admission_failed", exc_info=error)
            self._refuse(connection, opening, response, Refused(Close.ROOM_UNAVAILABLE))
        except Exception as error:  # a fault of ours must still be answered
            log.error("admission_failed", exc_info=error)
            self._refuse(connection, opening, response, Refused(Close.ROOM_UNAVAILABLE))

    def _refuse_when_full(self, connection: Connection) -> None:
        if self.draining:
            raise Refused(Close.RESTARTING)
        if len(self.connections) > self.settings.max_connections or connection in self._over_cap:
            raise Refused(Close.TOO_MANY_CONNECTIONS)

    def _refuse_when_cooling_down(self, identity: Identity, address: str) -> None:
        left_s = self._cool_down.left_s(self._party(identity, address), self.loop.time())
        if left_s > 0.0:
            raise Refused(Close.TOO_FREQUENT, f"too many messages: try again in {math.ceil(left_s)} s")

    def _party(self, identity: Identity, address: str) -> str:
        """Who pays for a flood: a person, or an address where everyone is somebody new each time."""
        return address_key(address) if self.settings.auth is Auth.OPEN else identity.subject

    def _seat(
        self, connection: Connection, seat: Seat, room: Room, response: Response, acknowledge: Acknowledge
    ) -> None:
        if connection.phase is not Phase.ADMITTING:
            return  # the client left while its document was loading
        if self.draining:
            raise Refused(Close.RESTARTING)
        writes = permits(seat.role, Action.WRITE_DOCUMENT)
        if writes and self.registry.bars(seat.document, seat.identity.subject):
            raise Refused(Close.UPDATE_REFUSED, "an edit of yours broke this document: try again in ten minutes")
        room.ruling.check_seat(seat.identity.subject)
        room.bounds.check_seat(room.roster.devices())
        if not self._users.enter(seat.identity.subject):
            raise Refused(Close.TOO_MANY_CONNECTIONS, "too many connections of this user")
        settings = self.settings
        try:
            connection.accept_upgrade(response)
        except BaseException:
            self._users.leave(seat.identity.subject)
            raise
        outbox = Outbox(connection.transport, settings.outbox_max_bytes, connection.overflow)
        member = Member(
            room,
            seat.identity,
            seat.role,
            dialect=yjs,
            outbox=outbox,
            close=connection.close,
            pause_reading=connection.turns.hold,
            address=connection.address,
            syncs=TokenBucket(settings.syncs_per_10_s / SYNCS_WINDOW_S, settings.syncs_per_10_s),
            ends_at=seat.ends_at,
            acks=None if acknowledge is Acknowledge.NOTHING else Acks(acknowledge, yjs, outbox),
            renew=partial(self._renew, connection),
            now=self.loop.time(),
        )
        connection.take_seat(member, self.largest_message(seat.role))
        room.join(member)

    def _renew(self, connection: Connection, token: str) -> None:
        self._renewals.begin(self, self.tasks, connection, token, self.wall_clock())

    def _refuse(self, connection: Connection, opening: Opening, response: Response, refusal: Refused) -> None:
        """Programs see an HTTP status; browsers hide it from scripts, so they are let in, told, and closed."""
        if connection.phase is not Phase.ADMITTING:
            return
        if opening.origin is None:
            connection.refuse_upgrade(refusal)
        else:
            connection.accept_upgrade(response)
            connection.refuse_in_band(yjs.encode(PermissionDenied(refusal.detail)), refusal)

    def largest_message(self, role: Role) -> int:
        """In bytes, of one who has that role."""
        writes = permits(role, Action.WRITE_DOCUMENT)
        return self.settings.max_message_bytes if writes else self.settings.max_reader_message_bytes

    def is_barred(self, member: Member) -> bool:
        """Whether an edit of theirs broke something, so that they may not write for now."""
        document, subject = member.room.document, member.identity.subject
        return self.registry.bars(document, subject) or self._bars.is_barred(document.id, subject, self.wall_clock())

    def _end_seats(self, is_barred: Callable[[UUID, str, float], bool]) -> None:
        """Somebody ended another task: who has a seat to write here must not end this one too."""
        now = self.wall_clock()
        for connection in self.connections:
            member = connection.member
            if member is None or not permits(member.role, Action.WRITE_DOCUMENT):
                continue
            if is_barred(member.room.document.id, member.identity.subject, now):
                connection.close(Refused(Close.UPDATE_REFUSED, BARRED))

    def full_limits(self) -> ConnectionLimits:
        """What one connection may send from now on."""
        settings = self.settings
        return ConnectionLimits(
            settings.messages_per_s, settings.messages_burst, settings.bytes_per_s, settings.bytes_burst
        )

    # What connections report

    def connected(self, connection: Connection) -> None:
        """A socket was opened."""
        self.connections.add(connection)
        if not self._addresses.enter(address_key(connection.address)):
            self._over_cap.add(connection)
        self.metrics.connections.set(len(self.connections))

    def disconnected(self, connection: Connection) -> None:
        """A socket is gone."""
        self.connections.discard(connection)
        if connection in self._over_cap:
            self._over_cap.remove(connection)
        else:
            self._addresses.leave(address_key(connection.address))
        self.metrics.connections.set(len(self.connections))

    def left(self, member: Member) -> None:
        """A member's connection ended."""
        self._users.leave(member.identity.subject)
        member.room.leave(member)
        self.registry.release(member.room)

    def refused(self, refusal: Refused) -> None:
        """A client was turned away before it had a seat."""
        self.metrics.refusals[refusal.reason.slug].inc()

    def closed(self, refusal: Refused, member: Member | None = None) -> None:
        """This server ended a member's connection; one that flooded may not come back at once."""
        self.metrics.closes[refusal.reason.slug].inc()
        if refusal.reason is Close.TOO_FREQUENT and member is not None:
            self._cool_down.begin(self._party(member.identity, member.address), self.loop.time())

    # What all connections hold

    def _stay_within_budget(self) -> None:
        if not self.budget.end_step():
            return
        held = ((each.unfinished_bytes + each.transport.get_write_buffer_size(), each) for each in self.connections)
        if closing := self.budget.to_close(held):
            log.warning("buffers_over_budget", held_bytes=self.budget.held_bytes, closing=len(closing))
            for connection in closing:
                connection.shed()

    def measure(self) -> None:
        """Set the gauges that are sums over all connections: once a scrape, not once a message."""
        outbox = unfinished = slow = 0
        for connection in self.connections:
            outbox += connection.transport.get_write_buffer_size()
            unfinished += connection.unfinished_bytes
            slow += connection.member is not None and connection.member.outbox.congested
        self.metrics.outbox_bytes.set(outbox)
        self.metrics.unfinished_bytes.set(unfinished)
        self.metrics.slow_members.set(slow)
        self.metrics.cooling_down.set(self._cool_down.count(self.loop.time()))

    # Stopping

    async def drain(self, hurry: asyncio.Event | None = None) -> Drained:
        """Stop well, or quickly once `hurry` is set. Never raises because a part is away: the outcome says so."""
        self.draining = True
        if self._listener is not None:
            self._listener.close()
        outcome = await drain(
            self.connections,
            self.registry,
            self._recorder,
            timeout_s=self.settings.drain_timeout_s,
            spread_s=self.settings.drain_spread_s,
            hurry=hurry or asyncio.Event(),
            hand_over=self._hand_over,
        )
        await self.tasks.close()
        return outcome


def port_taken(error: OSError, setting: str, host: str, port: int) -> ConfigurationError:
    """The sentence for a port that cannot be listened on."""
    if error.errno == errno.EADDRINUSE:
        return ConfigurationError(f"port {port} is taken: set {setting} to a free one, e.g. {setting}={port + 100}")
    return ConfigurationError(
        f"cannot listen on {host}:{port} ({error.strerror or error}): change COLLAB_HOST or {setting}"
    )
