"""Facts about making checkpoints: nothing is let go of before it is safe, and racing tasks lose nothing."""

import asyncio
from collections.abc import AsyncIterator, Collection
from dataclasses import replace
from hashlib import sha256
from pathlib import Path

import pytest
import pytest_asyncio

from persistence.blobs import BlobMissing, BlobsUnavailable
from persistence.blobs_directory import DirectoryBlobs
from persistence.blobs_memory import MemoryBlobs
from persistence.catalog import CatalogUnavailable
from persistence.catalog_memory import Content, MemoryCatalog
from persistence.catalog_postgres import PostgresCatalog
from persistence.checkpointer import Checkpointer, CheckpointRefused, Overtaken, content_key
from persistence.checkpoints import Checkpoint
from persistence.checkpoints_memory import MemoryCheckpointTable
from persistence.checkpoints_postgres import PostgresCheckpointTable
from persistence.database import create_pool
from persistence.history_postgres import PostgresHistory
from persistence.journal import JournalEntry
from persistence.journal_memory import MemoryJournal
from persistence.journal_postgres import PostgresJournal
from persistence.sandbox import Sandbox, SandboxFailed
from tests.unit.persistence.authors import Author
from tests.unit.persistence.stores import Stores, checkpointing, memory_stores


@pytest_asyncio.fixture
async def stores() -> Stores:
    return await memory_stores()


@pytest_asyncio.fixture
async def checkpointer(stores: Stores) -> AsyncIterator[Checkpointer]:
    async with checkpointing(stores) as one:
        yield one


async def unfolded(stores: Stores) -> list[bytes]:
    return [row.update for row in await stores.journal.unfolded(stores.document.id)]


async def blobs_of(stores: Stores) -> list[str]:
    return await stores.blobs.list_keys(f"crdt/{stores.document.id}/")


async def test_nothing_to_fold_makes_no_checkpoint(stores: Stores, checkpointer: Checkpointer) -> None:
    assert await checkpointer.checkpoint(stores.document) is None
    await stores.journal_all(Author(5).write("x"))
    assert await checkpointer.checkpoint(stores.document) is not None
    assert await checkpointer.checkpoint(stores.document) is None
    assert len(await blobs_of(stores)) == 1


async def test_a_checkpoint_takes_over_from_the_rows(stores: Stores, checkpointer: Checkpointer) -> None:
    author = Author(5).write("to be ").write("or not to be")
    await stores.journal_all(author)
    checkpoint = await checkpointer.checkpoint(stores.document)
    assert checkpoint is not None
    assert checkpoint.generation == 1
    assert checkpoint == await stores.table.newest(stores.document.id)
    assert checkpoint.state_vector == author.document.get_state()
    body = await stores.blobs.get(checkpoint.key)
    assert (checkpoint.sha256, checkpoint.size_bytes) == (sha256(body).digest(), len(body))
    assert checkpoint.key == f"crdt/{stores.document.id}/0/00000001-{checkpoint.sha256.hex()[:16]}.yjs.zst"
    assert await unfolded(stores) == []
    assert await stores.text() == "to be or not to be"


async def test_a_row_that_waits_for_another_row_stays_unfolded(stores: Stores, checkpointer: Checkpointer) -> None:
    """The other row is still on its way from another task; folding its dependant away would lose both edits."""
    alice = Author(5).write("hello")
    bob = Author(6).hear(alice).write(" world")
    carol = Author(7).write("! ")
    await stores.journal_all(bob)
    assert await checkpointer.checkpoint(stores.document) is None
    await stores.journal_all(carol)
    assert await checkpointer.checkpoint(stores.document) is not None
    assert await unfolded(stores) == bob.updates
    await stores.journal_all(alice)
    second = await checkpointer.checkpoint(stores.document)
    assert second is not None
    assert second.generation == 2
    assert await unfolded(stores) == []
    assert sorted(await stores.text()) == sorted("hello world! ")


