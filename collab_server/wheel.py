"""One clock hand for all connections: each is looked at once a turn, so that none needs timers of its own.

With 10,000 connections a timer each would be 10,000 heap entries that change with every message; this costs one list
walk a second. Never awaits. Owned by `server`; `connection` is what it visits.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Protocol

import structlog

log = structlog.get_logger(__name__)

SLOTS = 8
TURN_S = 4.0  # every connection is visited once in this time: the precision of its deadlines


class Visited(Protocol):
    """What the wheel carries."""

    def visit(self, now: float) -> None:
        """Look at deadlines; `now` is monotonic seconds. Must not raise or block."""


class Wheel:
    """Visits everything added to it once every `TURN_S` seconds, in `SLOTS` steps; `after_step` runs after each."""

    def __init__(self, after_step: Callable[[], None] = lambda: None) -> None:
        self._after_step = after_step
        self._slots: list[dict[Visited, None]] = [{} for _ in range(SLOTS)]
        self._next = 0

    def add(self, visited: Visited) -> int:
        """Start visiting; returns the slot to `remove` it from."""
        slot = self._next = (self._next + 1) % SLOTS
        self._slots[slot][visited] = None
        return slot

    def remove(self, visited: Visited, slot: int) -> None:
        """Stop visiting."""
        self._slots[slot].pop(visited, None)

    async def turn(self) -> None:
        """Go round for ever; a fault in one visit is logged and keeps nobody else from theirs."""
        loop = asyncio.get_running_loop()
        step_s = TURN_S / SLOTS
        slot = 0
        while True:
            await asyncio.sleep(step_s)
            now = loop.time()
            slot = (slot + 1) % SLOTS
            for visited in list(self._slots[slot]):
                try:
                    visited.visit(now)
                except Exception as error:
                    log.error("visit_failed", exc_info=error)
            try:
                self._after_step()
            except Exception as error:
                log.error("step_failed", exc_info=error)
