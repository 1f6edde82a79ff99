"""Stores what a crashed server was applying, straight into PostgreSQL: the next task that admits its author must know.

Runs in a process of its own beside the restarting server, so it may take its time. Never reads a document. Called by
the supervisor.
"""

from __future__ import annotations

import asyncio
import time

import asyncpg
import structlog

from persistence.database import create_pool
from persistence.journal import JournalRefused, JournalUnavailable
from persistence.journal_postgres import PostgresJournal
from persistence.quarantine import QuarantineBounds, RefusedUpdate

log = structlog.get_logger(__name__)

TRY_FOR_S, TRY_EVERY_S = 600.0, 0.5


def store(refused: RefusedUpdate, database_url: str, bounds: QuarantineBounds) -> None:
    """Put `refused` into the quarantine, and try for ten minutes while the database is away."""
    asyncio.run(_store(refused, database_url, bounds))


async def _store(refused: RefusedUpdate, database_url: str, bounds: QuarantineBounds) -> None:
    began = time.monotonic()
    while True:
        try:
            pool = await create_pool(database_url, application_name="collab-server crash report", max_size=1)
            try:
                await PostgresJournal(pool, bounds=bounds).quarantine(refused)
            finally:
                await pool.close()
        except (OSError, TimeoutError, asyncpg.PostgresError, JournalUnavailable, JournalRefused) as failure:
            if time.monotonic() - began > TRY_FOR_S or isinstance(failure, JournalRefused):
                raise
            await asyncio.sleep(TRY_EVERY_S)
        else:
            log.warning("crash_kept", sha256=refused.sha256.hex(), took_s=round(time.monotonic() - began, 3))
            return
