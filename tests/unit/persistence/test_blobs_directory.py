"""Facts about blobs in a directory that no other store has: files, folders and what crashes leave behind."""

import os
from pathlib import Path

import pytest

from persistence.blobs import BlobsUnavailable
from persistence.blobs_directory import ABANDONED_AFTER_S, DirectoryBlobs


async def test_blobs_outlive_the_store_object(tmp_path: Path) -> None:
    first = DirectoryBlobs(tmp_path)
    await first.put("crdt/a/1", b"body", only_if_absent=True)
    await first.close()
    second = DirectoryBlobs(tmp_path)
    assert await second.get("crdt/a/1") == b"body"
    assert await second.list_keys("") == ["crdt/a/1"]
    await second.close()


async def test_a_half_written_file_is_never_a_blob_and_is_swept_when_old(tmp_path: Path) -> None:
    blobs = DirectoryBlobs(tmp_path)
    abandoned, recent = tmp_path / "incoming" / "abandoned", tmp_path / "incoming" / "recent"
    abandoned.write_bytes(b"ha")
    recent.write_bytes(b"ha")
    long_ago = recent.stat().st_mtime - ABANDONED_AFTER_S - 60
    os.utime(abandoned, (long_ago, long_ago))
    assert await blobs.list_keys("") == []
    await blobs.close()
    await DirectoryBlobs(tmp_path).close()
    assert [path.name for path in (tmp_path / "incoming").iterdir()] == ["recent"]


async def test_nothing_is_left_in_incoming_after_puts(tmp_path: Path) -> None:
    blobs = DirectoryBlobs(tmp_path)
    await blobs.put("k", b"a", only_if_absent=True)
    await blobs.put("k", b"a", only_if_absent=True)
    await blobs.put("k", b"b")
    await blobs.ping()
    assert list((tmp_path / "incoming").iterdir()) == []
    assert (tmp_path / "objects" / "k").stat().st_nlink == 1
    await blobs.close()


async def test_a_root_that_is_no_folder_is_unavailable(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(BlobsUnavailable):
        DirectoryBlobs(tmp_path / "file")


async def test_a_root_that_vanishes_is_unavailable_not_empty(tmp_path: Path) -> None:
    """An unmounted disk must not look like blobs that were lost."""
    blobs = DirectoryBlobs(tmp_path / "root")
    await blobs.put("k", b"x")
    (tmp_path / "root").rename(tmp_path / "elsewhere")
    for call in (blobs.get("k"), blobs.put("k", b""), blobs.ping(), blobs.list_keys("")):
        with pytest.raises(BlobsUnavailable):
            await call
    await blobs.close()
