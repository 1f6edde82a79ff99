"""Authors whose edits come out as journal rows: what a client would send, with the reach the server would note."""

from collections.abc import Callable
from uuid import UUID

from pycrdt import Doc, Text

from persistence.fold import Row
from persistence.journal import JournalEntry


class Author:
    """One Yjs client with a text to edit. `updates` and `reaches` grow by one with each edit."""

    def __init__(self, client_id: int, *, root: str = "content") -> None:
        self.document: Doc[Text] = Doc(client_id=client_id)
        self.text = self.document.get(root, type=Text)
        self.client_id = client_id
        self.updates: list[bytes] = []
        self.reaches: list[bytes] = []

    def write(self, text: str) -> "Author":
        return self.edit(lambda content: content.insert(len(content), text))

    def edit(self, change: Callable[[Text], None]) -> "Author":
        """Any change of the text; one row however many steps it has."""
        subscription = self.document.observe(lambda event: self.updates.append(event.update))
        with self.document.transaction():
            change(self.text)
        self.document.unobserve(subscription)
        if len(self.updates) > len(self.reaches):  # else nothing changed
            self.reaches.append(self.document.get_state())
        return self

    def hear(self, other: "Author") -> "Author":
        """Take over everything the other has, as a sync does; makes no row."""
        self.document.apply_update(other.document.get_update())
        return self

    def rows(self, first_id: int = 1) -> list[Row]:
        pairs = zip(self.updates, self.reaches, strict=True)
        return [(first_id + index, update, reach) for index, (update, reach) in enumerate(pairs)]

    def entries(self, document_id: UUID, start: int = 0) -> list[JournalEntry]:
        pairs = list(zip(self.updates, self.reaches, strict=True))[start:]
        return [JournalEntry(document_id, update, "alice", (self.client_id,), reach) for update, reach in pairs]


def text_of(*updates: bytes | None, root: str = "content") -> str:
    """What a reader sees after applying the updates."""
    reader: Doc[Text] = Doc()
    text = reader.get(root, type=Text)
    for update in updates:
        if update is not None:
            reader.apply_update(update)
    return str(text)
