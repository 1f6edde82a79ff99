"""Authors whose edits come out as journal rows: what a client would send, with the reach the server would note."""

from collections.abc import Callable
from uuid import UUID

from pycrdt import Doc, Text

from persistence.fold import Row
from persistence.journal import JournalEntry


class Author:
    """One Yjs client with a text of its own to edit. `updates` and `reaches` grow by one with each edit."""

    def __init__(self, client_id: int, *, root: str = "content") -> None:
        self.document: Doc[Text] = Doc(client_id=client_id)
        self.text = self.document.get(root, type=Text)
        self.client_id = client_id
        self.updates: list[bytes] = []
        self.reaches: list[bytes] = []
        # Kept: the observation ends with the subscription.
        self._subscription = self.document.observe(lambda event: self._note(event.update))
        self._heard = False

    def write(self, text: str) -> "Author":
        self.text += text
        return self

    def edit(self, change: Callable[[Text], None]) -> "Author":
        """Any change of the text; one row however many steps it has."""
        with self.document.transaction():
            change(self.text)
        return self

    def hear(self, other: "Author") -> "Author":
        """Take over everything the other has, as a sync does; makes no row."""
        self._heard = True
        self.document.apply_update(other.document.get_update())
        self._heard = False
        return self

    def rows(self, first_id: int = 1) -> list[Row]:
        pairs = zip(self.updates, self.reaches, strict=True)
        return [(first_id + index, update, reach) for index, (update, reach) in enumerate(pairs)]

    def entries(self, document_id: UUID, start: int = 0) -> list[JournalEntry]:
        pairs = list(zip(self.updates, self.reaches, strict=True))[start:]
        return [JournalEntry(document_id, update, "alice", (self.client_id,), reach) for update, reach in pairs]

    def _note(self, update: bytes) -> None:
        if not self._heard:
            self.updates.append(update)
            self.reaches.append(self.document.get_state())


def text_of(*updates: bytes | None, root: str = "content") -> str:
    """What a reader sees after applying the updates."""
    reader: Doc[Text] = Doc()
    text = reader.get(root, type=Text)
    for update in updates:
        if update is not None:
            reader.apply_update(update)
    return str(text)
