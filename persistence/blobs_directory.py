"""Blobs in a directory: the embedded default, as durable as the disk below it.

A blob is written beside the tree, fsynced, and moved into it in one step, so a crash leaves all of it or nothing. It
must never be shared between machines: only a local file system makes `os.link` a compare-and-set. Assembled by `dev`.
"""

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from uuid import uuid4

from persistence.blobs import BlobExists, BlobMissing, BlobsUnavailable, check_key
from persistence.blobs_threads import StoreThreads

MAX_THREADS = 4  # an fsync waits for the disk; more at once only queue there
# A crash leaves its half-written file behind; after a day no writer can still be at it (seconds).
ABANDONED_AFTER_S = 86_400.0


class DirectoryBlobs:
    """See `Blobs`. Uses `root/objects` for blobs and `root/incoming` for what is being written."""

    def __init__(self, root: Path, *, max_threads: int = MAX_THREADS) -> None:
        """Make the two folders if need be. Raises `BlobsUnavailable` if that is not possible."""
        self._objects = root / "objects"
        self._incoming = root / "incoming"
        self._threads = StoreThreads(max_threads)
        with _unavailable():
            self._objects.mkdir(parents=True, exist_ok=True)
            self._incoming.mkdir(exist_ok=True)
            self._sweep(time.time() - ABANDONED_AFTER_S)

    async def put(self, key: str, body: bytes, *, only_if_absent: bool = False) -> None:
        await self._threads.run(self._put, check_key(key), body, only_if_absent)

    async def get(self, key: str) -> bytes:
        return await self._threads.run(self._get, check_key(key))

    async def delete(self, key: str) -> None:
        await self._threads.run(self._delete, check_key(key))

    async def list_keys(self, prefix: str, *, older_than_s: float = 0) -> list[str]:
        return await self._threads.run(self._list_keys, prefix, older_than_s)

    async def ping(self) -> None:
        await self._threads.run(self._ping)

    async def close(self) -> None:
        await self._threads.close()

    def _put(self, key: str, body: bytes, only_if_absent: bool) -> None:
        target = self._objects / key
        with _unavailable(), self._written(body) as temporary:
            self._make_folder(target.parent)
            if not only_if_absent:
                temporary.replace(target)
            elif not _link(temporary, target) and target.read_bytes() != body:
                raise BlobExists(key)
            _sync_folder(target.parent)

    @contextmanager
    def _written(self, body: bytes) -> Iterator[Path]:
        """A temporary file that holds `body` durably; gone afterwards unless it was moved away."""
        temporary = self._incoming / uuid4().hex
        try:
            with temporary.open("xb") as file:
                file.write(body)
                file.flush()
                os.fsync(file.fileno())
            yield temporary
        finally:
            temporary.unlink(missing_ok=True)

    def _make_folder(self, folder: Path) -> None:
        """Make the folders of a key; each new name is durable only once its parent is fsynced."""
        if folder.is_dir():
            return
        self._make_folder(folder.parent)
        folder.mkdir(exist_ok=True)
        _sync_folder(folder.parent)

    def _get(self, key: str) -> bytes:
        with _unavailable():
            try:
                return (self._objects / key).read_bytes()
            except (FileNotFoundError, NotADirectoryError, IsADirectoryError) as error:
                self._require_tree()
                raise BlobMissing(key) from error

    def _delete(self, key: str) -> None:
        path = self._objects / key
        with _unavailable(), suppress(FileNotFoundError, NotADirectoryError):
            path.unlink()
            _sync_folder(path.parent)

    def _list_keys(self, prefix: str, older_than_s: float) -> list[str]:
        folder, slash, _ = prefix.rpartition("/")
        try:
            start = self._objects / check_key(folder) if slash else self._objects
        except ValueError:  # no key begins like that, and the walk must not leave the tree
            return []
        with _unavailable():
            self._require_tree()
            paths = (Path(folder, name) for folder, _, names in self._walk(start, prefix) for name in names)
            keys = sorted(path.relative_to(self._objects).as_posix() for path in paths)
            before = time.time() - older_than_s
            return [
                key for key in keys if key.startswith(prefix) and (not older_than_s or self._stored_before(key, before))
            ]

    def _walk(self, start: Path, prefix: str) -> Iterator[tuple[str, list[str], list[str]]]:
        """Of the folder the prefix ends in, only what its rest allows: others may hold a hundred thousand documents."""
        rest = prefix.rpartition("/")[2]
        for folder, folders, names in os.walk(start):
            if Path(folder) == start:
                folders[:] = [name for name in folders if name.startswith(rest)]
            yield folder, folders, names

    def _stored_before(self, key: str, before: float) -> bool:
        try:
            return (self._objects / key).stat().st_mtime < before
        except FileNotFoundError:  # deleted meanwhile
            return False

    def _require_tree(self) -> None:
        """A disk that is not mounted must not look like a store that lost its blobs."""
        if not self._objects.is_dir():
            raise BlobsUnavailable("the folder of blobs is gone")

    def _ping(self) -> None:
        with _unavailable(), self._written(b""):
            pass

    def _sweep(self, before: float) -> None:
        for path in self._incoming.iterdir():
            with suppress(FileNotFoundError):
                if path.stat().st_mtime < before:
                    path.unlink()


def _link(temporary: Path, target: Path) -> bool:
    """Give the file its second name in one step; False if the name is taken."""
    try:
        target.hardlink_to(temporary)
    except FileExistsError:
        return False
    return True


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def _unavailable() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise BlobsUnavailable(f"{type(error).__name__}: {error.strerror}") from error
