"""History in PostgreSQL: the same tables as the journal and the checkpoints, and `journal_floors`.

It must never own the pool. The floor is raised by a trigger on the table itself, so no sentence can forget to.
Assembled beside `PostgresCheckpointTable`, on the same database.
"""

from collections.abc import Collection
from datetime import datetime
from uuid import UUID

import asyncpg

from persistence.checkpoints import KEPT_GENERATIONS, Checkpoint
from persistence.checkpoints_postgres import checkpoint_of
from persistence.database import SQL_FOLDER, borrowed, load_queries
from persistence.history import HistoryUnavailable, Named

QUERIES = load_queries(SQL_FOLDER / "history.sql")


class PostgresHistory:
    """See `History`. Each call is one sentence and so one transaction; rows another task is at are passed over."""

    def __init__(self, pool: asyncpg.Pool) -> None:
        self._pool = pool

    async def page(self, after: UUID, limit: int, keep: int = KEPT_GENERATIONS) -> list[UUID]:
        async with borrowed(self._pool, HistoryUnavailable) as connection:
            rows = await connection.fetch(QUERIES["page"], after, keep, limit)
        return [UUID(int=row["document_id"].int) for row in rows]

    async def forget(self, documents: Collection[UUID], keep: int = KEPT_GENERATIONS) -> list[Checkpoint]:
        async with borrowed(self._pool, HistoryUnavailable) as connection:
            return [checkpoint_of(row) for row in await connection.fetch(QUERIES["forget"], list(documents), keep)]

    async def drop(
        self, documents: Collection[UUID], before: datetime, limit: int, keep: int = KEPT_GENERATIONS
    ) -> int:
        async with borrowed(self._pool, HistoryUnavailable) as connection:
            status = await connection.execute(QUERIES["drop_rows"], list(documents), keep, before, limit)
        return int(status.removeprefix("DELETE "))

    async def oldest_row(self, documents: Collection[UUID]) -> datetime | None:
        async with borrowed(self._pool, HistoryUnavailable) as connection:
            oldest: datetime | None = await connection.fetchval(QUERIES["oldest_row"], list(documents))
        return oldest

    async def named(self, first: UUID, last: UUID) -> dict[UUID, Named]:
        async with borrowed(self._pool, HistoryUnavailable) as connection:
            rows = await connection.fetch(QUERIES["named"], first, last)
        found: dict[UUID, Named] = {}
        for row in rows:
            named = found.setdefault(UUID(int=row["document_id"].int), Named())
            if row["key"] is not None:
                named.newest = row["generation"]
                named.keys.add(row["key"])
        return found
