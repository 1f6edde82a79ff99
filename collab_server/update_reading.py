"""Reads a Yjs v1 update that has passed the firewall, for questions its one pass leaves open.

Checks nothing: bytes that were not checked may raise anything. Pure. Called by `update_graph`, `update_keys`,
`update_trim`, `surrogates` and rooms.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from collab_server.update_format import HAS_ORIGIN, HAS_PARENT_SUB, HAS_RIGHT_ORIGIN, READERS
from collab_server.wire.lib0 import read_bytes, read_varuint

DELETED, STRING = 1, 4  # contents of a struct; garbage and holes are 0 and 10
_CONTENT_BITS = 0x1F

NO_UPDATE = b"\x00\x00"  # no structs, no deletes

Id = tuple[int, int]  # client, clock


class Struct(NamedTuple):
    """One struct: `length` clocks from `clock` on, placed by its neighbours or else its parent, `content` in bytes.

    `has_key` tells that it says itself which key of its parent it is a value of.
    """

    client: int
    clock: int
    length: int
    kind: int
    origin: Id | None
    right_origin: Id | None
    parent: Id | None
    content: bytes
    has_key: bool = False


class Place(NamedTuple):
    """Where a struct with content stands, and `at` which position its content begins."""

    origin: Id | None
    right_origin: Id | None
    parent: Id | None
    has_key: bool
    at: int


class Deleted(NamedTuple):
    """A range of deleted clocks, from `clock` up to but not with `end`."""

    client: int
    clock: int
    end: int


def read_update(update: bytes) -> tuple[list[Struct], list[Deleted]]:
    """The structs in their order in the update, and the delete set."""
    structs, at = _read_structs(update)
    return structs, list(_read_deletes(update, at))


def cut_deletes(update: bytes) -> tuple[bytes, bytes]:
    """Two updates that together bring the same: the structs, and the deletes."""
    if update[-1] == 0:  # no client in the delete set, which is the last of an update
        return update, NO_UPDATE
    _structs, at = _read_structs(update)
    return update[:at] + b"\x00", b"\x00" + update[at:]


def _read_structs(update: bytes) -> tuple[list[Struct], int]:
    structs = []
    clients, at = read_varuint(update, 0)
    for _ in range(clients):
        count, at = read_varuint(update, at)
        client, at = read_varuint(update, at)
        clock, at = read_varuint(update, at)
        for _ in range(count):
            struct, at = _read_struct(update, at, client, clock)
            structs.append(struct)
            clock += struct.length
    return structs, at


def _read_struct(update: bytes, at: int, client: int, clock: int) -> tuple[Struct, int]:
    info = update[at]
    reader = READERS[info]
    if reader is None:
        length, at = read_varuint(update, at + 1)
        return Struct(client, clock, length, info, None, None, None, b""), at
    origin, right_origin, parent, has_key, start = read_place(update, at)
    length, at = reader(update, start)
    kind = info & _CONTENT_BITS
    return Struct(client, clock, length, kind, origin, right_origin, parent, update[start:at], has_key), at


def read_place(update: bytes, at: int) -> Place:
    """Where the struct at `at`, which has content, stands."""
    info = update[at]
    at += 1
    origin = right_origin = parent = None
    has_key = False
    if info & HAS_ORIGIN:
        origin, at = _read_id(update, at)
    if info & HAS_RIGHT_ORIGIN:
        right_origin, at = _read_id(update, at)
    if not info & (HAS_ORIGIN | HAS_RIGHT_ORIGIN):
        parent, at = _read_parent(update, at)
        if has_key := bool(info & HAS_PARENT_SUB):
            _key, at = read_bytes(update, at)
    return Place(origin, right_origin, parent, has_key, at)


def _read_parent(update: bytes, at: int) -> tuple[Id | None, int]:
    if update[at]:
        _root_name, at = read_bytes(update, at + 1)
        return None, at
    return _read_id(update, at + 1)


def _read_id(update: bytes, at: int) -> tuple[Id, int]:
    client, at = read_varuint(update, at)
    clock, at = read_varuint(update, at)
    return (client, clock), at


def _read_deletes(update: bytes, at: int) -> Iterator[Deleted]:
    clients, at = read_varuint(update, at)
    for _ in range(clients):
        client, at = read_varuint(update, at)
        ranges, at = read_varuint(update, at)
        for _ in range(ranges):
            clock, at = read_varuint(update, at)
            length, at = read_varuint(update, at)
            yield Deleted(client, clock, clock + length)
