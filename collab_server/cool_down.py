"""Who must stay away for a while, because a connection of theirs was closed for sending too much.

Without it whoever floods comes back at once and is given a new burst. Pure: `now` is an argument, and every call of one
object gets seconds of one clock that never steps back. Must never remember more than `most` of them. Kept by `server`.
"""

from __future__ import annotations

MOST = 10_000


class CoolDown:
    """Keys that began their `seconds` lately; 0 seconds keep nobody away."""

    __slots__ = ("_most", "_seconds", "_until")

    def __init__(self, seconds: float, most: int = MOST) -> None:
        self._seconds = seconds
        self._most = most
        self._until: dict[str, float] = {}  # in the order in which they end, because all take equally long

    def begin(self, key: str, now: float) -> None:
        """Keep `key` away from now on; whoever has waited longest is let off when there are too many."""
        if self._seconds <= 0.0:
            return
        self._until.pop(key, None)
        if self.count(now) >= self._most:
            del self._until[next(iter(self._until))]
        self._until[key] = now + self._seconds

    def left_s(self, key: str, now: float) -> float:
        """How many seconds `key` must stay away; 0.0 for one that may come."""
        return max(0.0, self._until.get(key, now) - now)

    def count(self, now: float) -> int:
        """How many are kept away; those whose time is up are forgotten."""
        while self._until and self._until[first := next(iter(self._until))] <= now:
            del self._until[first]
        return len(self._until)
