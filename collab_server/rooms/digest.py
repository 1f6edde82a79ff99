"""What a task tells others of its copy of a document, and what another one's digest means beside its own copy.

Body of an envelope: format (1 byte), flags (1: the sender asks for digests, 2: it goes with a greeting), fingerprint
(16, see `fingerprint`), and the state vector unless that is long. Pure. Called by `sentinel` and `peers`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple, Self

from collab_server.firewall import check_state_vector
from collab_server.rooms.fingerprint import HASH_BYTES, UNKNOWN, Fingerprint
from collab_server.wire.lib0 import encode_state_vector
from collab_server.wire.messages import MalformedMessage

MOST_CLIENTS = 500
"""Up to so many the state vector is told: what a busy copy lacks is certain then, however it has changed meanwhile."""

_FORMAT = 1
_ASKS, _GREETS = 1, 2
_HEAD_BYTES = 2 + 2 * HASH_BYTES


class Difference(NamedTuple):
    """What tells two copies apart: `lacks` something for certain, or another `part`: clocks, deletes or nothing."""

    part: str
    lacks: bool = False


@dataclass(frozen=True, slots=True)
class Digest:
    """What a task says of its copy; `clocks` is None where there are too many clients to tell."""

    fingerprint: Fingerprint
    clocks: Mapping[int, int] | None
    asks: bool = False
    greets: bool = False

    @classmethod
    def of(cls, fingerprint: Fingerprint, clocks: Mapping[int, int], *, asks: bool) -> Self:
        """The digest of a copy."""
        return cls(fingerprint, dict(clocks) if len(clocks) <= MOST_CLIENTS else None, asks)

    def encode(self) -> bytes:
        """The body of an envelope."""
        flags = (_ASKS if self.asks else 0) | (_GREETS if self.greets else 0)
        head = bytes((_FORMAT, flags)) + self.fingerprint.clocks + self.fingerprint.deletes
        return head if self.clocks is None else head + encode_state_vector(self.clocks)

    @classmethod
    def decode(cls, body: bytes) -> Self | None:
        """None for a later format. Raises `MalformedMessage` and `UpdateRefused`."""
        if body[:1] != bytes((_FORMAT,)):
            return None
        if len(body) < _HEAD_BYTES:
            raise MalformedMessage("truncated")
        middle, flags, rest = 2 + HASH_BYTES, body[1], body[_HEAD_BYTES:]
        clocks = check_state_vector(rest) if rest else None
        fingerprint = Fingerprint(body[2:middle], body[middle:_HEAD_BYTES])
        return cls(fingerprint, clocks, bool(flags & _ASKS), bool(flags & _GREETS))

    def beside(self, mine: Fingerprint, clocks: Mapping[int, int]) -> Difference | None:
        """How a copy with `mine` and `clocks` differs from this one; None when that cannot be told."""
        if self.clocks is not None:
            if any(clocks.get(client, 0) < clock for client, clock in self.clocks.items()):
                return Difference("clocks", lacks=True)
            if self.clocks != clocks:
                return Difference("clocks")
        elif UNKNOWN in (mine.clocks, self.fingerprint.clocks):
            return None
        elif mine.clocks != self.fingerprint.clocks:
            return Difference("clocks")
        if UNKNOWN not in (mine.deletes, self.fingerprint.deletes) and mine.deletes != self.fingerprint.deletes:
            return Difference("deletes")
        return Difference("")
