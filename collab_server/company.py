"""Who is on the bus: which version all of them read, and whether anybody is there at all.

A task that is alone need not put its edits into envelopes. Alone is who has heard no other task for long; a word of any
ends it at once, and rooms then exchange what was not told. So does a newcomer that reads an older version only, for
what it said before it was known was not heard. Must never silence the control channel, on which tasks find each other.
Built by `assembly`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import structlog

from collab_server.bus import Bus
from collab_server.envelopes import VERSION
from collab_server.neighbours import Neighbours

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
        bus.versions = neighbours.common_versions
        neighbours.on_come.append(self._come)
        neighbours.on_gone.append(self._gone)
        self._gone("")

    def close(self) -> None:
        """Whoever is there: nothing changes any more."""
        if self._due is not None:
            self._due.cancel()

    def _come(self, task_id: str) -> None:
        self.close()
        was_alone, self._bus.is_alone = self._bus.is_alone, False
        if was_alone or VERSION not in self._neighbours.living[task_id].speaks:
            self._compare()

    def _gone(self, _task_id: str) -> None:
        if not self._neighbours.living:
            self.close()
            self._due = asyncio.get_running_loop().call_later(ALONE_AFTER_S, self._be_alone)

    def _be_alone(self) -> None:
        log.info("bus_without_neighbours")
        self._bus.is_alone = True
