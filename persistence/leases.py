"""Client-id leases as stored: which subject may write as which Yjs client in a document.

A lease is written by the journal, in the transaction of the first update that brings structs of that client id
(`JournalEntry.new_client_ids`); whoever commits first holds it for good. Only read here. Asked when a room opens, and
when it hears of a client from another task.
"""

from collections.abc import Sequence
from typing import Protocol
from uuid import UUID

from persistence.errors import StorageUnavailable


class LeasesUnavailable(StorageUnavailable):
    """The table cannot answer now: retry later."""


class LeaseTable(Protocol):
    """The leases of documents. May raise `LeasesUnavailable`."""

    async def held(self, document_id: UUID, client_ids: Sequence[int] | None = None) -> dict[str, list[int]]:
        """Subject → the client ids it holds: all of the document, or those of `client_ids` that are leased."""