async def test_the_rendered_text_and_its_counts_are_kept_beside_it(stores: Stores, checkpointer: Checkpointer) -> None:
    await stores.journal_all(Author(5).write("# Hamlet\n\nTo be, or né 𝄞"))
    await checkpointer.checkpoint(stores.document)
    key = content_key(stores.document)
    assert key == f"documents/{stores.document.id}.md"
    assert await stores.blobs.get(key) == "# Hamlet\n\nTo be, or né 𝄞".encode()
    assert isinstance(stores.catalog, MemoryCatalog)
    assert stores.catalog.contents[stores.document.id] == Content(words=7, characters=24, key=key)


async def test_a_document_without_content_is_checkpointed_all_the_same(
    stores: Stores, checkpointer: Checkpointer
) -> None:
    await stores.journal_all(Author(5, root="notes").write("elsewhere"))
    assert await checkpointer.checkpoint(stores.document) is not None
    with pytest.raises(BlobMissing):
        await stores.blobs.get(content_key(stores.document))


class UnreadableContent(Sandbox):
    """A sandbox where reading content never ends, as some documents make it."""

    async def run(self, function, *args, timeout_s):  # type: ignore[no-untyped-def,override]
        if function.__name__ == "render":
            raise SandboxFailed("timeout")
        return await super().run(function, *args, timeout_s=timeout_s)


async def test_content_that_cannot_be_read_does_not_hold_up_the_checkpoint(stores: Stores) -> None:
    sandbox = UnreadableContent(max_workers=1)
    await stores.journal_all(Author(5).write("x"))
    checkpointer = Checkpointer(stores.catalog, stores.table, stores.blobs, sandbox)
    assert await checkpointer.checkpoint(stores.document) is not None
    assert await unfolded(stores) == []
    assert isinstance(stores.catalog, MemoryCatalog)
    assert stores.catalog.contents == {}
    await sandbox.close()


class SlowReader(Sandbox):
    """Reads content only once it is told to."""

    def __init__(self) -> None:
        super().__init__(max_workers=1)
        self.reached = asyncio.Event()
        self.go_on = asyncio.Event()

    async def run(self, function, *args, timeout_s):  # type: ignore[no-untyped-def,override]
        if function.__name__ == "render":
            self.reached.set()
            await self.go_on.wait()
        return await super().run(function, *args, timeout_s=timeout_s)


async def test_a_slower_task_does_not_put_an_older_text_over_a_newer_one(
    stores: Stores, checkpointer: Checkpointer
) -> None:
    sandbox = SlowReader()
    author = Author(5).write("older")
    await stores.journal_all(author)
    slow = Checkpointer(stores.catalog, stores.table, stores.blobs, sandbox)
    slow_checkpoint = asyncio.create_task(slow.checkpoint(stores.document))
    await sandbox.reached.wait()
    await stores.journal_all(author.write(" and newer"), start=1)
    await checkpointer.checkpoint(stores.document)
    sandbox.go_on.set()
    assert await slow_checkpoint is not None
    assert await stores.blobs.get(content_key(stores.document)) == b"older and newer"
    await sandbox.close()


class AwayCatalog(MemoryCatalog):
    async def record_content(self, *_: object) -> None:
        raise CatalogUnavailable("away")


async def test_a_catalog_that_is_away_does_not_undo_the_checkpoint(stores: Stores) -> None:
    await stores.journal_all(Author(5).write("x"))
    async with checkpointing(replace(stores, catalog=AwayCatalog())) as checkpointer:
        assert await checkpointer.checkpoint(stores.document) is not None


async def test_of_checkpointers_at_once_one_wins_and_nothing_is_lost(
    stores: Stores, checkpointer: Checkpointer
) -> None:
    await stores.journal_all(Author(5).write("x").write("y"))
    made = await asyncio.gather(*(checkpointer.checkpoint(stores.document) for _ in range(4)))
    (winner,) = [checkpoint for checkpoint in made if checkpoint]
    assert await blobs_of(stores) == [winner.key]
    assert await unfolded(stores) == []
    assert await stores.text() == "xy"


