"""What is on its way to one member: bounded in bytes, with a stated consequence at each bound.

Above the high-water mark it is `congested` and its room sends it no more news; what it asks for itself is still sent,
and at the hard bound it is closed. Never waits. The transport tells when it is above its mark, so a frame to a member
that keeps up costs one write and two additions.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable


class Outbox:
    """Frames to one member. `send` takes prebuilt WebSocket frames, which many members share."""

    __slots__ = ("_max_bytes", "_overflow", "_transport", "congested", "frames", "sent_bytes")

    def __init__(self, transport: asyncio.Transport, max_bytes: int, overflow: Callable[[], None]) -> None:
        self._transport = transport
        self._max_bytes = max_bytes
        self._overflow = overflow
        self.congested = False
        self.sent_bytes = 0
        self.frames = 0

    def send(self, frame: bytes) -> None:
        """Queue `frame`; past the hard bound the member is closed instead."""
        if self.congested and self._transport.get_write_buffer_size() + len(frame) > self._max_bytes:
            self._overflow()
            return
        self.sent_bytes += len(frame)
        self.frames += 1
        self._transport.write(frame)

    @property
    def queued_bytes(self) -> int:
        """Bytes not yet taken by the operating system."""
        return self._transport.get_write_buffer_size()
