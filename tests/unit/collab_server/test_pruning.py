"""Facts about the pruning task: it counts what it did, and no failure ends it."""

import asyncio
from datetime import datetime, timedelta
from typing import Any

from collab_server.pruning import Pruning
from collab_server.telemetry import Metrics
from persistence.history import HistoryUnavailable
from persistence.history_memory import MemoryHistory
from persistence.pruner import SHARDS, Pruned, Pruner
from tests.unit.persistence.authors import Author
from tests.unit.persistence.stores import Stores, memory_stores


async def folded(times: int) -> Stores:
    stores = await memory_stores()
    author = Author(5)
    for number in range(times):
        await stores.write_and_fold(author, f"{number} ")
    return stores


def sample(metrics: Metrics, name: str, **labels: str) -> float | None:
    return metrics.registry.get_sample_value(name, labels)


async def test_what_a_run_did_is_counted() -> None:
    stores, metrics = await folded(5), Metrics()
    document = stores.document.id
    await stores.blobs.put(f"crdt/{document}/0/00000001-0123.yjs.zst", b"left over")
    newest = await stores.table.newest(document)
    assert newest is not None
    await stores.blobs.delete(newest.key)
    pruner = Pruner(stores.history, stores.blobs, timedelta(), shards_a_run=SHARDS, orphan_after_s=0)
    await Pruning(pruner, 1, metrics).run_once()
    assert {kind: sample(metrics, "collab_pruned_total", kind=kind) for kind in metrics.pruned} == {
        "rows": 3,
        "generations": 2,
        "orphan_blobs": 1,
    }
    assert sample(metrics, "collab_blobs_missing") == 1
    assert sample(metrics, "collab_blobs_ahead") == 0
    assert sample(metrics, "collab_prune_seconds_count") == 1
    assert sample(metrics, "collab_prune_failures_total") == 0
    assert 0 < (sample(metrics, "collab_oldest_folded_row_seconds") or 0) < 60


class AwayHistory(MemoryHistory):
    async def page(self, *_: Any, **__: Any) -> Any:
        raise HistoryUnavailable("away")


async def test_a_store_that_is_away_is_counted_and_survived() -> None:
    stores, metrics = await folded(1), Metrics()
    assert isinstance(stores.history, MemoryHistory)
    history = AwayHistory(stores.history._table, stores.history._catalog)
    await Pruning(Pruner(history, stores.blobs, timedelta()), 1, metrics).run_once()
    assert sample(metrics, "collab_prune_failures_total") == 1


class Faulty(Pruner):
    """Fails in a way nobody thought of; counts its runs."""

    runs = 0

    def __init__(self) -> None:
        pass

    async def run(self, now: datetime) -> Pruned:
        self.runs += 1
        raise ZeroDivisionError


async def test_it_goes_on_after_any_failure_at_times_of_its_own() -> None:
    faulty, metrics = Faulty(), Metrics()
    watching = asyncio.create_task(Pruning(faulty, 0.01, metrics).watch())
    async with asyncio.timeout(10):
        while faulty.runs < 3:  # noqa: ASYNC110
            await asyncio.sleep(0.005)
    watching.cancel()
    await asyncio.wait([watching])
    assert watching.cancelled()
    assert metrics.prune_failures.count >= 3
