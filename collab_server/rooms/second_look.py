"""Looks into storage and asks the other tasks again, because members hold what the room lacks.

The bus may have lost what another task committed. Who comes over from that task then brings edits that build on it: one
that has a gap here, or edits of others who sit here as well. Nobody may be refused for either before the room holds all
that storage holds. Looks follow each other with a pause and never overlap, since each costs a load. Must never make a
room believe that a look that failed had found nothing. Owned by `room`, run by the registry.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

import structlog

from collab_server.bus import Envelope, EnvelopeKind
from collab_server.errors import Close, Refused
from collab_server.firewall import UpdateGap
from collab_server.rooms.rebuild import UNAVAILABLE
from collab_server.rooms.replica import Replica

if TYPE_CHECKING:
    from collab_server.rooms.member import Member
    from collab_server.rooms.owner import RoomOwner
    from collab_server.rooms.room import Room

log = structlog.get_logger(__name__)

PAUSE_S = 0.5  # a load costs what opening the document costs; about as often as clients are asked again
RETRY_S = 2.0
STORAGE = "storage"  # the origin of what was found

LoadAgain = Callable[["Room"], Awaitable[Replica]]


class SecondLook:
    """The looks of one room. Each has a number; `begin` gives that of the first that has yet to begin."""

    __slots__ = ("_begun", "_ended", "_is_under_way", "_owner", "_room", "_wanted")

    def __init__(self, room: Room, owner: RoomOwner) -> None:
        self._room = room
        self._owner = owner
        self._begun = self._ended = self._wanted = 0
        self._is_under_way = False

    def set_aside(self, member: Member, gap: UpdateGap, update: bytes, *, is_answer: bool) -> None:
        """Leave an update with a gap without effect and ask for what is missing.

        Raises `Refused` for an answer, once a look has not found it either.
        """
        room = self._room
        room.metrics.gaps["client"].inc()
        if not is_answer:
            member.leave_unacknowledged()
            member.ask_for_sync()
        elif self.is_over(member.writer.look):
            self._owner.refused(room, member.identity.subject, "gap", update)
            raise Refused(Close.UPDATE_REFUSED, f"this copy of the document has a gap: {gap}")
        else:
            member.writer.look = member.writer.look or self.begin()
            room.leases.set_aside(member)

    def begin(self) -> int:
        """Look, or look once more when a look under way may have come too early. The number of that look."""
        self._room.greet_peers()
        self._wanted = self._begun + 1
        if not self._is_under_way:
            self._is_under_way = True
            self._owner.behind(self._room)
        return self._wanted

    def is_over(self, number: int) -> bool:
        """Whether the room holds all that storage held when that look was asked for."""
        return 0 < number <= self._ended

    async def run(self, load_again: LoadAgain) -> None:
        """Look as long as a look is wanted."""
        room = self._room
        try:
            while self._begun < self._wanted and not room.is_lost:
                self._begun += 1
                pause_s = PAUSE_S
                try:
                    await room.rebuild.over()
                    self._take(await load_again(room))
                    self._ended = self._begun
                except UNAVAILABLE as error:
                    log.warning("second_look_failed", document_id=str(room.document.id), exc_info=error)
                    self._wanted, pause_s = self._begun + 1, RETRY_S
                await asyncio.sleep(pause_s)
        finally:
            self._is_under_way = False

    def _take(self, stored: Replica) -> None:
        room = self._room
        for update in stored.diffs(room.state_vector()):
            room.receive(Envelope(EnvelopeKind.SYNC_REPLY, room.document.channel, STORAGE, update))
