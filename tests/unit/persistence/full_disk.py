"""Run as a module in a process of its own, by `test_full_disk`: checkpoints into a directory on a disk with no room.

A limit on the size of files stands in for the full disk: the write stops half way with an OSError, as it does there,
and the limit needs no rights and harms nobody else. Prints what was found, as JSON.
"""

import asyncio
import json
import random
import resource
import sys
from pathlib import Path

from persistence.blobs import BlobsUnavailable
from persistence.blobs_directory import DirectoryBlobs
from persistence.checkpointer import Checkpointer
from persistence.sandbox import Sandbox
from tests.unit.persistence.authors import Author
from tests.unit.persistence.stores import memory_stores

ROOM_BYTES = 20_000
TEXT_CHARACTERS = 60_000  # random letters: they compress to more than there is room for


def files_below(folder: Path) -> list[str]:
    return [path.name for path in folder.rglob("*") if path.is_file()]


async def main(folder: Path) -> None:
    stores = await memory_stores(DirectoryBlobs(folder))
    text = "".join(random.Random(11).choices("abcdefghijklmnopqrstuvwxyz", k=TEXT_CHARACTERS))
    await stores.journal_all(Author(5).write(text))
    sandbox = Sandbox(max_workers=1)
    checkpointer = Checkpointer(stores.catalog, stores.table, stores.blobs, sandbox)
    hard = resource.getrlimit(resource.RLIMIT_FSIZE)[1]
    resource.setrlimit(resource.RLIMIT_FSIZE, (ROOM_BYTES, hard))
    try:
        await checkpointer.checkpoint(stores.document)
        outcome = "stored"
    except BlobsUnavailable as error:
        outcome = str(error)
    full = {
        "outcome": outcome,
        "generations": len((await stores.table.snapshot(stores.document.id)).generations),
        "unfolded": len(await stores.journal.unfolded(stores.document.id)),
        "files": await asyncio.to_thread(files_below, folder),
        "opens": await stores.text() == text,
    }
    resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))
    made = await checkpointer.checkpoint(stores.document)
    room_again = {
        "generation": made and made.generation,
        "unfolded": len(await stores.journal.unfolded(stores.document.id)),
        "opens": await stores.text() == text,
    }
    print(json.dumps({"full": full, "room_again": room_again}))
    await sandbox.close()
    await stores.blobs.close()


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1])))
