"""The body of an awareness message: who says what about itself, as of which clock.

Bounded: at most `max_entries` entries of at most `max_state_bytes` each, so that no message makes thousands of ghosts.
A state stays the bytes it came as; whether it is a JSON object and whose client id it may name is for the room to
judge. Pure. Called by the dialects and, for envelopes of other tasks, by `room`.

Source of the format: y-protocols awareness.js (`encodeAwarenessUpdate`).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from collab_server.wire.lib0 import MalformedMessage, prefixed, read_bytes, read_varuint, varuint

BATCH_BYTES, BATCH_ENTRIES = 256 * 1024, 500  # well below what a reader may send in one message


@dataclass(frozen=True, slots=True)
class AwarenessEntry:
    """One client's state. `clock` grows with every change; `state` is UTF-8 JSON, `null` when the client has left."""

    client_id: int
    clock: int
    state: bytes


@dataclass(frozen=True, slots=True)
class AwarenessLimits:
    """How much one awareness message may hold.

    Stock clients repeat what they hear about others, so one message may name everyone in a room.
    """

    max_entries: int = 1_000
    max_state_bytes: int = 16 * 1024  # a name, a colour, two cursor positions: a real one is about 150 bytes


def decode_entries(body: bytes, limits: AwarenessLimits) -> tuple[AwarenessEntry, ...]:
    """Every entry of `body`, all of it consumed. Raises `MalformedMessage`: a message with one bad entry is bad."""
    count, at = read_varuint(body, 0)
    if count > limits.max_entries:
        raise MalformedMessage("awareness_entries")
    entries = []
    for _ in range(count):
        client_id, at = read_varuint(body, at)
        clock, at = read_varuint(body, at)
        state, at = read_bytes(body, at)
        if len(state) > limits.max_state_bytes:
            raise MalformedMessage("awareness_state")
        entries.append(AwarenessEntry(client_id, clock, _checked_utf8(state)))
    if at != len(body):
        raise MalformedMessage("trailing")
    return tuple(entries)


def encode_entries(entries: Iterable[AwarenessEntry]) -> bytes:
    """The body that carries `entries`."""
    parts: list[bytes] = []
    for entry in entries:
        parts += varuint(entry.client_id), varuint(entry.clock), prefixed(entry.state)
    return varuint(len(parts) // 3) + b"".join(parts)


def in_batches(entries: tuple[AwarenessEntry, ...]) -> list[tuple[AwarenessEntry, ...]]:
    """`entries` in messages that a stock client, which repeats what it hears, can send back within anybody's limits."""
    batches: list[list[AwarenessEntry]] = []
    size = 0
    for entry in entries:
        size += len(entry.state)
        if not batches or size > BATCH_BYTES or len(batches[-1]) == BATCH_ENTRIES:
            batches.append([])
            size = len(entry.state)
        batches[-1].append(entry)
    return [tuple(batch) for batch in batches]


def _checked_utf8(state: bytes) -> bytes:
    try:
        state.decode()
    except UnicodeDecodeError:
        raise MalformedMessage("utf8") from None
    return state
