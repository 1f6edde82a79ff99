"""Blobs: immutable checkpoints and rendered documents, by key, in an object store.

A key is a relative POSIX path such as `crdt/<document>/0/00000001-<hash>.yjs.zst`. It must never come from a user, and
no blob is ever changed in part. Called by the checkpointer (writes), by `Documents` (reads) and by readiness (`ping`).
"""

from typing import Protocol
from unicodedata import category

from persistence.errors import StorageUnavailable

MAX_KEY_BYTES = 1024  # what S3 takes
MAX_SEGMENT_BYTES = 255  # what common file systems take for one name


class BlobsUnavailable(StorageUnavailable):
    """The store cannot answer now, or not within its time limit: retry later. The call may have had its effect."""


class BlobExists(Exception):
    """The key already holds other bytes."""


class BlobMissing(Exception):
    """Nothing lies under the key."""


class Blobs(Protocol):
    """An object store with read-after-write consistency. Every call ends within a bounded time.

    Any method may raise `BlobsUnavailable`; those that take a key raise ValueError for one `check_key` refuses.
    Adapters may be used from one event loop and never block it.
    """

    async def put(self, key: str, body: bytes, *, only_if_absent: bool = False) -> None:
        """Store `body`, whole and durable when this returns; a reader never sees a part of it.

        With `only_if_absent` exactly one of several racing writers succeeds and a present blob is left alone: raises
        `BlobExists` if it differs from `body`. One that equals `body` counts as success, so a put may be repeated after
        `BlobsUnavailable`.
        """

    async def get(self, key: str) -> bytes:
        """The whole blob. Raises `BlobMissing`."""

    async def delete(self, key: str) -> None:
        """Remove the blob; removing what is not there is success."""

    async def list_keys(self, prefix: str, *, older_than_s: float = 0) -> list[str]:
        """Every key that begins with `prefix` (any string, a whole path or not), sorted by code point.

        `older_than_s` above 0 leaves out what was stored within so many seconds; clocks may differ by some.
        """

    async def ping(self) -> None:
        """Return if the store answers now."""

    async def close(self) -> None:
        """Let go of threads and connections; calls under way end first. Idempotent."""


def check_key(key: str) -> str:
    """Return `key` if every adapter can hold it, else raise ValueError without naming it.

    At most 1,024 bytes of UTF-8, segments of 1-255 bytes, no `.` or `..` segment, no leading, trailing or double slash,
    no backslash, no control character.
    """
    try:
        encoded = key.encode()
    except UnicodeEncodeError as error:
        raise ValueError("a blob key must be Unicode text") from error
    if not 0 < len(encoded) <= MAX_KEY_BYTES:
        raise ValueError(f"a blob key has 1 to {MAX_KEY_BYTES} bytes")
    if "\\" in key or any(category(character) == "Cc" for character in key):
        raise ValueError("a blob key has no backslash and no control character")
    segments = key.split("/")
    if any(segment in {"", ".", ".."} or len(segment.encode()) > MAX_SEGMENT_BYTES for segment in segments):
        raise ValueError("a blob key is a relative path without empty, '.' or '..' segments of at most 255 bytes each")
    return key
