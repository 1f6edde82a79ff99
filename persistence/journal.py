"""The journal: the durable set of updates that no checkpoint holds yet.

A set, not a sequence: CRDT updates commute and are idempotent, so rows need no order and appending one twice does no
harm. It must never say an append succeeded before the store has committed it: acknowledgements rest on that.
Written by the recorder alone (and by the firewall's caller, for quarantine); read when a document is loaded or folded.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol
from uuid import UUID

from persistence.errors import StorageUnavailable
from persistence.quarantine import RefusedUpdate


class JournalUnavailable(StorageUnavailable):
    """The journal cannot commit now (connection lost, time-out, disk full, no table yet): retry later."""


class JournalRefused(Exception):
    """At least one entry of the batch can never be committed, e.g. its document is deleted. Nothing was written."""


class JournalEntry(NamedTuple):
    """One update as a client sent it. A named tuple, because one is made for every update.

    `update` is the received Yjs v1 bytes, untouched. `client_ids` are the Yjs clients whose structs it holds.
    `reach` is a Yjs v1 state vector: a document whose state vector covers it holds every struct and delete of `update`.
    `epoch` is the history it was written in: once that is replaced the entry is refused for good.
    `new_client_ids` are leased to the actor with this entry, unless somebody else has them already.
    """

    document_id: UUID
    update: bytes
    actor_id: str
    client_ids: tuple[int, ...]
    reach: bytes
    new_client_ids: tuple[int, ...] = ()
    epoch: int = 0


@dataclass(frozen=True, slots=True)
class JournalRow:
    """One stored update; `id` grows with insertion but says nothing about the order of commits."""

    id: int
    update: bytes
    reach: bytes


class Journal(Protocol):
    """A durable, unordered set of updates. Every call ends in a bounded time; any may raise `JournalUnavailable`."""

    async def append(self, entries: Sequence[JournalEntry]) -> None:
        """Commit all entries, and the leases they bring, in one transaction, or none of them.

        Returns only after the commit is durable. Raises `JournalUnavailable` when the outcome is unknown or a retry may
        succeed, `JournalRefused` when it never will. Appending entries again after `JournalUnavailable` is right.
        """

    async def unfolded(self, document_id: UUID) -> list[JournalRow]:
        """Every committed row of the document that no checkpoint holds, by ascending id; empty for an unknown one."""

    async def quarantine(self, refused: RefusedUpdate) -> None:
        """Keep an update that was set aside, as much of it as the bounds of the quarantine allow.

        The document need not exist: what was refused because its document is gone must still leave a trace. Raises
        `JournalRefused` when not even the note can be stored.
        """

    async def ping(self) -> None:
        """Return if the journal answers now."""

    async def close(self) -> None:
        """Refuse further calls with `JournalUnavailable`. Idempotent."""
