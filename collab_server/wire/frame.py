"""WebSocket frames on the hot path: an outgoing one is built once for all members, a short incoming one read in place.

Server-to-client frames are unmasked, so the same bytes serve everyone. Never fragments, never compresses; whatever is
not a short whole binary message is left to the WebSocket library. Pure. Called by `broadcast`, `member`, `connection`.
"""

from __future__ import annotations

try:
    from websockets.speedups import apply_mask  # in C
except ImportError:  # a platform without a wheel
    from websockets.utils import apply_mask

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
_MASKED = 0x80


def short_message(received: bytes, at: int) -> tuple[bytes, int] | None:
    """The payload of the masked binary message of at most 125 bytes that begins at `at`, and where the next one begins.

    None when anything else is there: a longer, fragmented, unmasked, control or incomplete frame (RFC 6455 §5.2).
    """
    start = at + _MASKED_HEAD_BYTES
    if len(received) < start or received[at] != _BINARY:
        return None
    length = received[at + 1] - _MASKED
    end = start + length
    if not 0 <= length < _LENGTH_IN_2_BYTES or end > len(received):
        return None
    return apply_mask(received[start:end], received[at + 2 : start]), end


def masked_frame_bytes(payload_bytes: int) -> int:
    """How long a client's frame of so much payload is at least: with the shortest form of its length."""
    if payload_bytes < _LENGTH_IN_2_BYTES:
        return _MASKED_HEAD_BYTES + payload_bytes
    return _MASKED_HEAD_BYTES + payload_bytes + (2 if payload_bytes < 0x1_0000 else 8)
