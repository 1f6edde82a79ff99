"""The leases in memory, for tests: what the memory journal was told, as the two tables of PostgreSQL stand together."""

from collections.abc import Sequence
from uuid import UUID

from persistence.journal_memory import MemoryJournal


class MemoryLeaseTable:
    """See `LeaseTable`."""

    def __init__(self, journal: MemoryJournal) -> None:
        self._journal = journal

    async def held(self, document_id: UUID, client_ids: Sequence[int] | None = None) -> dict[str, list[int]]:
        await self._journal.ping()  # away with the journal
        wanted = None if client_ids is None else set(client_ids)
        found: dict[str, list[int]] = {}
        for client_id, subject in self._journal.leases.get(document_id, {}).items():
            if wanted is None or client_id in wanted:
                found.setdefault(subject, []).append(client_id)
        return found
