"""Who is on the bus: which version all of them read, and whether anybody is there at all.

A task that is alone need not put its edits into envelopes. Alone is who has heard no other task for long; a word of any
ends it at once, and rooms then exchange what was not told. So does a newcomer that reads an older version only, for
what it said before it was known was not heard; and so does one that counted as gone and lives, for while it was not
heard neither were its edits. Must never silence the control channel, on which tasks find each other.
Built by `assembly`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import structlog

from collab_server.bus import Bus
from collab_server.envelopes import VERSION
from collab_server.neighbours import MOST_NEIGHBOURS, Neighbours

log = structlog.get_logger(__name__)

ALONE_AFTER_S = 30.0
"""Silence of all others: several times what makes one of them count as gone."""


class Company:
    """Sets `bus.versions` and `bus.is_alone`, from now on; `compare` has every room exchange states with the others."""

    def __init__(self, bus: Bus, neighbours: Neighbours, compare: Callable[[], None]) -> None:
        self._bus = bus
        self._neighbours = neighbours
        self._compare = compare
        self._due: asyncio.TimerHandle | None = None
        self._lost: dict[str, None] = {}  # who counted as gone; ids of tasks that ended never come again
        bus.versions = neighbours.common_versions
        neighbours.on_come.append(self._come)
        neighbours.on_gone.append(self._gone)
        self._expect_nobody()

    def close(self) -> None:
        """Whoever is there: nothing changes any more."""
        if self._due is not None:
            self._due.cancel()

    def _come(self, task_id: str) -> None:
        self.close()
        was_alone, self._bus.is_alone = self._bus.is_alone, False
        was_lost = task_id in self._lost
        self._lost.pop(task_id, None)
        if was_alone or was_lost or VERSION not in self._neighbours.living[task_id].speaks:
            self._compare()

    def _gone(self, task_id: str) -> None:
        self._lost[task_id] = None
        if len(self._lost) > MOST_NEIGHBOURS:
            del self._lost[next(iter(self._lost))]
        self._expect_nobody()

    def _expect_nobody(self) -> None:
        if not self._neighbours.living:
            self.close()
            self._due = asyncio.get_running_loop().call_later(ALONE_AFTER_S, self._be_alone)

    def _be_alone(self) -> None:
        log.info("bus_without_neighbours")
        self._bus.is_alone = True
