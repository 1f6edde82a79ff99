"""The journal in memory: for tests and for servers that keep nothing.

It must never be named where an acknowledgement promises durability. Its checkpoints counterpart takes folded rows over
with `take_folded`, as the SQL of the PostgreSQL pair marks them in the table.
"""

from collections import defaultdict
from collections.abc import Sequence
from datetime import UTC, datetime
from itertools import count
from uuid import UUID

from persistence.catalog_memory import MemoryCatalog
from persistence.journal import JournalEntry, JournalRefused, JournalRow, JournalUnavailable
from persistence.quarantine import USUAL_BOUNDS, QuarantineBounds, RefusedUpdate
from persistence.quarantine_memory import MemoryQuarantine


class MemoryJournal:
    """See `Journal`. With a catalog, entries of documents it does not know are refused, as a foreign key would."""

    def __init__(self, catalog: MemoryCatalog | None = None, bounds: QuarantineBounds = USUAL_BOUNDS) -> None:
        self._catalog = catalog
        self._ids = count(1)
        self._unfolded: defaultdict[UUID, dict[int, JournalRow]] = defaultdict(dict)
        self._made_at: dict[int, datetime] = {}
        self._closed = False
        self.leases: defaultdict[UUID, dict[int, str]] = defaultdict(dict)  # client id → subject
        self.available = True  # False is an outage: calls fail until it is True again
        self.quarantined = MemoryQuarantine(catalog, bounds)

    async def append(self, entries: Sequence[JournalEntry]) -> None:
        self._refuse_when_closed()
        for document_id in {entry.document_id for entry in entries}:
            if self._catalog is not None and not self._catalog.knows(document_id):
                raise JournalRefused("no such document")
        if any(
            self._catalog is not None and entry.epoch != self._catalog.epoch_of(entry.document_id) for entry in entries
        ):
            raise JournalRefused("the history of the document was replaced")
        for entry in entries:
            row = JournalRow(id=next(self._ids), update=entry.update, reach=entry.reach)
            self._unfolded[entry.document_id][row.id] = row
            self._made_at[row.id] = datetime.now(UTC)
            for client_id in entry.new_client_ids:
                self.leases[entry.document_id].setdefault(client_id, entry.actor_id)

    async def unfolded(self, document_id: UUID) -> list[JournalRow]:
        self._refuse_when_closed()
        return list(self._unfolded.get(document_id, {}).values())

    async def quarantine(self, refused: RefusedUpdate) -> None:
        self._refuse_when_closed()
        self.quarantined.put(refused)

    async def ping(self) -> None:
        self._refuse_when_closed()

    async def close(self) -> None:
        self._closed = True

    def take_folded(self, document_id: UUID, row_id: int) -> datetime:
        """Take a row out of the unfolded set, because a checkpoint holds it; returns when it was made."""
        del self._unfolded[document_id][row_id]
        return self._made_at.pop(row_id)

    def begin_epoch(self, document_id: UUID) -> None:
        """Forget every row: the history they belong to ends."""
        self._unfolded.pop(document_id, None)

    def epoch_of(self, document_id: UUID) -> int:
        """The epoch the document is in."""
        return 0 if self._catalog is None else self._catalog.epoch_of(document_id)

    def _refuse_when_closed(self) -> None:
        if self._closed:
            raise JournalUnavailable("the journal is closed")
        if not self.available:
            raise JournalUnavailable("the journal is away")
