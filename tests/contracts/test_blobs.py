"""What every blob store owes, in memory, in a directory, and over a real S3 API."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from persistence.blobs import MAX_KEY_BYTES, BlobExists, BlobMissing, Blobs, BlobsUnavailable
from persistence.blobs_directory import DirectoryBlobs
from persistence.blobs_memory import MemoryBlobs
from persistence.blobs_s3 import S3Blobs
from tests.services.ministack import Ministack

UNFIT_KEYS = {
    "empty": "",
    "absolute": "/etc/passwd",
    "parent": "crdt/../../etc/passwd",
    "parent_alone": "..",
    "here": "crdt/./x",
    "double_slash": "crdt//x",
    "trailing_slash": "crdt/",
    "backslash": "crdt\\..\\x",
    "null": "crdt/x\0.yjs",
    "line_break": "crdt/x\ny",
    "lone_surrogate": "crdt/\udc80",
    "too_long": "/".join(["a" * 200] * 6),
    "long_segment": "a" * 256,
}


@pytest_asyncio.fixture(params=["memory", "directory", "s3"])
async def blobs(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Blobs]:
    store: Blobs
    if request.param == "memory":
        store = MemoryBlobs()
    elif request.param == "directory":
        store = DirectoryBlobs(tmp_path / "blobs")
    else:
        server: Ministack = request.getfixturevalue("ministack")
        bucket: str = request.getfixturevalue("s3_bucket")
        store = S3Blobs(bucket, endpoint_url=server.endpoint_url, region=server.region, session=server.session)
    yield store
    await store.close()


@pytest.mark.parametrize("body", [b"", b"\x00\xff\r\n", bytes(range(256)) * 8192], ids=["empty", "short", "2MiB"])
async def test_what_was_put_is_got_byte_for_byte(blobs: Blobs, body: bytes) -> None:
    await blobs.put("crdt/a/0/00000001-ab.yjs.zst", body)
    assert await blobs.get("crdt/a/0/00000001-ab.yjs.zst") == body


async def test_a_plain_put_replaces(blobs: Blobs) -> None:
    await blobs.put("documents/a.md", b"old and longer")
    await blobs.put("documents/a.md", b"new")
    assert await blobs.get("documents/a.md") == b"new"


async def test_a_put_only_if_absent_leaves_other_bytes_alone(blobs: Blobs) -> None:
    await blobs.put("k", b"first", only_if_absent=True)
    with pytest.raises(BlobExists):
        await blobs.put("k", b"other", only_if_absent=True)
    assert await blobs.get("k") == b"first"


async def test_a_put_only_if_absent_may_be_repeated(blobs: Blobs) -> None:
    """As after a time-out that hid a success."""
    await blobs.put("k", b"same", only_if_absent=True)
    await blobs.put("k", b"same", only_if_absent=True)
    assert await blobs.get("k") == b"same"


async def test_of_racing_writers_exactly_one_succeeds(blobs: Blobs) -> None:
    bodies = [bytes([number]) * 1000 for number in range(8)]
    puts = [blobs.put("crdt/race", body, only_if_absent=True) for body in bodies]
    outcomes = await asyncio.gather(*puts, return_exceptions=True)
    winners = [body for body, outcome in zip(bodies, outcomes, strict=True) if outcome is None]
    assert [await blobs.get("crdt/race")] == winners
    assert {type(outcome) for outcome in outcomes} == {type(None), BlobExists}


async def test_readers_of_a_replaced_blob_see_one_whole_body(blobs: Blobs) -> None:
    bodies = {bytes([number]) * 300_000 for number in range(6)}
    await blobs.put("k", b"\x00" * 300_000)
    reads = [blobs.get("k") for _ in range(6)]
    results = await asyncio.gather(*(blobs.put("k", body) for body in bodies), *reads)
    assert set(results[len(bodies) :]) <= bodies


async def test_a_missing_blob_is_missing(blobs: Blobs) -> None:
    await blobs.put("a/b/c", b"x")
    for key in ("nothing", "a", "a/b", "a/b/c/d", "a/b/C"):
        with pytest.raises(BlobMissing):
            await blobs.get(key)


async def test_deleting_is_final_and_may_be_repeated(blobs: Blobs) -> None:
    await blobs.put("a/b", b"x")
    await blobs.delete("a/b")
    await blobs.delete("a/b")
    await blobs.delete("never/was")
    with pytest.raises(BlobMissing):
        await blobs.get("a/b")
    await blobs.put("a/b", b"y", only_if_absent=True)
    assert await blobs.get("a/b") == b"y"


async def test_keys_are_listed_by_prefix_in_order(blobs: Blobs) -> None:
    keys = ["crdt/a/0/2", "crdt/a/0/1", "crdt/ab/0/1", "documents/a.md", "crdt/a/0/ü é.md"]
    for key in keys:
        await blobs.put(key, b"x")
    assert await blobs.list_keys("") == sorted(keys)
    assert await blobs.list_keys("crdt/a/") == ["crdt/a/0/1", "crdt/a/0/2", "crdt/a/0/ü é.md"]
    assert await blobs.list_keys("crdt/a") == [*sorted(keys)[:3], "crdt/ab/0/1"]
    assert await blobs.list_keys("crdt/a/0/2") == ["crdt/a/0/2"]
    for prefix in ("nothing/", "../", "/", "crdt/../"):
        assert await blobs.list_keys(prefix) == []


async def test_unfit_keys_are_refused(blobs: Blobs) -> None:
    accepted = []
    for name, key in UNFIT_KEYS.items():
        calls = [blobs.put(key, b""), blobs.put(key, b"", only_if_absent=True), blobs.get(key), blobs.delete(key)]
        outcomes = await asyncio.gather(*calls, return_exceptions=True)
        if {type(outcome) for outcome in outcomes} != {ValueError}:
            accepted.append(name)
    assert accepted == []


async def test_the_longest_key_fits(blobs: Blobs) -> None:
    key = "/".join(["k" * 255] * 4)
    assert len(key.encode()) == MAX_KEY_BYTES - 1
    await blobs.put(key, b"x", only_if_absent=True)
    assert await blobs.list_keys("k") == [key]


async def test_a_store_answers_until_it_is_closed(blobs: Blobs) -> None:
    await blobs.ping()
    await blobs.close()
    await blobs.close()
    for call in (blobs.ping(), blobs.get("k"), blobs.put("k", b""), blobs.delete("k"), blobs.list_keys("")):
        with pytest.raises(BlobsUnavailable):
            await call
