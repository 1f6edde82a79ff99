"""The port between bytes and messages: what a wire dialect owes the rooms.

Pure. A module such as `wire.yjs` is an adapter as it stands. Members hold one and never look at bytes themselves.
"""

from __future__ import annotations

from typing import Protocol

from collab_server.wire.awareness import AwarenessLimits
from collab_server.wire.messages import Message


class Dialect(Protocol):
    """One client family's language. Frames are whole WebSocket binary payloads."""

    def decode(self, frame: bytes, limits: AwarenessLimits) -> Message:
        """The message in `frame`, all of it consumed. Raises `MalformedMessage`."""

    def short_update(self, frame: bytes) -> bytes | None:
        """The update in a frame that is plainly a short `Update`, past `decode`: the hot path. None: decode it."""

    def encode(self, message: Message) -> bytes:
        """The payload that carries `message`."""

    def encode_update(self, update: bytes) -> bytes:
        """The payload that relays `update`: the same as `encode(Update(update))`, and the hot path."""
