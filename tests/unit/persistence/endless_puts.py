"""Run as a module in a process of its own, by `test_full_disk`, which kills it: puts one blob after another."""

import asyncio
import sys
from itertools import count
from pathlib import Path

from persistence.blobs_directory import DirectoryBlobs

SIZE_BYTES = 2_000_000


def body_of(key: str) -> bytes:
    """What lies under a key if all of it does."""
    return (key.encode() * (SIZE_BYTES // len(key) + 1))[:SIZE_BYTES]


async def main(folder: Path, first: str) -> None:
    blobs = DirectoryBlobs(folder)
    print("putting", flush=True)
    for number in count():
        key = f"crdt/{first}/{number:08d}"
        await blobs.put(key, body_of(key), only_if_absent=True)


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1]), sys.argv[2]))
