"""The audit log in PostgreSQL, table `admin_actions`, whose trigger refuses every other change.

It must never own the pool: whoever made it closes it. Assembled for the admin port.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import asyncpg
import orjson

from persistence.audit import AdminAction, AuditUnavailable, Intended
from persistence.database import SQL_FOLDER, borrowed, load_queries

QUERIES = load_queries(SQL_FOLDER / "audit.sql")


class PostgresAudit:
    """See `Audit`."""

    def __init__(self, pool: asyncpg.Pool) -> None:
        self._pool = pool

    async def begin(self, intended: Intended) -> int:
        detail = _json(intended.detail)
        async with borrowed(self._pool, AuditUnavailable) as connection:
            action_id: int = await connection.fetchval(
                QUERIES["begin"], intended.operator, intended.action, intended.target, detail, intended.task
            )
        return action_id

    async def settle(self, action_id: int, outcome: str, result: Mapping[str, Any]) -> None:
        async with borrowed(self._pool, AuditUnavailable) as connection:
            await connection.execute(QUERIES["settle"], action_id, outcome, _json(result))

    async def newest(self, target: str | None, operator: str | None, before: int, limit: int) -> list[AdminAction]:
        async with borrowed(self._pool, AuditUnavailable) as connection:
            return [_action(row) for row in await connection.fetch(QUERIES["newest"], target, operator, before, limit)]

    async def since(self, target: str | None, operator: str | None, after: int, limit: int) -> list[AdminAction]:
        async with borrowed(self._pool, AuditUnavailable) as connection:
            return [_action(row) for row in await connection.fetch(QUERIES["since"], target, operator, after, limit)]


def _json(content: Mapping[str, Any]) -> str:
    # jsonb knows no NUL, which JSON can spell.
    return orjson.dumps(content).decode().replace("\\u0000", "\\ufffd")


def _action(row: asyncpg.Record) -> AdminAction:
    return AdminAction(
        id=row["id"],
        at=row["at"],
        intended=Intended(row["operator"], row["action"], row["target"], row["task"], orjson.loads(row["detail"])),
        outcome=row["outcome"],
        result=None if row["result"] is None else orjson.loads(row["result"]),
        settled_at=row["settled_at"],
    )
