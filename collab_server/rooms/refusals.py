"""What happens to an update that a room refused: it is logged without its content, and kept in the quarantine with it.

Never holds a room up, and never more than a bounded number of bytes: a flood of refusals is counted, and what came
first is kept. While storage is away it is tried again for a minute. Owned by the registry.
"""

from __future__ import annotations

import asyncio
import random
from dataclasses import replace
from uuid import UUID

import structlog

from collab_server.tasks import Tasks
from collab_server.telemetry import Metrics
from persistence.journal import Journal, JournalRefused, JournalUnavailable
from persistence.quarantine import Quarantine, QuarantineUnavailable, RefusedUpdate

log = structlog.get_logger(__name__)

CRDT_FAILURE = "crdt_failure"  # why an update was refused: it passed the firewall and broke the CRDT
DIGEST_IN_THREAD_BYTES = 256 * 1024  # 0.1 ms; hashlib lets go of the interpreter
MOST_WAITING, MOST_WAITING_BYTES = 1_000, 32 * 1024 * 1024
SWEEP_EVERY_S = 3600.0
RETRY_AFTER_S = (0.5, 1, 2, 4, 8, 15, 30)


class Refusals:
    """Keeps refused updates of all rooms. `keep` never waits."""

    def __init__(self, journal: Journal, metrics: Metrics, tasks: Tasks) -> None:
        self._journal = journal
        self._metrics = metrics
        self._tasks = tasks
        self._waiting = 0
        self._waiting_bytes = 0

    def keep(self, document_id: UUID, actor_id: str, reason: str, update: bytes) -> None:
        """Set `update` aside; beyond the bounds only the count and the log line are left of it."""
        self._metrics.updates_refused[reason].inc()
        if self._waiting >= MOST_WAITING:
            log.warning("refused_update_not_kept", document_id=str(document_id), actor=actor_id, reason=reason)
            return
        self._waiting += 1
        held = len(update) if self._waiting_bytes + len(update) <= MOST_WAITING_BYTES else 0
        self._waiting_bytes += held
        self._tasks.start(self._keep(document_id, actor_id, reason, update, held), "quarantine")

    async def _keep(self, document_id: UUID, actor_id: str, reason: str, update: bytes, held: int) -> None:
        try:
            if len(update) > DIGEST_IN_THREAD_BYTES:
                refused = await asyncio.to_thread(RefusedUpdate.of, document_id, actor_id, reason, update)
            else:
                refused = RefusedUpdate.of(document_id, actor_id, reason, update)
            log.warning(
                "update_refused",
                document_id=str(document_id),
                actor=actor_id,
                reason=reason,
                sha256=refused.sha256.hex(),
                size_bytes=refused.size_bytes,
            )
            if not held:
                refused = replace(refused, update=None)
            del update
            await self._store(refused)
        finally:
            self._waiting -= 1
            self._waiting_bytes -= held

    async def _store(self, refused: RefusedUpdate) -> None:
        for retry_after_s in (*RETRY_AFTER_S, None):
            try:
                await self._journal.quarantine(refused)
            except JournalRefused as refusal:
                log.error("refused_update_not_kept", sha256=refused.sha256.hex(), cause=str(refusal))
            except JournalUnavailable as failure:
                if retry_after_s is not None:
                    await asyncio.sleep(retry_after_s)
                    continue
                log.error("refused_update_not_kept", sha256=refused.sha256.hex(), cause=str(failure))
            return


async def sweep(quarantine: Quarantine, days: float) -> None:
    """Forget what has been in quarantine for `days`; every task does so, at its own time of the hour."""
    while True:
        try:
            if dropped := await quarantine.sweep(days):
                log.info("quarantine_swept", rows=dropped)
        except QuarantineUnavailable as failure:
            log.warning("quarantine_not_swept", cause=str(failure))
        await asyncio.sleep(SWEEP_EVERY_S * random.uniform(0.5, 1.5))  # noqa: S311 - so that tasks do not come together
