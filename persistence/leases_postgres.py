"""The leases in PostgreSQL, table `client_leases`.

It must never own the pool: whoever made it closes it. Assembled beside `PostgresJournal`, on the same database.
"""

from collections.abc import Sequence
from uuid import UUID

import asyncpg

from persistence.database import SQL_FOLDER, borrowed, load_queries
from persistence.leases import LeasesUnavailable

QUERIES = load_queries(SQL_FOLDER / "leases.sql")


class PostgresLeaseTable:
    """See `LeaseTable`."""

    def __init__(self, pool: asyncpg.Pool) -> None:
        self._pool = pool

    async def held(self, document_id: UUID, client_ids: Sequence[int] | None = None) -> dict[str, list[int]]:
        """Grouped by subject, because asyncpg reads an array of 100,000 ids far sooner than as many rows."""
        async with borrowed(self._pool, LeasesUnavailable) as connection:
            if client_ids is None:
                rows = await connection.fetch(QUERIES["held"], document_id)
            else:
                rows = await connection.fetch(QUERIES["held_of"], document_id, list(client_ids))
        return {row["subject"]: row["client_ids"] for row in rows}
