"""The audit log in memory, for tests and for servers that keep nothing. Must never change a settled row."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from persistence.audit import AdminAction, Intended


class MemoryAudit:
    """See `Audit`."""

    def __init__(self) -> None:
        self._rows: list[AdminAction] = []

    async def begin(self, intended: Intended) -> int:
        action = AdminAction(len(self._rows) + 1, datetime.now(UTC), intended, None, None, None)
        self._rows.append(action)
        return action.id

    async def settle(self, action_id: int, outcome: str, result: Mapping[str, Any]) -> None:
        for place, row in enumerate(self._rows):
            if row.id == action_id and row.outcome is None:
                settled_at = datetime.now(UTC)
                self._rows[place] = replace(row, outcome=outcome, result=dict(result), settled_at=settled_at)

    async def newest(self, target: str | None, operator: str | None, before: int, limit: int) -> list[AdminAction]:
        return [row for row in reversed(list(self._of(target, operator))) if row.id < before][:limit]

    async def since(self, target: str | None, operator: str | None, after: int, limit: int) -> list[AdminAction]:
        return [row for row in self._of(target, operator) if row.id > after][:limit]

    def _of(self, target: str | None, operator: str | None) -> Iterator[AdminAction]:
        for row in self._rows:
            if target in (None, row.intended.target) and operator in (None, row.intended.operator):
                yield row
