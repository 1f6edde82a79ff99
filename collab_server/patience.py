"""How long one connection has been silent, quiet, stalled or stuck, counted in turns of the wheel. Pure.

Four clocks for which no message has to read the time: whoever visits the connection says what it sees, and gets the
seconds for which that has been so. Decides nothing. Owned by `connection`.
"""

from __future__ import annotations

from collab_server.wheel import TURN_S

LEAST_PROGRESS_BYTES = 16 * 1024  # in a turn: 4 kB/s, below the worst of mobile networks


class Patience:
    """What the last visit saw. Each method is called once a turn and returns seconds."""

    __slots__ = ("_frames", "_messages", "_queued_bytes", "_quiet", "_silent", "_stalled", "_stuck")

    def __init__(self) -> None:
        self._silent = self._quiet = self._stalled = self._stuck = 0
        self._queued_bytes = 0
        self._frames = 0
        self._messages = -1

    def silent_s(self, *, heard: bool) -> float:
        """Since the peer was heard."""
        self._silent = 0 if heard else self._silent + 1
        return self._silent * TURN_S

    def quiet_s(self, frames: int) -> float:
        """Since the peer was sent anything; `frames` is how many it has been sent so far."""
        self._quiet = self._quiet + 1 if frames == self._frames else 0
        self._frames = frames
        return self._quiet * TURN_S

    def stalled_s(self, queued_bytes: int) -> float:
        """For how long the peer has taken next to nothing of what waits for it; 0 bytes: nothing waits."""
        slow = queued_bytes > max(0, self._queued_bytes - LEAST_PROGRESS_BYTES)
        self._stalled = self._stalled + 1 if slow and self._queued_bytes else 0
        self._queued_bytes = queued_bytes
        return self._stalled * TURN_S

    def stuck_s(self, messages: int, unfinished_bytes: int) -> float:
        """For how long one message has been under way, however many of its bytes came meanwhile (T15).

        `messages` is how many came whole so far.
        """
        self._stuck = self._stuck + 1 if messages == self._messages and unfinished_bytes else 0
        self._messages = messages
        return self._stuck * TURN_S
