"""The y-websocket protocol as far as the kit's own client needs it, written apart from the server's. Pure.

Source: y-protocols PROTOCOL.md (sync steps), lib0 encoding.js (varUint). Called by `writer`.
"""

from __future__ import annotations

SYNC_STEP_1, SYNC_STEP_2, UPDATE = range(3)
_SYNC = 0
_DURABLE = 121
"""The server's own message under the subprotocol `yjs.ack`: so many of this connection's messages are durable."""


def varuint(value: int) -> bytes:
    """7 bits a byte, least significant first."""
    found = bytearray()
    while value > 0x7F:
        found.append(value & 0x7F | 0x80)
        value >>= 7
    found.append(value)
    return bytes(found)


def read_varuint(buffer: bytes, at: int) -> tuple[int, int]:
    """The number at a place, and the place behind it. Raises IndexError where the bytes end."""
    value = shift = 0
    while True:
        byte = buffer[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
        shift += 7


def frame(step: int, payload: bytes) -> bytes:
    """A sync message."""
    return bytes((_SYNC, step)) + varuint(len(payload)) + payload


def read_sync(message: bytes) -> tuple[int, bytes] | None:
    """Which sync message it is and what it carries; None for any other message."""
    if len(message) < 3 or message[0] != _SYNC:
        return None
    length, at = read_varuint(message, 2)
    return message[1], message[at : at + length]


def read_durable(message: bytes) -> int | None:
    """How many of this connection's messages are durable, where the message says so."""
    if not message or message[0] != _DURABLE:
        return None
    return read_varuint(message, 1)[0]


def read_state(state_vector: bytes) -> dict[int, int]:
    """The number of operations of each client."""
    number, at = read_varuint(state_vector, 0)
    found = {}
    for _ in range(number):
        client, at = read_varuint(state_vector, at)
        found[client], at = read_varuint(state_vector, at)
    return found
