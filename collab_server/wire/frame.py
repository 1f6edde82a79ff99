"""WebSocket frames on the hot path: an outgoing one is built once for all members.

Server-to-client frames are unmasked, so the same bytes serve everyone. Never fragments, never compresses. Pure. Called
by `broadcast`, `member`, and for the length of incoming ones by `connection` (`short_frames` reads them).
"""

from __future__ import annotations

_BINARY = 0x82  # RFC 6455 §5.2: FIN set, opcode 2
_LENGTH_IN_2_BYTES = 126
_LENGTH_IN_8_BYTES = 127

_SHORT_HEADS = tuple(bytes((_BINARY, length)) for length in range(_LENGTH_IN_2_BYTES))


def binary_frame(payload: bytes) -> bytes:
    """`payload` as one unmasked binary message."""
    length = len(payload)
    if length < _LENGTH_IN_2_BYTES:
        return _SHORT_HEADS[length] + payload
    if length < 0x1_0000:
        return bytes((_BINARY, _LENGTH_IN_2_BYTES)) + length.to_bytes(2, "big") + payload
    return bytes((_BINARY, _LENGTH_IN_8_BYTES)) + length.to_bytes(8, "big") + payload


_MASKED_HEAD_BYTES = 6


def masked_frame_bytes(payload_bytes: int) -> int:
    """How long a client's frame of so much payload is at least: with the shortest form of its length."""
    if payload_bytes < _LENGTH_IN_2_BYTES:
        return _MASKED_HEAD_BYTES + payload_bytes
    return _MASKED_HEAD_BYTES + payload_bytes + (2 if payload_bytes < 0x1_0000 else 8)
