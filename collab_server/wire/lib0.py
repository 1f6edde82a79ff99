"""lib0 primitives, the encoding under every Yjs message: variable-length integers, byte strings, text.

Readers take a buffer and a position, return the value and the next position, and raise `MalformedMessage`. They never
allocate by a declared length: a length is compared with the bytes that are left first. Pure. Called by every codec in
`wire` and, for its update format, by the firewall.

Source of the format: lib0 encoding.js and decoding.js (`writeVarUint`, `writeVarUint8Array`, `writeVarString`).
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache

MAX_VARUINT = 2**53 - 1  # JavaScript's largest safe integer, and so the largest client id
MAX_VARUINT_BYTES = 8  # they hold MAX_VARUINT; an endless integer is an attack on big-number arithmetic

_ONE_BYTE = tuple(bytes((value,)) for value in range(0x80))


class MalformedMessage(Exception):
    """The bytes are not valid in this protocol. `reason` is a short slug, safe to show and to count by."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


def read_varuint(buffer: bytes, at: int) -> tuple[int, int]:
    """An unsigned integer, at most 8 bytes and 2^53-1: 7 bits a byte, least significant first, 0x80 = more.

    Half the time of checking a keystroke is spent here, so five bytes, which hold the 32-bit client ids of stock Yjs,
    are read without a loop; each constant takes away the "more" bits that were added with the bytes.
    """
    try:
        byte_0 = buffer[at]
        if byte_0 < 0x80:
            return byte_0, at + 1
        byte_1 = buffer[at + 1]
        if byte_1 < 0x80:
            return byte_0 + (byte_1 << 7) - 0x80, at + 2
        byte_2 = buffer[at + 2]
        if byte_2 < 0x80:
            return byte_0 + (byte_1 << 7) + (byte_2 << 14) - 0x4080, at + 3
        byte_3 = buffer[at + 3]
        if byte_3 < 0x80:
            return byte_0 + (byte_1 << 7) + (byte_2 << 14) + (byte_3 << 21) - 0x204080, at + 4
        byte_4 = buffer[at + 4]
        if byte_4 < 0x80:
            return byte_0 + (byte_1 << 7) + (byte_2 << 14) + (byte_3 << 21) + (byte_4 << 28) - 0x10204080, at + 5
        return _read_long_varuint(buffer, at)
    except IndexError:
        raise MalformedMessage("truncated") from None


def _read_long_varuint(buffer: bytes, at: int) -> tuple[int, int]:
    value = 0
    for shift in range(0, 7 * MAX_VARUINT_BYTES, 7):
        byte = buffer[at]
        at += 1
        if byte < 0x80:
            value |= byte << shift
            if value > MAX_VARUINT:
                break
            return value, at
        value |= (byte & 0x7F) << shift
    raise MalformedMessage("varint")


def read_bytes(buffer: bytes, at: int) -> tuple[bytes, int]:
    """A byte string after its length."""
    length, at = read_varuint(buffer, at)
    end = at + length
    if end > len(buffer):
        raise MalformedMessage("truncated")
    return buffer[at:end], end


def read_string(buffer: bytes, at: int) -> tuple[str, int]:
    """Text after its length in bytes, strict UTF-8 (no surrogates, no overlong forms)."""
    encoded, at = read_bytes(buffer, at)
    try:
        return encoded.decode(), at
    except UnicodeDecodeError:
        raise MalformedMessage("utf8") from None


def varuint(value: int) -> bytes:
    """`value`, from 0 to 2^53-1, in as few bytes as it takes. Raises `ValueError` outside that range."""
    if 0 <= value < 0x80:
        return _ONE_BYTE[value]
    if not 0 <= value <= MAX_VARUINT:
        raise ValueError(f"not a lib0 unsigned integer: {value}")
    encoded = bytearray()
    if value < 0x4000:
        return bytes((value & 0x7F | 0x80, value >> 7))
    while value >= 0x80:
        encoded.append(value & 0x7F | 0x80)
        value >>= 7
    encoded.append(value)
    return bytes(encoded)


_client_id = lru_cache(maxsize=4096)(varuint)  # five bytes, one at a time, of the same clients again and again


def prefixed(content: bytes) -> bytes:
    """`content` after its length."""
    return varuint(len(content)) + content


def encode_state_vector(clocks: Mapping[int, int]) -> bytes:
    """A Yjs state vector: how many clients, then each client id with the number of its operations that are known.

    Higher client ids first, as Yjs writes them, so that equal states have equal bytes (yjs encoding.js,
    `writeStateVector`).
    """
    if len(clocks) == 1:  # most updates are of one client
        ((client, clock),) = clocks.items()
        return b"\x01" + _client_id(client) + varuint(clock)
    parts = [varuint(len(clocks))]
    for client in sorted(clocks, reverse=True):
        parts.append(varuint(client))
        parts.append(varuint(clocks[client]))
    return b"".join(parts)
