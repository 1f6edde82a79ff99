"""Sees what others have done to the documents of this task's rooms: a restore, an operator's ruling.

A restore is made by a command that knows no task, and a word about a ruling may have been lost, so storage is asked
again and again. It must never take a storage that does not answer for an answer. Owned by the registry.
"""

from __future__ import annotations

from collections.abc import Mapping

import structlog

from collab_server.rooms.overseer import Overseer
from collab_server.rooms.room import Room
from persistence.errors import StorageUnavailable
from persistence.histories import Histories

log = structlog.get_logger(__name__)

LOOK_EVERY_S = 2.0  # one query for all rooms; nothing of an old history can be committed in between


class Lookout:
    """See the module. `rooms` are those of the registry, by name."""

    def __init__(self, rooms: Mapping[str, Room], histories: Histories, overseer: Overseer) -> None:
        self._rooms = rooms
        self._histories = histories
        self._overseer = overseer
        self._due_at = 0.0

    def is_due(self, now: float) -> bool:
        """Whether it is time to look again, which is noted."""
        if now < self._due_at:
            return False
        self._due_at = now + LOOK_EVERY_S
        return True

    async def look(self) -> None:
        """Give up the rooms whose document was restored; rule the others as the operator wants."""
        await self._look_for_replaced()
        await self._overseer.look()

    async def _look_for_replaced(self) -> None:
        rooms = {room.document.id: room for room in self._rooms.values()}
        try:
            epochs = await self._histories.epochs(list(rooms))
        except StorageUnavailable:
            return  # nothing can be written meanwhile, and there is a next time
        for document_id, epoch in epochs.items():
            if rooms[document_id].document.epoch < epoch:
                replaced(rooms[document_id])


def replaced(room: Room) -> None:
    """The history of the room's document is another one now."""
    log.info("history_replaced", document_id=str(room.document.id), members=len(room.members))
    room.reload()
