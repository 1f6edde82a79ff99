"""What happens when storage does not hold the whole document: it stays closed, loudly (promise 1)."""

from __future__ import annotations

import dataclasses

import pytest
from structlog.testing import capture_logs

from collab_server.errors import Close, Refused
from collab_server.rooms.offload import Offload
from collab_server.wire.messages import Update
from persistence.blobs import BlobsUnavailable
from persistence.blobs_memory import MemoryBlobs
from persistence.checkpoints import Checkpoint
from persistence.documents import DocumentUnloadable, StoredDocument
from persistence.sandbox import Sandbox
from tests.unit.collab_server.rooms.parts import RULES, House, house, until
from tests.unit.collab_server.rooms.test_replica import typed
from tests.unit.persistence.authors import Author


async def stored_and_dropped(at: House) -> None:
    """The document "demo" in one generation, and its room out of memory."""
    room = await at.room()
    ada = at.join(room)
    ada.send(Update(typed("words")[0]))
    assert await at.registry.checkpoint(room)
    at.join(room)
    for member in list(room.members):
        room.leave(member)
    at.registry.release(room)
    await until(lambda: not at.registry.rooms, 30)


async def test_a_document_that_is_not_whole_in_storage_is_refused_and_an_alarm_is_raised() -> None:
    async with house(dataclasses.replace(RULES, grace_s=0)) as at:
        await stored_and_dropped(at)
        document = await at.catalog.find_or_create("demo")
        at.table.floors[document.id] = 1
        for key in await at.blobs.list_keys("crdt/"):
            await at.blobs.put(key, b"rotten")
        with capture_logs() as logs, pytest.raises(Refused) as refused:
            await at.room()
        assert refused.value.reason is Close.ROOM_UNAVAILABLE
        assert "demo" not in at.registry.rooms
        assert [entry["event"] for entry in logs if entry["log_level"] == "critical"] == ["document_unloadable"]
        assert at.metrics.documents_unloadable.count == 1
        assert at.metrics.room_load_failures.count == 1


class AwayBlobs(MemoryBlobs):
    async def get(self, key: str) -> bytes:
        raise BlobsUnavailable("away")


async def test_storage_that_is_away_is_refused_without_that_alarm() -> None:
    async with house(dataclasses.replace(RULES, grace_s=0)) as at:
        await stored_and_dropped(at)
        document = await at.catalog.find_or_create("demo")
        at.table.floors[document.id] = 1
        at.blobs.__class__ = AwayBlobs
        with pytest.raises(Refused):
            await at.room()
        at.blobs.__class__ = MemoryBlobs
        assert at.metrics.documents_unloadable.count == 0
        assert (await at.room()).clocks


@pytest.mark.parametrize("updates", [1, 3_000], ids=["small", "big"])
async def test_what_lacks_something_the_newest_checkpoint_had_is_not_opened(updates: int) -> None:
    """The database is of an earlier time than the checkpoint's row says, or rows are gone that nobody noted."""
    author = Author(5)
    for number in range(updates):
        author.write(f"{number}")
    held = author.document.get_state()
    beyond = author.write("one more").document.get_state()
    sandbox = Sandbox(max_workers=1, preload=("collab_server.big_work",))
    offload = Offload(sandbox, big_update_bytes=64 * 1024, timeout_s=60)
    stored = StoredDocument(None, 0, author.updates[:-1], author.reaches[:-1], held)
    assert (await offload.load(stored)).clocks == {5: len("".join(map(str, range(updates))))}
    with pytest.raises(DocumentUnloadable):
        await offload.load(dataclasses.replace(stored, state_vector=beyond))
    await sandbox.close()


async def test_a_checkpoint_row_that_names_no_blob_is_no_empty_document() -> None:
    """F24: the pointer is ahead of the storage, and no row is there either."""
    async with house() as at:
        document = await at.catalog.find_or_create("demo")
        lost = Checkpoint(document.id, 1, "crdt/lost", b"0" * 32, 9, Author(5).write("x").document.get_state())
        assert await at.table.record(lost, [])
        with pytest.raises(Refused) as refused:
            await at.room()
        assert refused.value.reason is Close.ROOM_UNAVAILABLE
        assert at.metrics.documents_unloadable.count == 1
