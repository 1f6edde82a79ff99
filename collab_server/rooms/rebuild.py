"""Gives a room whose copy broke a new one from storage, while everyone but the one who broke it stays connected.

Members' messages wait meanwhile, and so do updates of other tasks. All that was relayed is in the recorder, so once
that is flushed storage holds at least what members see; then the new copy takes the place of the broken one, members
are given what it has and they may lack, are asked for what they have and it may lack, and their messages go on in
order. When that cannot be had in time everyone is sent away, to come back to a new room.

Must never touch the broken copy but for its clocks, nor go on with a copy that holds less than members have seen. Owned
by `room`, run by the registry.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import TYPE_CHECKING

import structlog

from auth.permissions import Action
from collab_server.bus import Envelope, EnvelopeKind
from collab_server.errors import Refused
from collab_server.rooms.replica import Replica, ReplicaBroken
from collab_server.wire.lib0 import encode_state_vector
from persistence.documents import DocumentUnloadable
from persistence.errors import StorageUnavailable
from persistence.recorder import RecorderStopped
from persistence.sandbox import SandboxFailed

if TYPE_CHECKING:
    from collab_server.rooms.member import Member
    from collab_server.rooms.offload import Offload
    from collab_server.rooms.owner import RoomOwner
    from collab_server.rooms.room import Room

log = structlog.get_logger(__name__)

MOST_ENVELOPES = 1_000  # of other tasks; what is beyond is asked for at the end, like all that may have been missed
MOST_IN_A_ROW, WINDOW_S = 5, 60.0  # a copy that breaks more often is not broken by single updates

UNAVAILABLE = (DocumentUnloadable, StorageUnavailable, ReplicaBroken, RecorderStopped, SandboxFailed, TimeoutError)

LoadAgain = Callable[["Room"], Awaitable[Replica]]


class Rebuild:
    """The rebuilds of one room; at most one is under way."""

    __slots__ = ("_acts", "_begun_at", "_drained", "_envelopes", "_held", "_over", "_owner", "_replica", "_room")

    def __init__(self, room: Room, replica: Replica, owner: RoomOwner) -> None:
        self._room = room
        self._replica = replica
        self._owner = owner
        self._over: asyncio.Event | None = None  # of the one under way
        self._begun_at: deque[float] = deque(maxlen=MOST_IN_A_ROW)
        self._held: dict[Member, None] = {}
        self._drained: set[Member] = set()
        self._envelopes: list[Envelope] = []
        self._acts: list[Callable[[], None]] = []

    @property
    def is_under_way(self) -> bool:
        """Whether the room has no sound copy now but will have one."""
        return self._over is not None

    def begin(self) -> None:
        """The copy broke. One that breaks again and again is given up, with all members."""
        room, now = self._room, time.monotonic()
        if self._over is not None or room.is_lost:
            return
        log.error("room_broken", document_id=str(room.document.id), members=len(room.members))
        room.metrics.rooms_broken.inc()
        self._replica.forget()
        if len(self._begun_at) == MOST_IN_A_ROW and now - self._begun_at[0] < WINDOW_S:
            room.reload()
            return
        self._begun_at.append(now)
        self._over = asyncio.Event()
        for member in room.members:
            self.joined(member)
        room.taking_in += 1  # nobody may drop the room meanwhile
        self._owner.broken(room)

    def joined(self, member: Member) -> None:
        """Let the messages of `member` wait if a rebuild is under way and it is not on its way out."""
        if self._over is not None and not member.expelled:
            self._held[member] = None
            member.hold()

    def sets_aside(self, envelope: Envelope) -> bool:
        """Keep an envelope that needs the copy for the end; False for one that can be acted on now."""
        if self._over is None or envelope.kind is EnvelopeKind.AWARENESS:
            return False
        if len(self._envelopes) < MOST_ENVELOPES:
            self._envelopes.append(envelope)
        return True

    def puts_off(self, member: Member) -> bool:
        """Whether `member`, who has read all it was sent, gets what it missed at the end only."""
        if self._over is not None:
            self._drained.add(member)
        return self._over is not None

    def puts_off_until_over(self, act: Callable[[], None]) -> bool:
        """Whether `act`, which may need the copy, waits for the end."""
        if self._over is not None:
            self._acts.append(act)
        return self._over is not None

    async def over(self) -> None:
        """Wait for the end of the one under way."""
        if self._over is not None:
            await self._over.wait()

    def give_up(self) -> None:
        """Everyone is sent away: there will be no new copy here."""
        self._end()

    async def run(self, load_again: LoadAgain, timeout_s: float) -> None:
        """Put a copy from storage in the place of the broken one, or send everyone away."""
        room, began, under_way = self._room, time.monotonic(), self._over
        try:
            async with asyncio.timeout(timeout_s):
                fresh = await load_again(room)
            if self._over is under_way:
                self._go_on(fresh)
                log.warning("room_rebuilt", document_id=str(room.document.id), took_s=time.monotonic() - began)
        except UNAVAILABLE as error:
            log.error("room_not_rebuilt", document_id=str(room.document.id), exc_info=error)
        finally:
            if self._over is under_way:
                room.reload()
            room.done_taking_in()

    def _go_on(self, fresh: Replica) -> None:
        """Swap the copies and bring everyone level. Raises `ReplicaBroken` when the new one will not do."""
        room, seen = self._room, self._replica.clocks
        if not fresh.holds(tuple(seen.items())):
            raise ReplicaBroken("storage holds less than members have seen")
        # Other tasks may have written meanwhile and told of it; which deletes are news no clock tells.
        news = fresh.diffs(encode_state_vector(seen))
        room.members.flush_updates()
        self._replica.become(fresh)
        room.updates += 1  # so that everyone who fell behind is caught up
        for update in news:
            room.members.send_at_once(update, None)
        for member in room.members:
            if member.lag is not None:  # its place in the pieces of the old copy means nothing in the new one's
                member.lag = replace(member.lag, mark=None)
        room.metrics.room_rebuilds["rebuilt"].inc()
        self._end()

    def _end(self) -> None:
        """Everything that waited goes on; of one who was sent away nothing does, its client brings it again."""
        if self._over is None:
            return
        room, now = self._room, time.monotonic()
        self._over.set()
        self._over = None
        held, self._held = self._held, {}
        drained, self._drained = self._drained, set()
        envelopes, self._envelopes = self._envelopes, []
        acts, self._acts = self._acts, []
        for envelope in () if room.is_lost else envelopes:
            room.receive(envelope)
        for act in acts:
            act()
        for member in held:
            member.expelled = member.expelled or (room.is_lost and not room.has_seat(member))  # it left meanwhile
            if room.has_seat(member) and member.may(Action.WRITE_DOCUMENT) and not member.expelled:
                member.ask_for_sync()
            member.go_on(now)
        for member in drained:
            if room.has_seat(member) and not member.expelled:
                _catch_up(member)
        if not room.is_lost:
            room.greet_peers()


def _catch_up(member: Member) -> None:
    try:
        member.caught_up()
    except Refused as refusal:
        member.close(refusal)


@asynccontextmanager
async def turn_when_whole(room: Room, offload: Offload) -> AsyncIterator[None]:
    """The right to one step on the loop (`Offload.turn`) at a moment when no rebuild of `room` is under way."""
    while True:
        await room.rebuild.over()
        async with offload.turn():
            if not room.rebuild.is_under_way:
                yield
                return
