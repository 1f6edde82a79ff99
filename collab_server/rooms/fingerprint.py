"""What a copy of a document comes to in a few bytes, so that two tasks can tell whether theirs are the same.

The state vector tells of structs and nothing of deletions, so a fingerprint holds a hash of each. Neither depends on
the order in which clients are listed, which differs from copy to copy. Costs 1 ms at 60,000 edits; a step that would
hold the loop for more than some milliseconds is left out and said to be unknown. Called by `sentinel` and `peers`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from hashlib import blake2b
from typing import NamedTuple

from collab_server.rooms.replica import Replica
from collab_server.wire.lib0 import read_varuint

HASH_BYTES = 8
UNKNOWN = bytes(HASH_BYTES)
"""In the place of a hash: not computed."""
NEW_CLOCKS_AT_ONCE = 2_000  # 1 µs each
LARGEST_WALKED_BYTES = 4 * 1024 * 1024
"""Of a document whose deletions are looked for on the loop: 1 ms a megabyte."""
_MASK = 2 ** (8 * HASH_BYTES) - 1
_SKIP = [(count, re.compile(rb"(?:[\x80-\xff]*[\x00-\x7f]){%d}" % count)) for count in (4_096, 256, 16, 1)]


class Fingerprint(NamedTuple):
    """Hashes of the clocks and of the deletions; each may be `UNKNOWN`."""

    clocks: bytes
    deletes: bytes


class Fingerprints:
    """The fingerprint of one replica, computed again only when there is a new `version` of it."""

    __slots__ = ("_clock_sum", "_hashed", "_last", "_replica", "_version")

    def __init__(self, replica: Replica) -> None:
        self._replica = replica
        self._hashed: dict[int, int] = {}
        self._clock_sum = 0
        self._version = -1
        self._last = Fingerprint(UNKNOWN, UNKNOWN)

    def at(self, version: int) -> Fingerprint:
        """The fingerprint now; `version` grows with every change. Raises `ReplicaBroken`."""
        if version != self._version:
            self._last = Fingerprint(self._hash_clocks(self._replica.clocks), self._hash_deletes())
            if self._last.clocks != UNKNOWN:
                self._version = version
        return self._last

    def _hash_clocks(self, clocks: Mapping[int, int]) -> bytes:
        """A sum over clients, of which only what changed is computed anew."""
        hashed, changed = self._hashed, 0
        if any(clocks.get(client, 0) < clock for client, clock in hashed.items()):  # a new copy
            hashed.clear()
            self._clock_sum = 0
        for client, clock in clocks.items():
            before = hashed.get(client)
            if before != clock:
                changed += 1
                if changed > NEW_CLOCKS_AT_ONCE:
                    return UNKNOWN  # the rest the next time
                self._clock_sum += _hash(b"%d %d" % (client, clock))
                if before is not None:
                    self._clock_sum -= _hash(b"%d %d" % (client, before))
                hashed[client] = clock
        return _bytes(self._clock_sum)

    def _hash_deletes(self) -> bytes:
        size_bytes = self._replica.encoded_bytes
        if size_bytes is not None and size_bytes > LARGEST_WALKED_BYTES:
            return UNKNOWN
        return hash_deletes(self._replica.delete_set())


def hash_deletes(delete_set: bytes) -> bytes:
    """The hash of an encoded delete set, whatever follows it, that does not depend on the order of its clients."""
    clients, at = read_varuint(delete_set, 0)
    total = 0
    for _ in range(clients):
        start = at
        _client, at = read_varuint(delete_set, at)
        ranges, at = read_varuint(delete_set, at)
        at = _skip(delete_set, at, 2 * ranges)
        if ranges:
            total += _hash(delete_set[start:at])
    return _bytes(total)


def _skip(data: bytes, at: int, numbers: int) -> int:
    """Where the next so many numbers end. In large steps: a long document has a hundred thousand."""
    for count, pattern in _SKIP:
        while numbers >= count:
            found = pattern.match(data, at)
            if found is None:
                raise ValueError("a delete set ends early")
            at, numbers = found.end(), numbers - count
    return at


def _hash(part: bytes) -> int:
    return int.from_bytes(blake2b(part, digest_size=HASH_BYTES).digest(), "big")


def _bytes(total: int) -> bytes:
    return (total & _MASK or 1).to_bytes(HASH_BYTES, "big")  # never that of `UNKNOWN`
