"""Leaves out of an update what a room holds already, where a struct is half known.

Such a struct comes from one who does not know what the room holds. The CRDT cuts it and takes the rest to stand behind
the half it knows, but in the parent that the struct names. A forger names another parent than that half has, and the
rest then hangs in two of them at once, which costs the process when one is deleted. So the struct is cut here, where
the rest gets a neighbour, and with it the same parent for certain; these bytes are applied, relayed and stored.

The update must have passed every check. Pure. Called by `firewall`.
"""

from __future__ import annotations

from collections.abc import Mapping

from collab_server.update_format import HAS_ORIGIN, HAS_PARENT_SUB, READERS, skip_values
from collab_server.update_reading import STRING, read_place
from collab_server.wire.lib0 import prefixed, read_string, read_varuint, varuint

_ANY = 8
_CONTENT_BITS = 0x1F


def without_known(update: bytes, known: Mapping[int, int]) -> bytes:
    """The same update for a room that holds `known` (client → end clock): no struct begins below a client's clock."""
    parts = []
    clients, at = read_varuint(update, 0)
    for _ in range(clients):
        count, at = read_varuint(update, at)
        client, at = read_varuint(update, at)
        clock, at = read_varuint(update, at)
        held = known.get(client, 0)
        first, kept = clock, []
        for _ in range(count):
            start = at
            length, at = _length(update, at)
            if clock >= held:
                kept.append(update[start:at])
            elif clock + length > held:
                kept.append(_cut(update[start:at], client, held, held - clock))
            clock += length
        if kept:
            parts.append(varuint(len(kept)) + varuint(client) + varuint(max(first, held)) + b"".join(kept))
    return varuint(len(parts)) + b"".join(parts) + update[at:]


def _length(update: bytes, at: int) -> tuple[int, int]:
    """How many clocks the struct at `at` spans, and the position after it."""
    reader = READERS[update[at]]
    if reader is None:
        return read_varuint(update, at + 1)
    return reader(update, read_place(update, at).at)


def _cut(struct: bytes, client: int, clock: int, offset: int) -> bytes:
    """What is left of `struct` from its `offset` on, which is at `clock`: it stands behind what came before."""
    reader = READERS[struct[0]]
    if reader is None:
        length, _end = read_varuint(struct, 1)
        return struct[:1] + varuint(length - offset)
    place = read_place(struct, 0)
    out = bytes((struct[0] & ~HAS_PARENT_SUB | HAS_ORIGIN,)) + varuint(client) + varuint(clock - 1)
    if place.right_origin:
        out += varuint(place.right_origin[0]) + varuint(place.right_origin[1])
    return out + _cut_content(struct[0] & _CONTENT_BITS, struct, place.at, offset)


def _cut_content(kind: int, struct: bytes, at: int, offset: int) -> bytes:
    if kind == STRING:
        text, _end = read_string(struct, at)
        return prefixed(text.encode("utf-16-le")[2 * offset :].decode("utf-16-le", "replace").encode())
    length, begin = read_varuint(struct, at)
    if kind == _ANY:
        begin = skip_values(struct, begin, offset)
    return varuint(length - offset) + struct[begin:]
