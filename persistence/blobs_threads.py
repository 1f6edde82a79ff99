"""A bounded pool of threads for object stores whose calls block.

It must never outlive its owner, nor share the loop's default pool, where one slow store would starve everybody else.
Called by the directory and S3 adapters.
"""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar, TypeVarTuple

from persistence.blobs import BlobsUnavailable

T = TypeVar("T")
Ts = TypeVarTuple("Ts")


class StoreThreads:
    """At most `max_threads` blocking calls at once; further ones wait their turn."""

    def __init__(self, max_threads: int) -> None:
        self._executor = ThreadPoolExecutor(max_threads, thread_name_prefix="blobs")
        self._closed = False

    async def run(self, call: Callable[[*Ts], T], *args: *Ts) -> T:
        """`call(*args)` on a thread. Raises `BlobsUnavailable` once closed."""
        if self._closed:
            raise BlobsUnavailable("the store is closed")
        return await asyncio.get_running_loop().run_in_executor(self._executor, call, *args)

    async def close(self) -> None:
        """Wait for calls under way, then end the threads. Idempotent."""
        self._closed = True
        await asyncio.to_thread(self._executor.shutdown, wait=True)
