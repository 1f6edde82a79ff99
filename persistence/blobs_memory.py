"""Blobs in memory: for tests and for servers that keep nothing.

It must never be named where a checkpoint is to outlive the process.
"""

import time

from persistence.blobs import BlobExists, BlobMissing, BlobsUnavailable, check_key


class MemoryBlobs:
    """See `Blobs`."""

    def __init__(self) -> None:
        self._bodies: dict[str, bytes] = {}
        self._stored_at: dict[str, float] = {}
        self._closed = False

    async def put(self, key: str, body: bytes, *, only_if_absent: bool = False) -> None:
        self._refuse_when_closed()
        check_key(key)
        if only_if_absent and self._bodies.get(key, body) != body:
            raise BlobExists(key)
        self._bodies[key] = bytes(body)
        self._stored_at[key] = time.time()

    async def get(self, key: str) -> bytes:
        self._refuse_when_closed()
        try:
            return self._bodies[check_key(key)]
        except KeyError as error:
            raise BlobMissing(key) from error

    async def delete(self, key: str) -> None:
        self._refuse_when_closed()
        self._bodies.pop(check_key(key), None)

    async def list_keys(self, prefix: str, *, older_than_s: float = 0) -> list[str]:
        self._refuse_when_closed()
        keys = sorted(key for key in self._bodies if key.startswith(prefix))
        before = time.time() - older_than_s
        return [key for key in keys if not older_than_s or self._stored_at[key] < before]

    async def ping(self) -> None:
        self._refuse_when_closed()

    async def close(self) -> None:
        self._closed = True

    def _refuse_when_closed(self) -> None:
        if self._closed:
            raise BlobsUnavailable("the store is closed")
