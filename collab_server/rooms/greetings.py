"""Has every room of this task greet the others, after it may have missed something: some each turn of the loop.

Ten thousand rooms at once would hold the loop for a second, and the answers that of every other task. Never forgets a
room: one that is asked for again while it waits is greeted once. Owned by the registry.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING

import structlog

if TYPE_CHECKING:
    from collab_server.rooms.room import Room

log = structlog.get_logger(__name__)

TURN_S, PAUSE_S = 0.002, 0.004
"""A third of the loop's time: some 3,000 rooms a second."""


class Greetings:
    """See the module. `rooms` are the task's by document name."""

    def __init__(self, rooms: Mapping[str, Room]) -> None:
        self._rooms = rooms
        self._waiting: dict[str, None] = {}
        self._due: asyncio.TimerHandle | None = None

    def begin(self) -> None:
        """Greet with every room there is now."""
        self._waiting.update(dict.fromkeys(self._rooms))
        if self._due is None:
            self._some()

    def close(self) -> None:
        """Greet no more."""
        self._waiting.clear()
        if self._due is not None:
            self._due.cancel()

    def _some(self) -> None:
        self._due = None
        until = time.monotonic() + TURN_S
        while self._waiting:
            name = next(iter(self._waiting))
            del self._waiting[name]
            room = self._rooms.get(name)
            if room is not None:
                try:
                    room.greet_peers()
                except Exception:  # a fault of ours in one room must not leave all behind it apart
                    log.exception("greeting_failed", document_id=str(room.document.id))
            if time.monotonic() > until:
                break
        if self._waiting:
            self._due = asyncio.get_running_loop().call_later(PAUSE_S, self._some)
