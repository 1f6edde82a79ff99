"""The rulings in PostgreSQL, tables `document_freezes` and `document_exclusions`.

It must never own the pool: whoever made it closes it. Assembled for the rooms and for the admin port.
"""

from __future__ import annotations

from collections.abc import Sequence
from uuid import UUID

import asyncpg

from persistence.database import SQL_FOLDER, borrowed, load_queries
from persistence.rulings import Ruling, RulingsUnavailable

QUERIES = load_queries(SQL_FOLDER / "rulings.sql")


class PostgresRulings:
    """See `Rulings`. Time is the database's alone, so that clocks of tasks that differ do no harm."""

    def __init__(self, pool: asyncpg.Pool) -> None:
        self._pool = pool

    async def freeze(self, document_id: UUID, operator: str) -> bool:
        async with borrowed(self._pool, RulingsUnavailable) as connection:
            return await connection.fetchval(QUERIES["freeze"], document_id, operator) is not None

    async def unfreeze(self, document_id: UUID) -> bool:
        async with borrowed(self._pool, RulingsUnavailable) as connection:
            return await connection.fetchval(QUERIES["unfreeze"], document_id) is not None

    async def keep_out(self, document_id: UUID, subject: str, seconds: float, operator: str) -> None:
        async with borrowed(self._pool, RulingsUnavailable) as connection:
            await connection.execute(QUERIES["keep_out"], document_id, subject, seconds, operator)
            await connection.execute(QUERIES["drop_ended"])

    async def in_force(self, document_ids: Sequence[UUID]) -> dict[UUID, Ruling]:
        async with borrowed(self._pool, RulingsUnavailable) as connection:
            rows = await connection.fetch(QUERIES["in_force"], list(document_ids))
        frozen: set[UUID] = set()
        kept_out: dict[UUID, dict[str, float]] = {}
        for row in rows:
            document_id = UUID(int=row["document_id"].int)
            if row["subject"] is None:
                frozen.add(document_id)
            else:
                kept_out.setdefault(document_id, {})[row["subject"]] = row["left_s"]
        return {each: Ruling(each in frozen, kept_out.get(each, {})) for each in frozen | kept_out.keys()}
