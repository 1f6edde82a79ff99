"""The catalog in PostgreSQL, table `documents`.

It must never own the pool: whoever made it closes it. Assembled wherever documents are opened.
"""

from collections.abc import Collection
from uuid import UUID

import asyncpg

from persistence.catalog import CatalogUnavailable, Document
from persistence.database import SQL_FOLDER, borrowed, load_queries

QUERIES = load_queries(SQL_FOLDER / "catalog.sql")


class PostgresCatalog:
    """See `Catalog`."""

    def __init__(self, pool: asyncpg.Pool) -> None:
        self._pool = pool

    async def find(self, name: str) -> Document | None:
        async with borrowed(self._pool, CatalogUnavailable) as connection:
            return _document(await connection.fetchrow(QUERIES["find"], name))

    async def find_or_create(self, name: str) -> Document:
        """Look first, since nearly every document exists; a race that the insert loses is won by looking again."""
        while True:
            if found := await self.find(name):
                return found
            async with borrowed(self._pool, CatalogUnavailable) as connection:
                made = _document(await connection.fetchrow(QUERIES["create"], name))
            if made:
                return made

    async def existing(self, document_ids: Collection[UUID]) -> frozenset[UUID]:
        async with borrowed(self._pool, CatalogUnavailable) as connection:
            rows = await connection.fetch(QUERIES["existing"], list(document_ids))
        return frozenset(UUID(int=row["id"].int) for row in rows)

    async def record_content(self, document_id: UUID, words: int, characters: int, content_key: str) -> None:
        async with borrowed(self._pool, CatalogUnavailable) as connection:
            await connection.execute(QUERIES["record_content"], document_id, words, characters, content_key)


def _document(row: asyncpg.Record | None) -> Document | None:
    # asyncpg hands out its own UUID subclass; a plain one pickles, compares and prints the same everywhere.
    return None if row is None else Document(id=UUID(int=row["id"].int), name=row["name"], epoch=row["epoch"])
