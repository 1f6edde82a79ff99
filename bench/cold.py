"""How long a document that is in nobody's memory takes to open: `python -m bench.cold [RUNS]` prints it.

A real PostgreSQL and a directory of blobs, both warm, as they are for a room that was dropped a while ago. Two
documents: one of 60,000 edits in a checkpoint, whose rows are all still in the table beside it (the history window),
and one of 5,000 rows that no checkpoint holds. What is measured is `Documents` (the look-ups, the blob, its hash) and
the replica made of it; and, beside them, what a room does, which leaves many rows to a worker process. CPU is this
process's: on a busy machine it tells what an idle one would take.
"""

from __future__ import annotations

import asyncio
import gc
import random
import statistics
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from pycrdt import Doc, Text
from rich.console import Console
from rich.table import Table

from bench.machine import description
from collab_server import big_work
from collab_server.rooms.offload import Offload
from collab_server.rooms.replica import Replica
from persistence import migrate
from persistence.blobs_directory import DirectoryBlobs
from persistence.catalog import Document
from persistence.catalog_postgres import PostgresCatalog
from persistence.checkpointer import Checkpointer
from persistence.checkpoints_postgres import PostgresCheckpointTable
from persistence.database import create_pool
from persistence.documents import Documents
from persistence.embedded_postgres import EmbeddedPostgres
from persistence.journal import JournalEntry
from persistence.journal_postgres import PostgresJournal
from persistence.sandbox import Sandbox

RUNS = 40
EDITS, ROWS = 60_000, 5_000
BAR_EDITS_MS, BAR_ROWS_MS = 30.0, 60.0
AUTHORS = 4
SLIP, BACKSPACES = 0.04, (1, 6)  # how often somebody notices a slip, and how many letters then go: 12 % of all edits
BURST = (10, 60)  # edits of one author in one place before another one, or another place, has its turn
BATCH_ROWS = 1_000
FOLD_TIMEOUT_S = 300.0

Update = tuple[bytes, bytes]
"""An update and its reach."""


def written(count: int, seed: int = 7) -> Iterator[Update]:
    """`count` updates of one character each by people who take turns, jump about and mistype."""
    chance = random.Random(seed)
    people: list[tuple[Doc[Text], Text, list[bytes]]] = []
    for client in chance.sample(range(2**31, 2**32), AUTHORS):
        doc: Doc[Text] = Doc(client_id=client)
        updates: list[bytes] = []
        people.append((doc, doc.get("content", type=Text), updates))
        doc.observe(lambda event, updates=updates: updates.append(event.update))
    made, last = 0, people[0][0]
    while made < count:
        doc, text, updates = chance.choice(people)
        if doc is not last:
            doc.apply_update(last.get_update(doc.get_state()))
            updates.clear()
        last = doc
        caret = chance.randint(0, len(text))
        backspaces = 0
        for _ in range(min(chance.randint(*BURST), count - made)):
            if chance.random() < SLIP:
                backspaces = chance.randint(*BACKSPACES)
            if caret and backspaces:
                caret, backspaces = caret - 1, backspaces - 1
                del text[caret]
            else:
                text.insert(caret, chance.choice("etaoin shrdlu"))
                caret += 1
            yield updates.pop(), doc.get_state()
            made += 1


@dataclass(frozen=True, slots=True)
class Times:
    """Of the runs of one way to open, in ms: on the clock, and of this process's CPU."""

    name: str
    wall: list[float]
    cpu: list[float]
    bar_ms: float | None


@dataclass(frozen=True, slots=True)
class Store:
    """Where the documents lie."""

    catalog: PostgresCatalog
    journal: PostgresJournal
    documents: Documents
    checkpointer: Checkpointer
    offload: Offload

    async def journaled(self, name: str, edits: int) -> Document:
        """A document of so many rows."""
        document = await self.catalog.find_or_create(name)
        entries = [JournalEntry(document.id, update, "ada", (1,), reach) for update, reach in written(edits)]
        for start in range(0, edits, BATCH_ROWS):
            await self.journal.append(entries[start : start + BATCH_ROWS])
        return document


async def timed(runs: int, name: str, opened: Callable[[], Awaitable[Replica]], bar_ms: float | None = None) -> Times:
    """Open so many times, and forget the result each time."""
    wall, cpu = [], []
    for _ in range(runs + 1):  # the first one warms up connections and workers
        gc.collect()
        began, began_cpu = time.perf_counter(), time.process_time()
        replica = await opened()
        wall.append((time.perf_counter() - began) * 1e3)
        cpu.append((time.process_time() - began_cpu) * 1e3)
        assert replica.clocks, "nothing was opened"
        del replica
    return Times(name, wall[1:], cpu[1:], bar_ms)


async def ways(store: Store, runs: int) -> list[Times]:
    """Every way to open both documents."""
    folded, unfolded = await store.journaled("folded", EDITS), await store.journaled("unfolded", ROWS)
    assert await store.checkpointer.checkpoint(folded), "no checkpoint was made"

    def directly(document: Document) -> Callable[[], Awaitable[Replica]]:
        async def opened() -> Replica:
            stored = await store.documents.load(document)
            return Replica.load(stored.checkpoint, stored.updates)

        return opened

    def as_a_room(document: Document) -> Callable[[], Awaitable[Replica]]:
        async def opened() -> Replica:
            return await store.offload.load(await store.documents.load(document))

        return opened

    return [
        await timed(runs, f"{EDITS:,} edits in a checkpoint", directly(folded), BAR_EDITS_MS),
        await timed(runs, "the same, as a room opens it", as_a_room(folded)),
        await timed(runs, f"{ROWS:,} rows without one", directly(unfolded), BAR_ROWS_MS),
        await timed(runs, "the same, as a room opens it", as_a_room(unfolded)),
    ]


async def measure(folder: Path, runs: int) -> list[Times]:
    """Start the stores in `folder`, fill them, and open."""
    postgres, blobs = EmbeddedPostgres(), DirectoryBlobs(folder / "blobs")
    folding, splitting = Sandbox(max_workers=1), Sandbox(max_workers=1, preload=(big_work.__name__,))
    try:
        url = await postgres.start(folder / "postgres")
        await migrate.upgrade(url)
        pool = await create_pool(url)
        table, catalog = PostgresCheckpointTable(pool), PostgresCatalog(pool)
        store = Store(
            catalog,
            PostgresJournal(pool),
            Documents(table, blobs),
            Checkpointer(catalog, table, blobs, folding, FOLD_TIMEOUT_S),
            Offload(splitting, big_update_bytes=64 * 1024, timeout_s=60),
        )
        measured = await ways(store, runs)
        await pool.close()
    finally:
        for sandbox in (folding, splitting):
            await sandbox.close()
        await blobs.close()
        await postgres.stop()
    return measured


def main() -> None:
    runs = int(sys.argv[1]) if len(sys.argv) > 1 else RUNS
    with tempfile.TemporaryDirectory(prefix="collab-bench-") as folder:
        measured = asyncio.run(measure(Path(folder), runs))
    table = Table(title=f"Opening a document nobody has open, {runs} runs", caption=description())
    for heading in ("document", "median ms", "best", "worst", "CPU", "bar"):
        table.add_column(heading, justify="left" if heading == "document" else "right")
    for times in measured:
        figures = (statistics.median(times.wall), min(times.wall), max(times.wall), statistics.median(times.cpu))
        bar = f"{times.bar_ms:.0f}" if times.bar_ms is not None else ""
        table.add_row(times.name, *(f"{figure:.1f}" for figure in figures), bar)
    Console(width=100).print(table)


if __name__ == "__main__":
    main()
