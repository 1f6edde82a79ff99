"""Blobs in memory: for tests and for servers that keep nothing.

It must never be named where a checkpoint is to outlive the process.
"""

from persistence.blobs import BlobExists, BlobMissing, BlobsUnavailable, check_key


class MemoryBlobs:
    """See `Blobs`."""

    def __init__(self) -> None:
        self._bodies: dict[str, bytes] = {}
        self._closed = False

    async def put(self, key: str, body: bytes, *, only_if_absent: bool = False) -> None:
        self._refuse_when_closed()
        check_key(key)
        if only_if_absent and self._bodies.get(key, body) != body:
            raise BlobExists(key)
        self._bodies[key] = bytes(body)

    async def get(self, key: str) -> bytes:
        self._refuse_when_closed()
        try:
            return self._bodies[check_key(key)]
        except KeyError as error:
            raise BlobMissing(key) from error

    async def delete(self, key: str) -> None:
        self._refuse_when_closed()
        self._bodies.pop(check_key(key), None)

    async def list_keys(self, prefix: str) -> list[str]:
        self._refuse_when_closed()
        return sorted(key for key in self._bodies if key.startswith(prefix))

    async def ping(self) -> None:
        self._refuse_when_closed()

    async def close(self) -> None:
        self._closed = True

    def _refuse_when_closed(self) -> None:
        if self._closed:
            raise BlobsUnavailable("the store is closed")
