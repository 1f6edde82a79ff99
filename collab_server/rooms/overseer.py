"""Keeps the rooms of this task in line with what operators ruled, whoever told this task of it or nobody did.

A room learns its ruling before anyone has a seat in it, again when another task says that it changed, and every few
seconds, for words between tasks get lost. Must never take a store that does not answer for one that holds nothing: a
room is not opened then, and open ones stay as they are. Owned by the registry.
"""

from __future__ import annotations

import time
from collections.abc import Mapping

import structlog

from collab_server.rooms.room import Room
from persistence.rulings import Rulings, RulingsUnavailable

log = structlog.get_logger(__name__)


class Overseer:
    """Reads rulings for `rooms`, the registry's own dict, and has the rooms obey them."""

    def __init__(self, rulings: Rulings, rooms: Mapping[str, Room]) -> None:
        self._rulings = rulings
        self._rooms = rooms

    async def look_at(self, room: Room) -> None:
        """Read what is laid on `room` and have it obey. Raises `RulingsUnavailable`."""
        read_at = time.monotonic()
        found = await self._rulings.in_force([room.document.id])
        room.ruling.obey(found.get(room.document.id), read_at)

    async def look(self) -> None:
        """The same for all rooms, in one query. Never raises: there is a next time."""
        rooms, read_at = list(self._rooms.values()), time.monotonic()
        try:
            found = await self._rulings.in_force([room.document.id for room in rooms])
        except RulingsUnavailable as failure:
            log.debug("rulings_unknown", cause=str(failure))
            return
        for room in rooms:
            room.ruling.obey(found.get(room.document.id) if found else None, read_at)
