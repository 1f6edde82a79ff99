"""What members and rooms say to each other, whatever dialect carries it. Pure values without behaviour."""

from __future__ import annotations

from dataclasses import dataclass, field

from collab_server.wire.awareness import AwarenessEntry
from collab_server.wire.lib0 import MalformedMessage

__all__ = [
    "REMOVED",
    "Awareness",
    "Durable",
    "MalformedMessage",
    "Message",
    "PermissionDenied",
    "QueryAwareness",
    "Renew",
    "Renewed",
    "SyncStep1",
    "SyncStep2",
    "Update",
]

REMOVED = b"null"  # y-protocols awareness.js: the state of a client that left


@dataclass(frozen=True, slots=True)
class SyncStep1:
    """What the sender has, asking for the rest: a Yjs state vector, unchecked."""

    state_vector: bytes


@dataclass(frozen=True, slots=True)
class SyncStep2:
    """The answer to `SyncStep1`: what the asker lacks, a Yjs v1 update, unchecked."""

    update: bytes


@dataclass(frozen=True, slots=True)
class Update:
    """An edit: a Yjs v1 update, unchecked."""

    update: bytes


@dataclass(frozen=True, slots=True)
class Awareness:
    """Who is here and where their cursor is."""

    entries: tuple[AwarenessEntry, ...]


@dataclass(frozen=True, slots=True)
class QueryAwareness:
    """A request for everyone's awareness state."""


@dataclass(frozen=True, slots=True)
class PermissionDenied:
    """The server refuses; `reason` is for people and names no secret."""

    reason: str


@dataclass(frozen=True, slots=True)
class Durable:
    """The first `messages` Updates and SyncStep2 of this connection, counted together, are committed."""

    messages: int


@dataclass(frozen=True, slots=True)
class Renew:
    """A newer token for this seat: secret, and never in a representation of this object."""

    token: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class Renewed:
    """When this seat ends now, in whole Unix seconds, 0 for never: the answer to every `Renew`."""

    ends_at: int


Message = SyncStep1 | SyncStep2 | Update | Awareness | QueryAwareness | PermissionDenied | Durable | Renew | Renewed