class PausingBlobs(MemoryBlobs):
    """Lets another task finish its whole checkpoint while this one's first put is under way."""

    def __init__(self) -> None:
        super().__init__()
        self.reached = asyncio.Event()
        self.go_on = asyncio.Event()

    async def put(self, key: str, body: bytes, *, only_if_absent: bool = False) -> None:
        await super().put(key, body, only_if_absent=only_if_absent)
        if not self.reached.is_set():
            self.reached.set()
            await self.go_on.wait()


async def test_a_late_checkpointer_yields_to_one_that_saw_more() -> None:
    blobs = PausingBlobs()
    stores = await memory_stores(blobs)
    author = Author(5).write("seen by both ")
    await stores.journal_all(author)
    async with checkpointing(stores) as checkpointer:
        late = asyncio.create_task(checkpointer.checkpoint(stores.document))
        await blobs.reached.wait()
        await stores.journal_all(author.write("seen by the winner"), start=1)
        winner = await checkpointer.checkpoint(stores.document)
        blobs.go_on.set()
        assert await late is None
    assert winner is not None
    assert await blobs_of(stores) == [winner.key]
    assert await stores.text() == "seen by both seen by the winner"


async def test_a_late_checkpointer_folds_in_a_second_go_what_the_winner_did_not_see() -> None:
    """Else its rows would stay in the journal until somebody edits again, and the caller would think them folded."""
    blobs = PausingBlobs()
    stores = await memory_stores(blobs)
    author = Author(5).write("a").write("b")
    await stores.journal_all(author)
    async with checkpointing(stores) as checkpointer:
        late = asyncio.create_task(checkpointer.checkpoint(stores.document))
        await blobs.reached.wait()
        elsewhere = await memory_stores()
        first = await elsewhere.write_and_fold(Author(5), "a")
        await blobs.put("by another task", await elsewhere.blobs.get(first.key))
        assert await stores.table.record(replace(first, document_id=stores.document.id, key="by another task"), [1])
        blobs.go_on.set()
        second = await late
    assert second is not None
    assert second.generation == 2
    assert await unfolded(stores) == []
    assert await stores.text() == "ab"


class AlwaysLate(MemoryCheckpointTable):
    """A table where somebody else is always quicker."""

    async def record(self, checkpoint: Checkpoint, contained: Collection[int]) -> bool:
        return False


async def test_one_that_is_always_late_says_so_instead_of_calling_the_rows_folded() -> None:
    stores = await memory_stores()
    assert isinstance(stores.journal, MemoryJournal)
    stores = replace(stores, table=AlwaysLate(stores.journal))
    await stores.journal_all(Author(5).write("a"))
    async with checkpointing(stores) as checkpointer:
        with pytest.raises(Overtaken):
            await checkpointer.checkpoint(stores.document)
    assert await blobs_of(stores) == []


class LyingBlobs(MemoryBlobs):
    """Says a checkpoint is stored and keeps something else."""

    async def put(self, key: str, body: bytes, *, only_if_absent: bool = False) -> None:
        await super().put(key, body[:-1], only_if_absent=only_if_absent)


class ForgettingBlobs(MemoryBlobs):
    """Says a checkpoint is stored and keeps nothing."""

    async def put(self, key: str, body: bytes, *, only_if_absent: bool = False) -> None:
        return


@pytest.mark.parametrize("blobs", [LyingBlobs, ForgettingBlobs])
async def test_rows_stay_when_the_store_does_not_give_back_what_it_took(blobs: type[MemoryBlobs]) -> None:
    stores = await memory_stores(blobs())
    author = Author(5).write("x")
    await stores.journal_all(author)
    async with checkpointing(stores) as checkpointer:
        with pytest.raises(CheckpointRefused):
            await checkpointer.checkpoint(stores.document)
    assert await unfolded(stores) == author.updates
    assert await stores.table.newest(stores.document.id) is None


async def test_rows_stay_when_the_store_is_away(stores: Stores) -> None:
    author = Author(5).write("x")
    await stores.journal_all(author)
    await stores.blobs.close()
    async with checkpointing(stores) as checkpointer:
        with pytest.raises(BlobsUnavailable):
            await checkpointer.checkpoint(stores.document)
    assert await unfolded(stores) == author.updates


