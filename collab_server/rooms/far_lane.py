"""The awareness of one room on its way to other tasks: of each client the newest state, a message now and then.

News goes out at once after a quiet moment, and else with the next tick. It never holds an update up, which has a way of
its own, nor takes its place: while the bus holds much back the queue takes no awareness (`bus_parts`), for whoever
lives shows itself again. Owned by `cursors`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable

from collab_server.bus import Bus, EnvelopeKind, Heading
from collab_server.wire.awareness import AwarenessEntry, encode_entries, in_batches
from collab_server.wire.messages import REMOVED

TICK_S = 0.03
"""Two frames of a screen: a cursor on another task is seldom drawn later for it, and ten people cost as much as one."""


class FarLane:
    """See the module. `speaks_for` tells whether a client's member is on this task."""

    __slots__ = ("_bus", "_due", "_heading", "_loop", "_sent_at", "_speaks_for", "_waiting")

    def __init__(self, heading: Heading, bus: Bus, speaks_for: Callable[[int], bool]) -> None:
        self._heading = heading
        self._bus = bus
        self._speaks_for = speaks_for
        self._loop = asyncio.get_running_loop()
        self._waiting: dict[int, AwarenessEntry] = {}
        self._sent_at = float("-inf")
        self._due: asyncio.TimerHandle | None = None

    def send(self, entries: Iterable[AwarenessEntry]) -> None:
        """Tell the other tasks, now or with the next tick."""
        if self._bus.is_alone:
            return
        self._waiting.update((entry.client_id, entry) for entry in entries)
        if self._due is None and self._waiting:
            early_s = self._sent_at + TICK_S - self._loop.time()
            if early_s > 0:
                self._due = self._loop.call_later(early_s, self.flush)
            else:
                self.flush()

    def flush(self) -> None:
        """Send what waits."""
        if self._due is not None:
            self._due.cancel()
            self._due = None
        waiting, self._waiting = self._waiting, {}
        self._sent_at = self._loop.time()
        # Of one who has meanwhile turned up on another task nobody would ever take back what this one says.
        entries = tuple(each for each in waiting.values() if each.state == REMOVED or self._speaks_for(each.client_id))
        for batch in in_batches(entries):
            self._bus.publish(self._heading.over(EnvelopeKind.AWARENESS, encode_entries(batch)))
