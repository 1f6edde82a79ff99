"""How late the event loop is, measured ten times a second; and proof for the watchdog that it runs at all.

A beat that comes late was kept waiting by what ran before it, and so was every message. Never runs outside the loop it
measures. Started by `assembly` as the last part and stopped as the first, so that neither migrations nor the end of
the process count as a hang.
"""

from __future__ import annotations

import asyncio
import signal
import time
from collections.abc import Callable

from collab_server.watchdog import WATCHDOG

EVERY_S = 0.1
LATELY_S = 30.0  # at least, and twice that at most
FEEDS_PER_LIMIT = 10  # so a hang is noticed between nine tenths of the limit and the limit


class Heartbeat:
    """Reports each delay in seconds to `late`. `watchdog_s` is the longest silence the process survives, 0 any."""

    def __init__(self, late: Callable[[float], None], watchdog_s: float) -> None:
        self._late = late
        self._watchdog_s = watchdog_s
        self._feed_every_s = watchdog_s / FEEDS_PER_LIMIT
        self._fed_at = 0.0
        self._due = 0.0
        self._next: asyncio.TimerHandle | None = None
        self._longest_s = 0.0
        self._lately = (0.0, 0.0)  # of the time before and of the present one
        self._lately_ends = 0.0

    def start(self) -> None:
        """Begin to beat, in the running loop."""
        loop = asyncio.get_running_loop()
        if self._watchdog_s:
            WATCHDOG.start(self._watchdog_s)
            loop.add_signal_handler(signal.SIGTSTP, WATCHDOG.sleep)  # Ctrl-Z, and back an hour later
        self._fed_at = time.monotonic()
        self._expect(self._fed_at)

    def _expect(self, now: float) -> None:
        self._due = now + EVERY_S
        self._next = asyncio.get_running_loop().call_later(EVERY_S, self._beat)

    def _beat(self) -> None:
        now = time.monotonic()
        late_s = max(0.0, now - self._due)
        self._longest_s = max(self._longest_s, late_s)
        self._note_lately(late_s, now)
        self._late(late_s)
        if now - self._fed_at >= self._feed_every_s:
            self._fed_at = now
            WATCHDOG.feed()
        self._expect(now)

    def _note_lately(self, late_s: float, now: float) -> None:
        before, present = self._lately
        if now < self._lately_ends:
            self._lately = before, max(present, late_s)
        else:
            self._lately = present, late_s
            self._lately_ends = now + LATELY_S

    @property
    def longest_lately_s(self) -> float:
        """The longest delay of the last half minute or a little more, whoever asked before."""
        return max(self._lately)

    def take_longest_s(self) -> float:
        """The longest delay since the last call."""
        longest_s, self._longest_s = self._longest_s, 0.0
        return longest_s

    def stop(self) -> None:
        """Beat no more; the process may hang now without being ended."""
        if self._next is not None:
            self._next.cancel()
        if self._watchdog_s:
            WATCHDOG.stop()
            asyncio.get_running_loop().remove_signal_handler(signal.SIGTSTP)