async def test_a_row_that_cannot_be_applied_stops_the_fold_and_keeps_all_rows(
    stores: Stores, checkpointer: Checkpointer
) -> None:
    author = Author(5).write("x")
    await stores.journal_all(author)
    await stores.journal.append([JournalEntry(stores.document.id, b"\xff\xff", "mallory", (), b"\x00")])
    with pytest.raises(SandboxFailed, match="FoldRefused: row 2 cannot be applied"):
        await checkpointer.checkpoint(stores.document)
    assert await unfolded(stores) == [*author.updates, b"\xff\xff"]


class OccupiedBlobs(MemoryBlobs):
    """Something else lies under the first key anyone asks for."""

    async def put(self, key: str, body: bytes, *, only_if_absent: bool = False) -> None:
        if not await self.list_keys("crdt/"):
            await super().put(key, b"rotten")
        await super().put(key, body, only_if_absent=only_if_absent)


async def test_a_key_that_holds_other_bytes_is_gone_around() -> None:
    stores = await memory_stores(OccupiedBlobs())
    await stores.journal_all(Author(5).write("x"))
    async with checkpointing(stores) as checkpointer:
        checkpoint = await checkpointer.checkpoint(stores.document)
    assert checkpoint is not None
    (rotten,) = set(await blobs_of(stores)) - {checkpoint.key}
    assert await stores.blobs.get(rotten) == b"rotten"
    assert await stores.text() == "x"


async def test_the_next_generation_repairs_an_unreadable_one(stores: Stores, checkpointer: Checkpointer) -> None:
    author = Author(5)
    for word in ("one ", "two ", "three "):
        await stores.journal_all(author.write(word), start=len(author.updates) - 1)
        newest = await checkpointer.checkpoint(stores.document)
    assert newest is not None
    await stores.blobs.put(newest.key, b"rotten")
    repaired = await checkpointer.checkpoint(stores.document)
    assert repaired is not None
    assert repaired.generation == 4
    stored = await stores.documents.load(stores.document)
    assert (stored.generation, stored.updates) == (4, [])
    assert await stores.text() == "one two three "


async def test_a_state_that_lost_something_is_never_recorded(stores: Stores, checkpointer: Checkpointer) -> None:
    """The newest generation says it holds more than its own rows and the base make up."""
    author = Author(5)
    await stores.write_and_fold(author, "one ")
    newest = await stores.write_and_fold(author, "two ")
    beyond = Author(5).write("one ").write("two ").write("and more").document.get_state()
    await stores.table.record(replace(newest, generation=3, key="gone", state_vector=beyond), [])
    await stores.journal_all(Author(6).write("x"))
    with pytest.raises(CheckpointRefused):
        await checkpointer.checkpoint(stores.document)
    assert len(await unfolded(stores)) == 1


async def test_tasks_on_postgresql_that_fold_all_the_time_lose_nothing(postgres_url: str, tmp_path: Path) -> None:
    pool = await create_pool(postgres_url, max_size=6)
    catalog, blobs = PostgresCatalog(pool), DirectoryBlobs(tmp_path / "blobs")
    document = await catalog.find_or_create("demo")
    stores = Stores(
        document, catalog, PostgresJournal(pool), PostgresCheckpointTable(pool), blobs, PostgresHistory(pool)
    )
    author = Author(5)
    async with checkpointing(stores) as checkpointer:
        for number in range(12):
            await stores.journal_all(author.write(f"{number} "), start=number)
            await asyncio.gather(*(checkpointer.checkpoint(document) for _ in range(2)), stores.prune(), stores.prune())
    expected = "".join(f"{number} " for number in range(12))
    assert await stores.text() == expected
    kept = (await stores.table.snapshot(document.id, base=0)).generations
    assert await blobs_of(stores) == sorted(checkpoint.key for checkpoint in kept)
    assert await blobs.get(content_key(document)) == expected.encode()
    await pool.close()
    await blobs.close()
