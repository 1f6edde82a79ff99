"""The bus between tasks: what one envelope is and what every bus owes to the rooms that use it.

A bus carries updates, awareness and control words from the task that received them to the tasks that hold the same
room. It must never be trusted to deliver: envelopes may be lost, doubled and late (Redis pub/sub keeps nothing), and
rooms heal by exchanging state vectors. It must never block the loop. Called by the rooms, admission and the facade.
Adapters: `bus_memory` (one process) and `bus_redis` (many tasks); the bytes of an envelope are in `envelopes`.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol
from uuid import UUID

MAX_ORIGIN_CHARS = 63
"""Longest task id. In UTF-8 this stays below 256 bytes, so that its length is one byte on the wire."""


class EnvelopeKind(StrEnum):
    """What the body of an envelope is."""

    UPDATE = "update"  # raw Yjs v1 update, exactly as a client sent it
    AWARENESS = "awareness"  # y-protocols awareness update with verified identities
    SYNC_REQUEST = "sync_request"  # a state vector: "send me what I lack"
    SYNC_REPLY = "sync_reply"  # a Yjs v1 update that answers one
    CONTROL = "control"  # revocations, role changes, kicks, admin commands
    DIGEST = "digest"  # what a copy comes to, so that others can tell whether theirs is the same


@dataclass(frozen=True, slots=True)
class Envelope:
    """One message between tasks. `document_id` None is the control channel, which every task hears.

    `epoch` is the document's, None where nothing says it: on the control channel and in version 1.
    Raises ValueError when made for no document without being CONTROL, or with an origin not of 1 to 63 characters.
    """

    kind: EnvelopeKind
    document_id: UUID | None
    origin: str
    body: bytes
    epoch: int | None = None

    def __post_init__(self) -> None:
        if self.document_id is None and self.kind is not EnvelopeKind.CONTROL:
            raise ValueError(f"an envelope of kind {self.kind} belongs to a document")
        check_task_id(self.origin)


@dataclass(frozen=True, slots=True)
class Heading:
    """What all envelopes of one room say alike."""

    document_id: UUID
    origin: str
    epoch: int

    def over(self, kind: EnvelopeKind, body: bytes) -> Envelope:
        """An envelope of that room."""
        return Envelope(kind, self.document_id, self.origin, body, self.epoch)


Receive = Callable[[Envelope], None]


class BusUnavailable(Exception):
    """The bus reaches no other task now. Local work goes on; `on_reconnect` tells when it is back."""


class Bus(Protocol):
    """Joins the rooms of several tasks. An adapter owes:

    - `task_id` names this task: the origin of every envelope it publishes.
    - `is_alone` is true while no other task can hear: nothing of a room needs to be put into envelopes
      then. A Redis bus is told so by `company`.
    - Each of `on_reconnect` (plain functions) is called in the loop whenever envelopes may have been lost in either
      direction and the bus works again, after every subscription is in force: rooms then compare states (R005).
    - Envelopes of one origin for one document arrive in the order they were published, as long as none is lost.
    - Envelopes whose origin is this task (`task_id`) are not delivered back (R004).
    - `receive` is called in the loop, never inside `publish`; an exception in it is logged and harms nobody else.
    - Each parcel is heard once, however often it comes; replays are refused (`bus_gate`).
    - `versions` says which versions of the bytes every living task reads; by default those of this code.
    - `dropped` counts own envelopes given up for lack of room, `malformed` foreign ones that were refused (T21).
    """

    task_id: str
    is_alone: bool
    versions: Callable[[], Collection[int]]
    on_reconnect: list[Callable[[], None]]

    @property
    def dropped(self) -> int: ...

    @property
    def malformed(self) -> int: ...

    async def start(self) -> None:
        """Begin connecting and return; never fails because the other side is away."""

    async def subscribe(self, document_id: UUID | None, receive: Receive) -> None:
        """Hear a document's envelopes (None: the control channel).

        Returns once the subscription is in force, so that nothing published from then on is missed. While the bus is
        away it returns at once instead, keeps the subscription and promises an `on_reconnect`. May be cancelled: the
        subscription then stays until `unsubscribe`.
        """

    async def unsubscribe(self, document_id: UUID | None, receive: Receive) -> None:
        """Stop calling `receive`, from this moment on; unknown ones are ignored."""

    def publish(self, envelope: Envelope) -> None:
        """Queue an envelope for the other tasks; never waits, never fails.

        The queue has a bound in bytes: over it the oldest envelopes are dropped and counted.
        """

    async def ping(self) -> None:
        """Prove that both directions work. Raises BusUnavailable, within about a second."""

    async def close(self) -> None:
        """Send what is queued if that takes no longer than a second, then end; leaves no task and no connection."""


def check_task_id(task_id: str) -> None:
    """Raises ValueError unless `task_id` can be the origin of an envelope."""
    if not 0 < len(task_id) <= MAX_ORIGIN_CHARS:
        raise ValueError(f"a task id has 1 to {MAX_ORIGIN_CHARS} characters")
