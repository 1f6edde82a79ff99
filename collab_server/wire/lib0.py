"""lib0 primitives, the encoding under every Yjs message: variable-length integers, byte strings, text.

Readers take a buffer and a position, return the value and the next position, and raise `MalformedMessage`. They never
allocate by a declared length: a length is compared with the bytes that are left first. Pure. Called by every codec in
`wire` and, for its update format, by the firewall.

Source of the format: lib0 encoding.js and decoding.js (`writeVarUint`, `writeVarUint8Array`, `writeVarString`).
"""

from __future__ import annotations

from collections.abc import Mapping

MAX_VARUINT = 2**53 - 1  # JavaScript's largest safe integer, and so the largest client id
_MAX_SHIFT = 49  # 8 bytes of 7 bits hold MAX_VARUINT; a ninth byte is an attack on big-integer arithmetic

_ONE_BYTE = tuple(bytes((value,)) for value in range(0x80))


class MalformedMessage(Exception):
    """The bytes are not valid in this protocol. `reason` is a short slug, safe to show and to count by."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


def read_varuint(buffer: bytes, at: int) -> tuple[int, int]:
    """An unsigned integer, at most 8 bytes and 2^53-1: 7 bits a byte, least significant first, 0x80 = more."""
    try:
        byte = buffer[at]
        at += 1
        if byte < 0x80:
            return byte, at
        value = byte & 0x7F
        shift = 7
        while True:
            byte = buffer[at]
            at += 1
            if byte < 0x80:
                break
            value |= (byte & 0x7F) << shift
            shift += 7
            if shift > _MAX_SHIFT:
                raise MalformedMessage("varint")
    except IndexError:
        raise MalformedMessage("truncated") from None
    value |= byte << shift
    if value > MAX_VARUINT:
        raise MalformedMessage("varint")
    return value, at


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
    while value >= 0x80:
        encoded.append(value & 0x7F | 0x80)
        value >>= 7
    encoded.append(value)
    return bytes(encoded)


def prefixed(content: bytes) -> bytes:
    """`content` after its length."""
    return varuint(len(content)) + content


def encode_state_vector(clocks: Mapping[int, int]) -> bytes:
    """A Yjs state vector: how many clients, then each client id with the number of its operations that are known.

    Higher client ids first, as Yjs writes them, so that equal states have equal bytes (yjs encoding.js,
    `writeStateVector`).
    """
    parts = [varuint(len(clocks))]
    for client in sorted(clocks, reverse=True):
        parts.append(varuint(client))
        parts.append(varuint(clocks[client]))
    return b"".join(parts)
