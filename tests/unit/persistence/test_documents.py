"""Facts about loading: the whole document or none of it, whatever happened to the blobs."""

import asyncio
import hashlib
from collections.abc import Awaitable, Callable
from dataclasses import replace

import pytest

from collab_server.telemetry import Tally
from persistence import documents
from persistence.blobs import BlobsUnavailable
from persistence.blobs_memory import MemoryBlobs
from persistence.checkpoints import Checkpoint
from persistence.checkpoints_memory import MemoryCheckpointTable
from persistence.documents import Documents, DocumentUnloadable, StoredDocument
from tests.unit.persistence.authors import Author, text_of
from tests.unit.persistence.stores import Stores, memory_stores

Damage = Callable[[Stores, Checkpoint], Awaitable[None]]


async def flip_a_bit(stores: Stores, checkpoint: Checkpoint) -> None:
    body = bytearray(await stores.blobs.get(checkpoint.key))
    body[len(body) // 2] ^= 1
    await stores.blobs.put(checkpoint.key, bytes(body))


async def truncate(stores: Stores, checkpoint: Checkpoint) -> None:
    body = await stores.blobs.get(checkpoint.key)
    await stores.blobs.put(checkpoint.key, body[:-1])


async def empty(stores: Stores, checkpoint: Checkpoint) -> None:
    await stores.blobs.put(checkpoint.key, b"")


async def remove(stores: Stores, checkpoint: Checkpoint) -> None:
    await stores.blobs.delete(checkpoint.key)


async def swap_in_another_documents(stores: Stores, checkpoint: Checkpoint) -> None:
    other = await memory_stores()
    another = await other.write_and_fold(Author(99), "someone else's secret")
    await stores.blobs.put(checkpoint.key, await other.blobs.get(another.key))


DAMAGES: list[Damage] = [flip_a_bit, truncate, empty, remove, swap_in_another_documents]


async def folded_three_times(stores: Stores) -> tuple[Author, list[Checkpoint]]:
    """Text in three generations and one unfolded row: "one two three four "."""
    author = Author(5)
    checkpoints = [await stores.write_and_fold(author, word) for word in ("one ", "two ", "three ")]
    await stores.journal_all(author.write("four "), start=3)
    return author, checkpoints


async def test_a_new_document_is_empty() -> None:
    stores = await memory_stores()
    assert await stores.documents.load(stores.document) == StoredDocument(None, 0, [])


async def test_without_a_checkpoint_the_rows_are_the_document() -> None:
    stores = await memory_stores()
    author = Author(5).write("one ").write("two")
    await stores.journal_all(author)
    assert await stores.documents.load(stores.document) == StoredDocument(None, 0, author.updates)


async def test_the_newest_checkpoint_comes_with_the_unfolded_rows_alone() -> None:
    stores = await memory_stores()
    author, _ = await folded_three_times(stores)
    stored = await stores.documents.load(stores.document)
    assert stored.generation == 3
    assert text_of(stored.checkpoint) == "one two three "
    assert stored.updates == author.updates[3:]


@pytest.mark.parametrize("damage", DAMAGES)
async def test_a_damaged_checkpoint_gives_way_to_the_one_before(damage: Damage) -> None:
    stores = await memory_stores()
    author, checkpoints = await folded_three_times(stores)
    await damage(stores, checkpoints[2])
    stored = await stores.documents.load(stores.document)
    assert stored.generation == 2
    assert stored.updates == author.updates[2:]
    assert await stores.text() == "one two three four "


@pytest.mark.parametrize("damage", DAMAGES)
async def test_when_every_checkpoint_is_damaged_the_rows_still_hold_everything(damage: Damage) -> None:
    stores = await memory_stores()
    author, checkpoints = await folded_three_times(stores)
    for checkpoint in checkpoints:
        await damage(stores, checkpoint)
    assert await stores.documents.load(stores.document) == StoredDocument(None, 0, author.updates)


@pytest.mark.parametrize("damage", DAMAGES)
async def test_after_pruning_each_kept_checkpoint_alone_saves_the_document(damage: Damage) -> None:
    for spared in (0, 1, 2):
        stores = await memory_stores()
        author = Author(5)
        for word in ("one ", "two ", "three ", "four ", "five "):
            await stores.write_and_fold(author, word)
        await stores.forget()
        kept = (await stores.table.snapshot(stores.document.id)).generations
        assert [checkpoint.generation for checkpoint in kept] == [5, 4, 3]
        for index, checkpoint in enumerate(kept):
            if index != spared:
                await damage(stores, checkpoint)
        assert await stores.text() == "one two three four five "


@pytest.mark.parametrize("damage", DAMAGES)
async def test_a_document_that_cannot_be_whole_is_refused_not_empty(damage: Damage) -> None:
    stores = await memory_stores()
    author = Author(5)
    for word in ("one ", "two ", "three ", "four "):
        await stores.write_and_fold(author, word)
    await stores.journal_all(author.write("five "), start=4)
    await stores.forget()
    for checkpoint in (await stores.table.snapshot(stores.document.id)).generations:
        await damage(stores, checkpoint)
    with pytest.raises(DocumentUnloadable) as refused:
        await stores.documents.load(stores.document)
    assert not refused.value.temporary


class AwayBlobs(MemoryBlobs):
    async def get(self, key: str) -> bytes:
        raise BlobsUnavailable("away")


class HangingBlobs(MemoryBlobs):
    async def get(self, key: str) -> bytes:
        await asyncio.Event().wait()
        return b""


@pytest.mark.parametrize("store", [AwayBlobs, HangingBlobs])
async def test_while_the_store_of_checkpoints_is_away_the_rows_do(
    store: type[MemoryBlobs], monkeypatch: pytest.MonkeyPatch
) -> None:
    """F07: within the history window a document opens without its checkpoints, too."""
    monkeypatch.setattr(documents, "READ_TIMEOUT_S", 0.05)
    stores = await memory_stores()
    author, _ = await folded_three_times(stores)
    without = replace(stores, blobs=store())
    assert await without.documents.load(stores.document) == StoredDocument(None, 0, author.updates)


async def test_a_store_that_is_away_when_rows_are_gone_is_waited_for() -> None:
    """An older generation lies in the same store: falling back would alarm and not help."""
    stores = await memory_stores()
    await folded_three_times(stores)
    await stores.forget()
    with pytest.raises(DocumentUnloadable) as refused:
        await replace(stores, blobs=AwayBlobs()).documents.load(stores.document)
    assert refused.value.temporary


async def test_a_fold_waits_for_a_store_that_is_away() -> None:
    """It could not store its result anyway, and folding a month of rows for nothing costs a worker minutes."""
    stores = await memory_stores()
    await folded_three_times(stores)
    with pytest.raises(BlobsUnavailable):
        await replace(stores, blobs=AwayBlobs()).documents.recover(stores.document)


class OvertakenBlobs(MemoryBlobs):
    """Before the first read is answered, other tasks make so many checkpoints that its blob is pruned."""

    def __init__(self) -> None:
        super().__init__()
        self.overtake: Callable[[], Awaitable[None]] | None = None

    async def get(self, key: str) -> bytes:
        if self.overtake is not None:
            overtake, self.overtake = self.overtake, None
            await overtake()
        return await super().get(key)


async def test_a_load_that_is_overtaken_by_checkpoints_and_pruning_starts_again() -> None:
    blobs = OvertakenBlobs()
    stores = await memory_stores(blobs)
    author, _ = await folded_three_times(stores)

    async def overtake() -> None:
        for word in ("five ", "six ", "seven "):
            await stores.write_and_fold(author, word)
        await stores.prune()

    blobs.overtake = overtake
    assert await stores.text() == "one two three four five six seven "


async def test_a_fall_back_that_is_overtaken_by_pruning_misses_no_row() -> None:
    """Between seeing the generations and reading the rows after an older one, those rows may be pruned."""
    blobs = OvertakenBlobs()
    stores = await memory_stores(blobs)
    author, checkpoints = await folded_three_times(stores)
    await remove(stores, checkpoints[2])
    await remove(stores, checkpoints[1])

    async def overtake() -> None:
        for word in ("five ", "six ", "seven ", "eight "):
            await stores.write_and_fold(author, word)
        await stores.forget()  # the blobs linger, as they do for a moment

    blobs.overtake = overtake
    assert await stores.text() == "one two three four five six seven eight "


async def test_a_blob_that_would_unpack_to_a_terabyte_is_not_unpacked() -> None:
    stores = await memory_stores()
    # RFC 8878: magic, a frame header that gives the content size in 8 bytes, and that size.
    bomb = b"\x28\xb5\x2f\xfd" + b"\xe0" + (1 << 40).to_bytes(8, "little")
    checkpoint = Checkpoint(stores.document.id, 1, "bomb", hashlib.sha256(bomb).digest(), len(bomb), b"\x00")
    await stores.blobs.put("bomb", bomb)
    await stores.table.record(checkpoint, [])
    await stores.journal_all(Author(5).write("still here"))
    assert await stores.text() == "still here"


async def test_documents_do_not_mix() -> None:
    stores = await memory_stores()
    await folded_three_times(stores)
    other = await stores.catalog.find_or_create("other")
    assert await stores.documents.load(other) == StoredDocument(None, 0, [])


async def test_old_generations_are_not_needed_while_every_row_is_there() -> None:
    """Whether the rows alone make the document is known from the floor, not guessed from the oldest generation."""
    stores = await memory_stores()
    author = Author(5)
    for word in ("one ", "two ", "three ", "four ", "five "):
        await stores.write_and_fold(author, word)
    for forgotten in await stores.history.forget([stores.document.id]):
        await stores.blobs.delete(forgotten.key)
    for checkpoint in (await stores.table.snapshot(stores.document.id)).generations:
        assert checkpoint.generation > 1
        await remove(stores, checkpoint)
    assert await stores.documents.load(stores.document) == StoredDocument(None, 0, author.updates)


async def test_rows_that_are_gone_are_missed_although_the_first_generation_is_there() -> None:
    stores = await memory_stores()
    _, checkpoints = await folded_three_times(stores)
    await stores.forget()  # three generations hold the first one's rows
    assert (await stores.table.snapshot(stores.document.id)).generations[-1].generation == 1
    for checkpoint in checkpoints:
        await remove(stores, checkpoint)
    with pytest.raises(DocumentUnloadable, match="rows of the oldest one are gone"):
        await stores.documents.load(stores.document)


async def test_a_document_whose_generations_are_gone_from_the_table_is_refused() -> None:
    """What the rows that are left make would pass for the whole document."""
    stores = await memory_stores()
    await folded_three_times(stores)
    await stores.forget()
    assert isinstance(stores.table, MemoryCheckpointTable)
    stores.table.generations.clear()
    with pytest.raises(DocumentUnloadable):
        await stores.documents.load(stores.document)


async def test_unreadable_checkpoints_are_counted() -> None:
    stores = await memory_stores()
    _, checkpoints = await folded_three_times(stores)
    unreadable = Tally()
    await remove(stores, checkpoints[2])
    await flip_a_bit(stores, checkpoints[1])
    await Documents(stores.table, stores.blobs, unreadable).load(stores.document)
    assert unreadable.count == 2
