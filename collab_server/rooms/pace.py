"""When a room's news goes out: at once, or on a short tick that grows with how many hear of it.

One write to a socket costs more than all else an update needs, so what counts is deliveries: news a second times
receivers. A quiet or small room never waits. In a busy one a tick of one millisecond for about every thousand
deliveries a second puts several pieces of news into one frame. Pure: `now` is an argument, in seconds of a monotonic
clock. One for each lane of a room; called by `broadcast`.
"""

from __future__ import annotations

from math import exp

SMALL_ROOM = 8
"""Up to so many receivers nothing waits, and no pace is kept: they cost less than a timer and a merge would."""

SECONDS_A_DELIVERY = 1.25e-6
"""Tick for each delivery a second: 50 people who type 5 keys a second each make 12,250 and wait up to 15 ms."""

WORTH_WAITING = 1.0
"""Further pieces of news to expect within the tick: below that waiting gathers nothing."""

WINDOW_S = 0.5
"""Over which the rate is averaged: a burst is noticed within some keystrokes and forgotten within a second."""


class Pace:
    """The pace of one lane. `max_delay_s` caps what is added to any delivery; 0 sends everything at once."""

    __slots__ = ("_max_delay_s", "_rate", "_seen_at", "_sent_at", "tick_s")

    def __init__(self, max_delay_s: float) -> None:
        self._max_delay_s = max_delay_s
        self._rate = 0.0
        self._seen_at = self._sent_at = float("-inf")
        self.tick_s = 0.0

    def delay_s(self, now: float, receivers: int) -> float:
        """How long news that came `now` waits before it goes to `receivers`; 0.0: it goes at once."""
        self._rate = rate = self._rate * exp((self._seen_at - now) / WINDOW_S) + 1 / WINDOW_S
        self._seen_at = now
        tick_s = rate * receivers * SECONDS_A_DELIVERY
        if tick_s > self._max_delay_s:
            tick_s = self._max_delay_s
        if rate * tick_s < WORTH_WAITING:
            return 0.0
        self.tick_s = tick_s
        wait_s = self._sent_at + tick_s - now
        return wait_s if wait_s > 0.0 else 0.0

    def sent(self, now: float) -> None:
        """News went out `now`."""
        self._sent_at = now
