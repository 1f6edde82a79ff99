"""Shares the loop among connections: what one of them sent in a rush is acted on a few milliseconds a turn.

A read may bring 256 KiB, which is thousands of short messages; everybody else would wait for the last of them. So bytes
are passed on in slices, and once a turn's time is up the rest, and the socket, wait for the next turn. Owned by
`connection`, which is fed; `hold` is for its member.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

TURN_S = 0.002  # of the loop, for one connection; a member that types needs a hundredth of it
SLICE_BYTES = 4 * 1024  # the most that is parsed before anyone looks at limits or the time: 680 empty frames, 4 ms


class Turns:
    """The bytes of one connection that have come and wait. `feed` is called with slices, in order."""

    __slots__ = ("_feed", "_held", "_later", "_loop", "_transport")

    def __init__(self, feed: Callable[[bytes], None], transport: asyncio.Transport, loop: asyncio.AbstractEventLoop):
        self._feed = feed
        self._transport = transport
        self._loop = loop
        self._later = b""
        self._held = False

    def __len__(self) -> int:
        """Bytes that wait."""
        return len(self._later)

    def take(self, data: bytes) -> None:
        """Pass `data` on, now or in turns."""
        if self._later:
            self._later += data
        elif len(data) <= SLICE_BYTES:
            self._feed(data)
        else:
            self._go_on(data)

    def hold(self, hold: bool) -> None:
        """Read nothing more from the socket for now, or go on."""
        self._held = hold
        self._pause_or_resume()

    def _go_on(self, data: bytes) -> None:
        ends_at = time.monotonic() + TURN_S  # the loop's own time stands still within a turn
        for end in range(SLICE_BYTES, len(data) + SLICE_BYTES, SLICE_BYTES):
            self._feed(data[end - SLICE_BYTES : end])
            if time.monotonic() > ends_at and end < len(data) and not self._transport.is_closing():
                self._later = data[end:]
                self._loop.call_soon(self._next_turn)
                break
        self._pause_or_resume()

    def _next_turn(self) -> None:
        data, self._later = self._later, b""
        self._go_on(data)

    def _pause_or_resume(self) -> None:
        if not self._transport.is_closing():
            (self._transport.pause_reading if self._later or self._held else self._transport.resume_reading)()
