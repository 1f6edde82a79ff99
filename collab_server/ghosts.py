"""Takes the cursors of tasks that are gone from everyone's screen.

A task that ends well says who left with it. Of one that was killed, or that nobody can hear, nothing more comes: here
its cursors go when it counts as gone (`neighbours`), and any other task's that were not renewed for long. Should it
live after all, its next words bring its members back (`cursors.show_remote`). Must never hold the loop up, however many
rooms there are. Built by `assembly`.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping

import structlog

from collab_server.neighbours import Neighbours
from collab_server.rooms.cursors import Cursors
from collab_server.rooms.room import Room
from collab_server.tasks import Tasks

log = structlog.get_logger(__name__)

SWEEP_EVERY_S = 5.0
ROOMS_A_TURN = 50
"""Each may have to tell hundreds of members: some 2 ms."""


class Ghosts:
    """See the module. `rooms` are this task's by name."""

    def __init__(
        self, rooms: Mapping[str, Room], neighbours: Neighbours, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._rooms = rooms
        self._neighbours = neighbours
        self._clock = clock
        self._tasks = Tasks()
        neighbours.on_gone.append(self._gone)

    def start(self) -> None:
        """Begin to look for what was not renewed."""
        self._tasks.start(self._sweep(), "sweep-ghosts")

    async def close(self) -> None:
        """Look no more."""
        await self._tasks.close()

    def _gone(self, task_id: str) -> None:
        self._tasks.start(self._forget(task_id), "forget-task")

    async def _forget(self, task_id: str) -> None:
        def forget(cursors: Cursors) -> None:
            if task_id not in self._neighbours.living:  # it was heard again meanwhile
                cursors.forget_task(task_id)

        await self._in_each_room(forget)

    async def _sweep(self) -> None:
        while True:
            await asyncio.sleep(SWEEP_EVERY_S)
            now = self._clock()
            await self._in_each_room(lambda cursors: cursors.forget_unrenewed(now))  # noqa: B023 - done before the next

    async def _in_each_room(self, act: Callable[[Cursors], None]) -> None:
        for number, room in enumerate(list(self._rooms.values())):
            try:
                act(room.cursors)
            except Exception:  # a fault of ours in one room must not end the sweep for all of them
                log.exception("ghosts_not_taken", document_id=str(room.document.id))
            if number % ROOMS_A_TURN == ROOMS_A_TURN - 1:
                await asyncio.sleep(0)
