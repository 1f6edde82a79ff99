"""A restored document is what it was at that generation, in a new epoch; what was replaced can be restored too."""

from collections.abc import AsyncIterator
from dataclasses import dataclass, replace

import pytest
import pytest_asyncio

from persistence.catalog import Document
from persistence.catalog_memory import MemoryCatalog
from persistence.checkpointer import Checkpointer, content_key
from persistence.checkpoints_memory import MemoryCheckpointTable
from persistence.documents import DocumentUnloadable
from persistence.histories_memory import MemoryHistories
from persistence.journal_memory import MemoryJournal
from persistence.restore import Restorer, RestoreRefused
from persistence.sandbox import Sandbox
from persistence.state_vectors import decode
from tests.unit.persistence.authors import Author
from tests.unit.persistence.stores import Stores, memory_stores


@dataclass(frozen=True, slots=True)
class Bench:
    stores: Stores
    restorer: Restorer
    histories: MemoryHistories
    author: Author

    async def text(self, document: Document) -> str:
        return await replace(self.stores, document=document).text()


@pytest_asyncio.fixture
async def bench() -> AsyncIterator[Bench]:
    """A document with the generations "one" and "one two", and " three" in the journal."""
    stores = await memory_stores()
    assert isinstance(stores.catalog, MemoryCatalog)
    assert isinstance(stores.journal, MemoryJournal)
    assert isinstance(stores.table, MemoryCheckpointTable)
    histories = MemoryHistories(stores.catalog, stores.journal, stores.table)
    sandbox = Sandbox(max_workers=1)
    checkpointer = Checkpointer(stores.catalog, stores.table, stores.blobs, sandbox)
    author = Author(7)
    await stores.write_and_fold(author, "one")
    await stores.write_and_fold(author, " two")
    await stores.journal_all(author.write(" three"), start=2)
    yield Bench(stores, Restorer(histories, checkpointer, stores.blobs, sandbox), histories, author)
    await sandbox.close()


async def test_an_older_generation_becomes_the_newest_state_in_the_next_epoch(bench: Bench) -> None:
    restored = await bench.restorer.restore(bench.stores.document, 1)
    assert restored.epoch == 1
    assert await bench.text(restored) == "one"
    assert await bench.stores.blobs.get(content_key(restored)) == b"one"
    history = await bench.histories.current(restored.id)
    assert history is not None
    assert (dict(history.ever), dict(history.dead)) == ({7: 13}, {7: 3})


async def test_every_copy_of_the_new_history_holds_its_marker(bench: Bench) -> None:
    await bench.restorer.restore(bench.stores.document, 1)
    history = await bench.histories.current(bench.stores.document.id)
    assert history is not None
    (newest, *_older) = await bench.restorer.generations(bench.stores.document)
    assert decode(newest.checkpoint.state_vector) == {7: 3, history.marker: 1}


async def test_a_restore_is_undone_by_another(bench: Bench) -> None:
    once = await bench.restorer.restore(bench.stores.document, 1)
    made = [kept.checkpoint.generation for kept in await bench.restorer.generations(once)]
    assert made == [4, 3, 2, 1]  # 3 holds what was in the journal only
    twice = await bench.restorer.restore(once, 3)
    assert twice.epoch == 2
    assert await bench.text(twice) == "one two three"
    history = await bench.histories.current(twice.id)
    assert history is not None
    assert history.dead == {}
    (newest, *_older) = await bench.restorer.generations(twice)
    assert decode(newest.checkpoint.state_vector)[history.marker] == 2


async def test_a_task_of_the_old_history_can_neither_load_nor_fold(bench: Bench) -> None:
    await bench.restorer.restore(bench.stores.document, 1)
    with pytest.raises(DocumentUnloadable) as unloadable:
        await bench.stores.text()
    assert unloadable.value.temporary


async def test_a_generation_that_is_not_there_or_cannot_be_read_is_refused(bench: Bench) -> None:
    with pytest.raises(RestoreRefused, match="there are: 1, 2, 3"):
        await bench.restorer.restore(bench.stores.document, 9)
    await bench.stores.blobs.delete((await bench.restorer.generations(bench.stores.document))[-1].checkpoint.key)
    with pytest.raises(RestoreRefused, match="choose another"):
        await bench.restorer.restore(bench.stores.document, 1)
    assert await bench.stores.text() == "one two three"


async def test_a_newest_state_that_cannot_be_saved_stops_the_restore_unless_it_is_given_up(bench: Bench) -> None:
    second = (await bench.restorer.generations(bench.stores.document))[0].checkpoint
    await bench.stores.blobs.delete(second.key)
    first = (await bench.restorer.generations(bench.stores.document))[1].checkpoint
    keep = await bench.stores.blobs.get(first.key)
    await bench.stores.blobs.delete(first.key)
    table = bench.stores.table
    assert isinstance(table, MemoryCheckpointTable)
    table.floors[bench.stores.document.id] = 2  # its rows are gone
    await bench.stores.blobs.put(first.key, keep)
    with pytest.raises(Exception, match="no generation can be read"):
        await bench.restorer.restore(bench.stores.document, 1)
    restored = await bench.restorer.restore(bench.stores.document, 1, save_first=False)
    assert await bench.text(restored) == "one"
