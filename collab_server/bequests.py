"""Finds what a task that is gone had committed and could tell nobody any more.

An edit is told after its commit, so a task that is killed in between, or while the bus is away, leaves edits in storage
that the rooms of others lack. Clients that come over bring them; where none comes, nobody would miss anything: one who
is gone tells no digest. So rooms that the gone task held as well look into storage, some time later and one after the
other. A task that leaves in good order has told everything before its last word. Must never take a bus that is away for
the end of a task, nor hold up those who come back. Built by `assembly`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

import structlog

from collab_server.bus import Bus, BusUnavailable
from collab_server.neighbours import GONE_AFTER_S, Neighbours
from collab_server.rooms.room import Room
from collab_server.tasks import Tasks

log = structlog.get_logger(__name__)

WAIT_S = 10.0
"""Its members come back first, and most of what is missing comes with them."""
BUS_AGAIN_S = 1.0
PAUSE_S = 0.05
"""Between two rooms: each look costs a load."""


class Bequests:
    """See the module. `rooms` are this task's by name."""

    def __init__(self, rooms: Mapping[str, Room], neighbours: Neighbours, bus: Bus) -> None:
        self._rooms = rooms
        self._neighbours = neighbours
        self._bus = bus
        self._tasks = Tasks()
        neighbours.on_silent.append(self._silent)

    async def close(self) -> None:
        """Look for nothing more."""
        await self._tasks.close()

    def _silent(self, task_id: str) -> None:
        self._tasks.start(self._look_for(task_id), "bequests")

    async def _look_for(self, task_id: str) -> None:
        await asyncio.sleep(WAIT_S)
        if not await self._bus_answers():
            while not await self._bus_answers():  # noqa: ASYNC110 - the end of an outage has no event
                await asyncio.sleep(BUS_AGAIN_S)
            await asyncio.sleep(GONE_AFTER_S)  # whoever lives has been heard by then
        if task_id in self._neighbours.living:
            return  # and was compared with (`company`)
        shared = [room for room in self._rooms.values() if room.sentinel.has_met(task_id)]
        if shared:
            log.info("looking_for_bequests", task=task_id, rooms=len(shared))
        for room in shared:
            if self._rooms.get(room.document.name) is room:
                room.second_look.begin()
                await asyncio.sleep(PAUSE_S)

    async def _bus_answers(self) -> bool:
        try:
            await self._bus.ping()
        except BusUnavailable:
            return False
        return True
