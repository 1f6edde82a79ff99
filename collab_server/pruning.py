"""The pruning task: runs the pruner every few minutes and tells the metrics what it did.

It must never run in step with other tasks (each waits a random part of the interval), nor end because a run failed.
Built by `assembly`, which also stops it; what it lets go of is `persistence.pruner`'s to say.
"""

from __future__ import annotations

import asyncio
import random
from datetime import UTC, datetime

import structlog

from collab_server.telemetry import Metrics
from persistence.pruner import Pruned, Pruner

JITTER = (0.5, 1.5)  # of the interval

log = structlog.get_logger(__name__)


class Pruning:
    """Runs `pruner` about every `every_s` seconds until it is cancelled."""

    def __init__(self, pruner: Pruner, every_s: float, metrics: Metrics) -> None:
        self._pruner = pruner
        self._every_s = every_s
        self._metrics = metrics

    async def watch(self) -> None:
        """Prune for ever."""
        while True:
            await asyncio.sleep(self._every_s * random.uniform(*JITTER))  # noqa: S311
            await self.run_once()

    async def run_once(self) -> None:
        """One run, counted. Never raises."""
        now = datetime.now(UTC)
        try:
            with self._metrics.prune_s.time():
                pruned = await self._pruner.run(now)
        except Exception as error:
            self._metrics.prune_failures.inc()
            log.error("prune_failed", exc_info=error)
        else:
            self._count(pruned, now)

    def _count(self, pruned: Pruned, now: datetime) -> None:
        metrics = self._metrics
        metrics.pruned["rows"].inc(pruned.rows)
        metrics.pruned["generations"].inc(pruned.generations)
        metrics.pruned["orphan_blobs"].inc(pruned.orphans)
        metrics.blobs_missing.set(pruned.missing)
        metrics.blobs_ahead.set(pruned.ahead)
        metrics.oldest_row_s.set((now - pruned.oldest_row_at).total_seconds() if pruned.oldest_row_at else 0)
        if pruned.failure is not None:
            metrics.prune_failures.inc()
            log.warning("prune_cut_short", reason=type(pruned.failure).__name__, rows=pruned.rows)
        elif pruned.rows or pruned.generations or pruned.orphans:
            log.info("pruned", rows=pruned.rows, generations=pruned.generations, orphan_blobs=pruned.orphans)
