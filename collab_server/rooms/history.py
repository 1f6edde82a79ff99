"""A document whose history was replaced: who comes with a copy of before is told so, and nothing of that copy gets in.

Stock clients say nothing of epochs, so it is told by what a copy holds (`persistence.histories`): the state vector in
each SyncStep1 has the marker, or knows nothing of what was replaced. Before its first one nothing that a member writes
is taken. What an old copy would bring is quarantined: an operator can tell whose edits they were. Owned by `room`;
there is none for a document that was never restored.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from collab_server.errors import Close, Refused
from collab_server.firewall import UpdateRefused, check_state_vector
from collab_server.rooms.leases import OLD_COPY, SetAside, Standing
from collab_server.wire.messages import Update
from persistence.histories import History
from persistence.restore import marking

if TYPE_CHECKING:
    from collab_server.rooms.member import Member

LAST_WORD_S = 5.0  # for the edits of an old copy to come in, of one who was asked for them


class RoomHistory:
    """Tells the copies of one room's members from those of older histories."""

    def __init__(self, history: History) -> None:
        self._history = history
        self._marking = marking(history.marker, 0, history.epoch)

    @property
    def reserved(self) -> list[int]:
        """Client ids that nobody may write as any more: those with structs of older histories, and the marker."""
        return [*self._history.dead, self._history.marker]

    def look_at(self, member: Member, state_vector: bytes) -> bool:
        """Whether `member`, who says what it holds, may be answered. Raises `Refused` for an old copy."""
        try:
            held = check_state_vector(state_vector)
        except UpdateRefused as error:
            raise Refused(Close.MALFORMED, f"state vector: {error.reason}") from None
        standing = member.writer.standing
        if standing is Standing.OLD:
            return False
        if self._is_old(held):
            member.writer.standing = Standing.OLD
            if not member.awaiting_sync:
                raise Refused(Close.HISTORY_REPLACED)
            asyncio.get_running_loop().call_later(LAST_WORD_S, _close, member)
            return False
        if standing is Standing.UNKNOWN:
            member.writer.standing = Standing.PRESENT
            # At once, and by itself: a copy that gets no further than this must not be taken for an old one.
            member.send(Update(self._marking))
        return True

    def _is_old(self, held: dict[int, int]) -> bool:
        ever, dead = self._history.ever, self._history.dead
        if any(clock > dead.get(client, clock) for client, clock in held.items()):
            return True
        if held.get(self._history.marker, 0) >= self._history.epoch:
            return False
        return any(clock and client in ever for client, clock in held.items())

    def check(self, member: Member) -> None:
        """Whether what `member` writes may be looked at. Raises `UpdateRefused` for an old copy, `SetAside` for one of
        which nothing is known yet.
        """
        standing = member.writer.standing
        if standing is not Standing.PRESENT:
            raise UpdateRefused(OLD_COPY) if standing is Standing.OLD else SetAside


def _close(member: Member) -> None:
    if not member.expelled:
        member.close(Refused(Close.HISTORY_REPLACED))
