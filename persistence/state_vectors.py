"""Yjs v1 state vectors: how much of each client a document holds. Pure.

Encoding (yjs `encodeStateVector`, lib0 varUint): a count, then that many pairs of client id and clock, where the clock
is one past the last one held. It must never trust a count: the journal's rows were written by us, but long ago.
Called by the fold (which rows does the result hold?) and by the checkpointer (did the result lose anything?).
"""

from collections.abc import Mapping
from itertools import chain

MAX_VARUINT_BYTES = 8  # lib0 numbers end at 2^53 - 1
CONTINUES = 0x80


def decode(state_vector: bytes) -> dict[int, int]:
    """Client id to clock. Raises ValueError for anything but one whole, well-formed state vector."""
    count, position = _varuint(state_vector, 0)
    if count * 2 > len(state_vector) - position:
        raise ValueError("a state vector that counts more clients than it has bytes for")
    clocks: dict[int, int] = {}
    for _ in range(count):
        client, position = _varuint(state_vector, position)
        clocks[client], position = _varuint(state_vector, position)
    if position != len(state_vector) or len(clocks) != count:
        raise ValueError("a state vector with trailing bytes or a client named twice")
    return clocks


def encode(clocks: Mapping[int, int]) -> bytes:
    """The state vector of a document at `clocks` (client id → clock)."""
    return b"".join(map(varuint, (len(clocks), *chain.from_iterable(clocks.items()))))


def covers(clocks: dict[int, int], needed: dict[int, int]) -> bool:
    """Whether a document at `clocks` holds everything up to `needed`."""
    return all(clocks.get(client, 0) >= clock for client, clock in needed.items())


def varuint(value: int) -> bytes:
    """A number as lib0 writes it."""
    encoded = bytearray()
    while value >= CONTINUES:
        encoded.append(value % CONTINUES | CONTINUES)
        value //= CONTINUES
    encoded.append(value)
    return bytes(encoded)


def _varuint(source: bytes, position: int) -> tuple[int, int]:
    value = 0
    for index, byte in enumerate(source[position : position + MAX_VARUINT_BYTES]):
        value |= (byte & ~CONTINUES) << (7 * index)
        if byte < CONTINUES:
            return value, position + index + 1
    raise ValueError("a state vector that ends inside a number, or a number beyond 2^56")
