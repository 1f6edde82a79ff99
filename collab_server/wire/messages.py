"""What members and rooms say to each other, whatever dialect carries it. Pure values without behaviour."""

from __future__ import annotations

from dataclasses import dataclass

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


Message = SyncStep1 | SyncStep2 | Update | Awareness | QueryAwareness | PermissionDenied | Durable
