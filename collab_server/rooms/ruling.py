"""What operators have laid on one room: it may be frozen, and somebody may be kept out of it for a time.

A frozen room takes no edits of its members: they have no effect, are not acknowledged and are denied in-band, while
cursors go on; what other tasks accepted before they knew is still merged, because copies must not drift apart. Costs
an edit nothing: seats know what they may do. Must never decide by itself: it obeys what the overseer read. Owned by
`room`, asked by `server` for each seat.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterable
from typing import TYPE_CHECKING
from uuid import UUID

import structlog

from auth.permissions import Action
from collab_server.errors import Close, Refused
from persistence.rulings import NO_RULING, Ruling

if TYPE_CHECKING:
    from collab_server.rooms.member import Member

log = structlog.get_logger(__name__)


class RoomRuling:
    """The ruling on one room as it was read last."""

    __slots__ = ("_document_id", "_kept_out", "_members", "_read_at", "frozen")

    def __init__(self, members: Iterable[Member], document_id: UUID) -> None:
        self._members = members
        self._document_id = document_id
        self._kept_out: dict[str, float] = {}  # subject → until when (monotonic seconds)
        self._read_at = -math.inf
        self.frozen = False

    def obey(self, ruling: Ruling | None, read_at: float) -> None:
        """Act on what changed; `read_at` (monotonic seconds) is when the reading began, which may come in late."""
        if read_at < self._read_at:
            return
        self._read_at = read_at
        if ruling is not None:
            self._act_on(ruling, read_at)
        elif self.frozen or self._kept_out:  # not so for nearly every room, every few seconds
            self._act_on(NO_RULING, read_at)

    def _act_on(self, ruling: Ruling, read_at: float) -> None:
        self._kept_out = {subject: read_at + left_s for subject, left_s in ruling.kept_out.items()}
        if self.frozen is not ruling.frozen:
            self._turn(frozen=ruling.frozen)
        for member in self._members if self._kept_out else ():
            try:
                self.check_seat(member.identity.subject)
            except Refused as refusal:
                member.close(refusal)

    def _turn(self, *, frozen: bool) -> None:
        self.frozen = frozen
        log.info("room_frozen" if frozen else "room_thawed", document_id=str(self._document_id))
        for member in self._members:
            member.weigh_rights()
            if frozen:
                member.tell_frozen()
            else:
                member.tell_thawed()

    def check_seat(self, subject: str) -> None:
        """Raises `Refused` for one who is kept out."""
        left_s = self._kept_out.get(subject, -math.inf) - time.monotonic()
        if left_s > 0:
            raise Refused(Close.KEPT_OUT, f"{Close.KEPT_OUT.text}: try again in {math.ceil(left_s)} s")

    def welcome(self, member: Member) -> None:
        """Ask a new member that may write for what the room lacks, or say why it may not now."""
        if member.may(Action.WRITE_DOCUMENT):
            member.ask_for_sync()
        elif self.frozen:
            member.tell_frozen()
