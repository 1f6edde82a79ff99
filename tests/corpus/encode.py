"""Writes Yjs updates that no Yjs would write. Knows the format as tests/corpus needs it, and checks nothing."""

from __future__ import annotations

from collections.abc import Sequence

from collab_server.wire.lib0 import prefixed, varuint

ORIGIN, RIGHT_ORIGIN, PARENT_SUB = 0x80, 0x40, 0x20

Id = tuple[int, int]


def text(value: str) -> bytes:
    return prefixed(value.encode())


def reference(to: Id) -> bytes:
    return varuint(to[0]) + varuint(to[1])


def item(
    content: int,
    body: bytes,
    *,
    parent: str | Id = "x",
    key: str | None = None,
    origin: Id | None = None,
    right_origin: Id | None = None,
) -> bytes:
    """One struct with content. A parent is only written where there is no neighbour, as Yjs does."""
    info = content | ORIGIN * (origin is not None) | RIGHT_ORIGIN * (right_origin is not None)
    info |= PARENT_SUB * (key is not None)
    out = bytes((info,)) + (reference(origin) if origin else b"") + (reference(right_origin) if right_origin else b"")
    if not origin and not right_origin:
        out += b"\x01" + text(parent) if isinstance(parent, str) else b"\x00" + reference(parent)
        out += text(key) if key is not None else b""
    return out + body


def structs(client: int, clock: int, items: Sequence[bytes]) -> bytes:
    """The part of one client."""
    return varuint(len(items)) + varuint(client) + varuint(clock) + b"".join(items)


def update(*clients: bytes, deletes: Sequence[tuple[int, Sequence[tuple[int, int]]]] = ()) -> bytes:
    """A whole update: the parts of clients, then deleted (clock, length) ranges of clients."""
    out = varuint(len(clients)) + b"".join(clients) + varuint(len(deletes))
    for client, ranges in deletes:
        out += varuint(client) + varuint(len(ranges)) + b"".join(reference(found) for found in ranges)
    return out
