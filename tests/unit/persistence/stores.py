"""One document on stores of its own, with a checkpointer: what the tests of loading and folding stand on."""

import hashlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from persistence.blobs import Blobs
from persistence.blobs_memory import MemoryBlobs
from persistence.catalog import Catalog, Document
from persistence.catalog_memory import MemoryCatalog
from persistence.checkpointer import Checkpointer, checkpoint_key
from persistence.checkpoints import Checkpoint, CheckpointTable
from persistence.checkpoints_memory import MemoryCheckpointTable
from persistence.compression import compress
from persistence.documents import Documents
from persistence.fold import fold
from persistence.history import History
from persistence.history_memory import MemoryHistory
from persistence.journal import Journal
from persistence.journal_memory import MemoryJournal
from persistence.sandbox import Sandbox
from tests.unit.persistence.authors import Author, text_of


@dataclass(frozen=True, slots=True)
class Stores:
    """Everything that holds a part of `document`."""

    document: Document
    catalog: Catalog
    journal: Journal
    table: CheckpointTable
    blobs: Blobs
    history: History

    @property
    def documents(self) -> Documents:
        return Documents(self.table, self.blobs)

    async def journal_all(self, author: Author, start: int = 0) -> None:
        """Append the author's rows from index `start` on."""
        await self.journal.append(author.entries(self.document.id, start))

    async def write_and_fold(self, author: Author, text: str) -> Checkpoint:
        """One more edit, and a generation that holds it: made in this process, for tests of what comes after."""
        await self.journal_all(author.write(text), start=len(author.updates) - 1)
        stored = await self.documents.recover(self.document)
        result = fold(stored.state, [(row.id, row.update, row.reach) for row in stored.rows])
        body = compress(result.state)
        generation = stored.newest.generation + 1 if stored.newest else 1
        digest = hashlib.sha256(body).digest()
        key = checkpoint_key(self.document, generation, digest)
        checkpoint = Checkpoint(self.document.id, generation, key, digest, len(body), result.state_vector)
        await self.blobs.put(key, body)
        assert await self.table.record(checkpoint, result.contained_ids)
        return checkpoint

    async def forget(self) -> list[Checkpoint]:
        """Let go of all that may be let go of, except for blobs; returns the forgotten generations."""
        forgotten = await self.history.forget([self.document.id])
        await self.history.drop([self.document.id], datetime.now(UTC) + timedelta(hours=1), limit=10_000)
        return forgotten

    async def prune(self) -> None:
        """Let go of all that may be let go of."""
        for checkpoint in await self.forget():
            await self.blobs.delete(checkpoint.key)

    async def text(self) -> str:
        """What a reader of the stored document sees."""
        stored = await self.documents.load(self.document)
        return text_of(stored.checkpoint, *stored.updates)


async def memory_stores(blobs: Blobs | None = None) -> Stores:
    catalog = MemoryCatalog()
    journal = MemoryJournal(catalog)
    document = await catalog.find_or_create("demo")
    table = MemoryCheckpointTable(journal)
    return Stores(document, catalog, journal, table, blobs or MemoryBlobs(), MemoryHistory(table, catalog))


@asynccontextmanager
async def checkpointing(stores: Stores) -> AsyncIterator[Checkpointer]:
    """A checkpointer over these stores, with worker processes of its own."""
    sandbox = Sandbox(max_workers=2)
    try:
        yield Checkpointer(stores.catalog, stores.table, stores.blobs, sandbox)
    finally:
        await sandbox.close()
