"""F07, F15: an object store that fails in every way a network and a service can, and what a checkpoint makes of it."""

import asyncio
import random
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace

import pytest
import pytest_asyncio

from persistence import blobs_s3, documents
from persistence.blobs import BlobsUnavailable
from persistence.blobs_s3 import S3Blobs
from persistence.checkpointer import Checkpointer, CheckpointRefused
from tests.services.http_faults import Answer, Cut, Fault, Hold, HttpFaults, LoseAnswer, Request, Shorten
from tests.services.ministack import Ministack
from tests.unit.persistence.authors import Author
from tests.unit.persistence.stores import Stores, checkpointing, memory_stores

TIMEOUT_S = 1.5  # of a request that hangs; a busy machine takes a good part of it for one that does not


@pytest.fixture
def proxy(ministack: Ministack) -> Iterator[HttpFaults]:
    with HttpFaults(ministack.port) as between:
        yield between


@pytest_asyncio.fixture
async def stores(
    ministack: Ministack, s3_bucket: str, proxy: HttpFaults, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Stores]:
    """A document with two rows in its journal, and a bucket behind the proxy."""
    monkeypatch.setattr(blobs_s3, "READ_TIMEOUT_S", TIMEOUT_S)
    monkeypatch.setattr(blobs_s3, "MAX_ATTEMPTS", 2)
    monkeypatch.setattr(documents, "READ_TIMEOUT_S", 5.0)
    blobs = S3Blobs(s3_bucket, endpoint_url=proxy.url, region=ministack.region, session=ministack.session)
    stores = await memory_stores(blobs)
    await stores.journal_all(Author(5).write("to be ").write("or not"))
    yield stores
    await blobs.close()


@pytest_asyncio.fixture
async def checkpointer(stores: Stores) -> AsyncIterator[Checkpointer]:
    async with checkpointing(stores) as one:
        yield one


def on_puts(fault: Fault, *, times: int = 1_000):  # type: ignore[no-untyped-def]
    """The fault for the next uploads of checkpoints, and only for them."""
    left = [times]

    def decide(request: Request) -> Fault:
        if request.method != "PUT" or "/crdt/" not in request.path or left[0] == 0:
            return None
        left[0] -= 1
        return fault

    return decide


async def unfolded(stores: Stores) -> int:
    return len(await stores.journal.unfolded(stores.document.id))


FAILURES = {
    "500": Answer(500, "InternalError"),
    "503": Answer(503, "SlowDown"),
    "403": Answer(403, "AccessDenied"),
    "cut": Cut(20),
}


@pytest.mark.parametrize("fault", FAILURES.values(), ids=FAILURES.keys())
async def test_a_checkpoint_that_cannot_be_stored_fails_cleanly_and_works_later(
    stores: Stores, checkpointer: Checkpointer, proxy: HttpFaults, fault: Fault
) -> None:
    proxy.fault = on_puts(fault)
    with pytest.raises(BlobsUnavailable):
        await checkpointer.checkpoint(stores.document)
    assert await unfolded(stores) == 2
    assert await stores.table.newest(stores.document.id) is None
    assert await stores.text() == "to be or not"
    proxy.fault = lambda _request: None
    assert await checkpointer.checkpoint(stores.document) is not None
    assert (await unfolded(stores), await stores.text()) == (0, "to be or not")


async def test_an_upload_that_hangs_ends_in_time(stores: Stores, checkpointer: Checkpointer, proxy: HttpFaults) -> None:
    proxy.fault = on_puts(Hold())
    async with asyncio.timeout(30):
        with pytest.raises(BlobsUnavailable):
            await checkpointer.checkpoint(stores.document)
    assert await unfolded(stores) == 2


async def test_a_success_whose_every_answer_is_lost_is_no_checkpoint_and_no_harm(
    stores: Stores, checkpointer: Checkpointer, proxy: HttpFaults
) -> None:
    """The blob lies there; the next attempt finds its own bytes under the key."""
    proxy.fault = on_puts(LoseAnswer())
    with pytest.raises(BlobsUnavailable):
        await checkpointer.checkpoint(stores.document)
    assert await unfolded(stores) == 2
    (left,) = await stores.blobs.list_keys("crdt/")
    proxy.fault = lambda _request: None
    checkpoint = await checkpointer.checkpoint(stores.document)
    assert checkpoint is not None
    assert checkpoint.key == left
    assert await stores.text() == "to be or not"


async def test_one_bad_moment_is_got_over_within_the_call(
    stores: Stores, checkpointer: Checkpointer, proxy: HttpFaults
) -> None:
    for fault in (Answer(503, "SlowDown"), LoseAnswer(), Cut(5)):
        await stores.journal_all(Author(random.randrange(10, 2**31)).write("x"))
        proxy.fault = on_puts(fault, times=1)
        assert await checkpointer.checkpoint(stores.document) is not None


async def test_a_store_that_keeps_less_than_it_was_given_is_found_out(
    stores: Stores, checkpointer: Checkpointer, proxy: HttpFaults
) -> None:
    """F15: it says success. Without the reading back its word would be taken and the rows let go."""
    proxy.fault = on_puts(Shorten(by=3))
    with pytest.raises((CheckpointRefused, BlobsUnavailable)):
        await checkpointer.checkpoint(stores.document)
    assert await unfolded(stores) == 2
    assert await stores.table.newest(stores.document.id) is None


async def test_an_upload_cut_at_any_byte_is_never_pointed_to(
    stores: Stores, checkpointer: Checkpointer, proxy: HttpFaults
) -> None:
    """F15."""
    chance = random.Random(15)
    for number in range(12):
        author = Author(100 + number).write("more " * 50)
        await stores.journal_all(author)
        rows = await unfolded(stores)
        proxy.fault = on_puts(Cut(chance.randrange(120)))
        before = await stores.table.newest(stores.document.id)
        with pytest.raises(BlobsUnavailable):
            await checkpointer.checkpoint(stores.document)
        assert await stores.table.newest(stores.document.id) == before
        assert await unfolded(stores) == rows
        for checkpoint in (await stores.table.snapshot(stores.document.id)).generations:
            assert len(await stores.blobs.get(checkpoint.key)) == checkpoint.size_bytes
        if number % 4 == 3:
            proxy.fault = lambda _request: None
            assert await checkpointer.checkpoint(stores.document) is not None
    assert (await stores.text()).count("more ") == 12 * 50


async def test_uploads_that_hang_do_not_hold_up_who_opens_a_document(
    stores: Stores,
    checkpointer: Checkpointer,
    proxy: HttpFaults,
    ministack: Ministack,
    s3_bucket: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(blobs_s3, "READ_TIMEOUT_S", 30.0)
    blobs = S3Blobs(
        s3_bucket, endpoint_url=proxy.url, region=ministack.region, session=ministack.session, max_threads=2
    )
    assert await checkpointer.checkpoint(stores.document) is not None
    hold = Hold()
    proxy.fault = on_puts(hold)
    hanging = [asyncio.create_task(blobs.put(f"crdt/hangs/{number}", b"x")) for number in range(4)]
    await asyncio.to_thread(hold.reached.wait, 10)
    async with asyncio.timeout(10):
        stored = await replace(stores, blobs=blobs).documents.load(stores.document)
    assert stored.generation == 1
    assert not any(put.done() for put in hanging)
    hold.go_on.set()
    await asyncio.gather(*hanging)
    await blobs.close()
