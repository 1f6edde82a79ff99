"""Whether a cursor that somebody sends says that they are at their keyboard.

Stock clients renew an unchanged state every 15 s and send back the states of others: neither is a sign of life of a
person. Called by `room`; what people write is seen by `attendance`.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from collab_server.rooms.member import Member
from collab_server.wire.awareness import AwarenessEntry

if TYPE_CHECKING:
    from collab_server.rooms.room import Room


def share_cursors(room: Room, member: Member, entries: Iterable[AwarenessEntry], now: float) -> bool:
    """Show the cursors `member` sent; say if any was news. Raises `Refused`."""
    before = room.cursors.state_of(member)
    had_effect = room.cursors.share(member, entries, now)
    if room.cursors.state_of(member) != before:
        room.roster.touch(member, now=now)
    return had_effect
