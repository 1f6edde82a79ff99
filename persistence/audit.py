"""The audit log: what operators did, written before it takes effect.

Rows are added, given one outcome, and never changed or dropped after that; a row without an outcome is an act under
way, or one whose task died over it. Must never hold a token or document text. Written and read by the admin port.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Protocol

from persistence.errors import StorageUnavailable

LARGEST_ID = 2**63 - 1


class AuditUnavailable(StorageUnavailable):
    """The audit log cannot be read or written now: nothing that must be noted may be done."""


@dataclass(frozen=True, slots=True)
class Intended:
    """What `operator` is about to do: an `action` on a `target` ("rooms/demo"), asked of `task`, in `detail`."""

    operator: str
    action: str
    target: str
    task: str
    detail: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class AdminAction:
    """One row."""

    id: int
    at: datetime
    intended: Intended
    outcome: str | None
    result: Mapping[str, Any] | None
    settled_at: datetime | None


class Audit(Protocol):
    """The rows of the audit log. Every call ends in a bounded time; any may raise `AuditUnavailable`."""

    async def begin(self, intended: Intended) -> int:
        """Note durably what is about to be done; the row's id."""

    async def settle(self, action_id: int, outcome: str, result: Mapping[str, Any]) -> None:
        """Add how it ended; what was settled stays as it is."""

    async def newest(self, target: str | None, operator: str | None, before: int, limit: int) -> list[AdminAction]:
        """At most `limit` rows with ids below `before`, newest first; of that target and operator, or of all."""

    async def since(self, target: str | None, operator: str | None, after: int, limit: int) -> list[AdminAction]:
        """At most `limit` rows with ids above `after`, oldest first; of that target and operator, or of all."""
