"""The catalog in memory: for tests and for servers that keep nothing.

It must never be named where documents are to outlive the process.
"""

from collections.abc import Collection
from dataclasses import dataclass, replace
from uuid import UUID, uuid4

from persistence.catalog import Document


@dataclass(frozen=True, slots=True)
class Content:
    """What `record_content` was last told."""

    words: int
    characters: int
    key: str


class MemoryCatalog:
    """See `Catalog`."""

    def __init__(self) -> None:
        self._by_name: dict[str, Document] = {}
        self.contents: dict[UUID, Content] = {}

    async def find(self, name: str) -> Document | None:
        return self._by_name.get(name)

    async def find_or_create(self, name: str) -> Document:
        return self._by_name.setdefault(name, Document(id=uuid4(), name=name, epoch=0))

    async def existing(self, document_ids: Collection[UUID]) -> frozenset[UUID]:
        return frozenset(document_ids).intersection(self.ids())

    async def record_content(self, document_id: UUID, words: int, characters: int, content_key: str) -> None:
        if self.knows(document_id):
            self.contents[document_id] = Content(words, characters, content_key)

    def delete(self, name: str) -> None:
        """Forget the document of that name."""
        self._by_name.pop(name, None)

    def ids(self) -> list[UUID]:
        """The internal keys of all documents."""
        return [document.id for document in self._by_name.values()]

    def epoch_of(self, document_id: UUID) -> int:
        """The epoch of the document with this internal key; 0 for an unknown one."""
        return next((document.epoch for document in self._by_name.values() if document.id == document_id), 0)

    def begin_epoch(self, document_id: UUID, epoch: int) -> None:
        """Give a document its new epoch."""
        for name, document in self._by_name.items():
            if document.id == document_id:
                self._by_name[name] = replace(document, epoch=epoch)

    def knows(self, document_id: UUID) -> bool:
        """Whether a document has this internal key."""
        return self.by_id(document_id) is not None

    def by_id(self, document_id: UUID) -> Document | None:
        """The document with this internal key."""
        return next((document for document in self._by_name.values() if document.id == document_id), None)
