"""Short incoming WebSocket frames, read in place: nine in ten are one keystroke or one cursor.

The library's parser costs more than all else about them; only its unmasking in C is used here. Whatever is not a short
whole binary message is left to it. Pure. Called by `connection`.
"""

from __future__ import annotations

try:
    from websockets.speedups import apply_mask  # in C
except ImportError:  # a platform without a wheel
    from websockets.utils import apply_mask

_BINARY = 0x82  # RFC 6455 §5.2: FIN set, opcode 2
_MASKED = 0x80
_MASKED_HEAD_BYTES = 6
_LENGTH_IN_2_BYTES = 126


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
