"""The catalog: which documents exist, and the internal key behind each public name.

It must never hold document content: only names, epochs and counts. Called when a room is opened and when a
checkpoint records what it rendered.
"""

from collections.abc import Collection
from dataclasses import dataclass
from typing import Protocol
from uuid import UUID, uuid5

from persistence.errors import StorageUnavailable


class CatalogUnavailable(StorageUnavailable):
    """The catalog cannot answer now: retry later."""


@dataclass(frozen=True, slots=True)
class Document:
    """One document. `epoch` grows when its history is replaced (restore, reset): older offline copies are refused."""

    id: UUID
    name: str
    epoch: int

    @property
    def channel(self) -> UUID:
        """What tasks name this history of the document by among each other: they never hear of another history."""
        return uuid5(self.id, f"epoch {self.epoch}") if self.epoch else self.id


class Catalog(Protocol):
    """Documents by public name. Names are 1-128 characters, checked by the caller. May raise `CatalogUnavailable`."""

    async def find(self, name: str) -> Document | None:
        """The document of that name, or None when there is none."""

    async def find_or_create(self, name: str) -> Document:
        """The document of that name, made at epoch 0 if need be; concurrent callers all get the same one."""

    async def existing(self, document_ids: Collection[UUID]) -> frozenset[UUID]:
        """Those of the internal keys that a document has."""

    async def record_content(self, document_id: UUID, words: int, characters: int, content_key: str) -> None:
        """Note the counts of the last rendered content and where its rendering lies. An unknown document is left be."""
