"""The quarantine in PostgreSQL, table `quarantined_updates`.

It must never own the pool: whoever made it closes it. Assembled for the admin port and for the bars.
"""

from __future__ import annotations

from uuid import UUID

import asyncpg

from persistence.database import SQL_FOLDER, borrowed, load_queries
from persistence.quarantine import Crash, KeptUpdate, QuarantineUnavailable

QUERIES = load_queries(SQL_FOLDER / "quarantine.sql")


class PostgresQuarantine:
    """See `Quarantine`."""

    def __init__(self, pool: asyncpg.Pool) -> None:
        self._pool = pool

    async def page(self, document: str | None, before: int | None, limit: int) -> list[KeptUpdate]:
        async with borrowed(self._pool, QuarantineUnavailable) as connection:
            return [_kept(row) for row in await connection.fetch(QUERIES["page"], document, before, limit)]

    async def read(self, row_id: int) -> tuple[KeptUpdate, bytes | None] | None:
        async with borrowed(self._pool, QuarantineUnavailable) as connection:
            row = await connection.fetchrow(QUERIES["read"], row_id)
        return None if row is None else (_kept(row), row["content"])

    async def mark_replayed(self, row_id: int) -> None:
        async with borrowed(self._pool, QuarantineUnavailable) as connection:
            await connection.execute(QUERIES["mark_replayed"], row_id)

    async def drop(self, row_id: int) -> bool:
        async with borrowed(self._pool, QuarantineUnavailable) as connection:
            return await connection.fetchval(QUERIES["drop"], row_id) is not None

    async def sweep(self, older_than_days: float) -> int:
        dropped = 0
        async with borrowed(self._pool, QuarantineUnavailable) as connection:
            while gone := await connection.fetchval(QUERIES["sweep"], older_than_days):
                dropped += gone
        return dropped

    async def crashes(self) -> list[Crash]:
        async with borrowed(self._pool, QuarantineUnavailable) as connection:
            rows = await connection.fetch(QUERIES["crashes"])
        return [Crash(UUID(int=row["document_id"].int), row["actor_id"], row["created_at"]) for row in rows]


def _kept(row: asyncpg.Record) -> KeptUpdate:
    return KeptUpdate(
        id=row["id"],
        document_id=UUID(int=row["document_id"].int),
        document=row["document"],
        epoch=row["epoch"],
        actor_id=row["actor_id"],
        reason=row["reason"],
        sha256=row["sha256"],
        size_bytes=row["size_bytes"],
        has_content=row["has_content"],
        unkept=row["unkept"],
        created_at=row["created_at"],
        replayed_at=row["replayed_at"],
    )
