"""Rulings: what operators have laid on a document, so that every task and every new one knows it.

A freeze lasts until it is lifted, an exclusion until its time is up. Must never hold rights: who may do what at all is
the business of grants. Read by the rooms' overseer, written by the admin port.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol
from uuid import UUID

from persistence.errors import StorageUnavailable


class RulingsUnavailable(StorageUnavailable):
    """The rulings cannot be read or written now: retry later."""


@dataclass(frozen=True, slots=True)
class Ruling:
    """What is laid on one document: whether it takes no edits, and who gets no seat for how many more seconds."""

    frozen: bool = False
    kept_out: Mapping[str, float] = field(default_factory=dict)


NO_RULING = Ruling()


class Rulings(Protocol):
    """The rulings in force. Every call ends in a bounded time; any may raise `RulingsUnavailable`."""

    async def freeze(self, document_id: UUID, operator: str) -> bool:
        """Take no more edits of an existing document; False when it was frozen already."""

    async def unfreeze(self, document_id: UUID) -> bool:
        """Take edits again; False when it was not frozen."""

    async def keep_out(self, document_id: UUID, subject: str, seconds: float, operator: str) -> None:
        """Give `subject` no seat in an existing document for that long from now; 0 lets it in again."""

    async def in_force(self, document_ids: Sequence[UUID]) -> dict[UUID, Ruling]:
        """What is laid on those of the documents that have a ruling, as committed."""
