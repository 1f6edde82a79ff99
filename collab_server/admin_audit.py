"""The audit of the private port: every act of an operator is noted before it takes effect, and how it ended after.

What cannot be noted is not done: 503. An act whose task dies over it keeps a row without an outcome. Must never note a
token. Part of `admin`, which puts every path behind it that changes something.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass, field
from typing import Any

import structlog
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from collab_server.admin_answers import (
    BadRequest,
    Endpoint,
    Guard,
    answered,
    content_of,
    is_name,
    json_answer,
    name_in,
    number_of,
)
from collab_server.telemetry import REDACTED
from persistence.audit import LARGEST_ID, AdminAction, Audit, AuditUnavailable, Intended

log = structlog.get_logger(__name__)

USUAL_PAGE, LARGEST_PAGE = 50, 500
READING = frozenset({"GET", "HEAD"})
TARGET_PARTS = 2  # of a path: "rooms/demo" of /rooms/demo/kick


@dataclass(slots=True)
class Act:
    """One act under way: say in `outcome` and `result` how it ended."""

    outcome: str = "done"
    result: Mapping[str, Any] = field(default_factory=dict)


class AdminAudit:
    """Notes acts of operators; and the path `/audit`."""

    def __init__(self, audit: Audit, task_id: str) -> None:
        self._audit = audit
        self._task_id = task_id

    def routes(self, guard: Guard) -> list[Route]:
        """The path that reads the log, behind `guard`."""
        return [Route("/audit", guard(answered(self._page, AuditUnavailable)))]

    @asynccontextmanager
    async def record(self, operator: str, action: str, target: str, detail: Mapping[str, Any]) -> AsyncIterator[Act]:
        """Note what is about to be done, then do it inside. Raises `AuditUnavailable`, and then it must not be done."""
        told = {name: value for name, value in detail.items() if name not in REDACTED}
        number = await self._audit.begin(Intended(operator, action, target, self._task_id, told))
        act = Act()
        try:
            yield act
        except BaseException as error:  # the port may be closed over it
            act.outcome, act.result = "failed", {"error": type(error).__name__}
            raise
        finally:
            log.warning("admin_action", action=action, target=target, by=operator, outcome=act.outcome, audit=number)
            try:
                await self._audit.settle(number, act.outcome, act.result)
            except AuditUnavailable as failure:  # it is done, and that it was begun is noted
                log.error("audit_outcome_lost", audit=number, outcome=act.outcome, cause=str(failure))

    def audited(self, endpoint: Endpoint) -> Endpoint:
        """`endpoint` with a row for each call that may change something: what was asked, and the status it ended with.

        It may leave a mapping in `request.state.result`, which is kept, and marked partial if that says so.
        """

        async def noted(request: Request) -> Response:
            if request.method in READING:
                return await endpoint(request)
            detail = {name: str(value) for name, value in request.path_params.items()} | dict(await content_of(request))
            target = "/".join(request.url.path.strip("/").split("/")[:TARGET_PARTS])
            if not is_name(target):
                return json_answer({"error": "nothing is called that"}, 404)
            async with self.record(request.state.operator, _action(request), target, detail) as act:
                response = await endpoint(request)
                result = getattr(request.state, "result", {})
                act.outcome = _outcome(response.status_code, result)
                act.result = {"status": response.status_code, **result}
            return response

        return answered(noted, AuditUnavailable)

    async def _page(self, request: Request) -> Response:
        query = request.query_params
        target, operator = name_in(request, "target"), name_in(request, "operator")
        limit = number_of(request, "limit", USUAL_PAGE, 1, LARGEST_PAGE)
        if "after" in query and "before" in query:
            raise BadRequest("either before (newest first) or after (oldest first)")
        if "after" in query:
            after = number_of(request, "after", 0, 0, LARGEST_ID)
            rows = await self._audit.since(target, operator, after, limit)
            return json_answer({"actions": [_plain(row) for row in rows], "after": rows[-1].id if rows else after})
        before = number_of(request, "before", LARGEST_ID, 1, LARGEST_ID)
        rows = await self._audit.newest(target, operator, before, limit)
        more = rows[-1].id if len(rows) == limit else None
        return json_answer({"actions": [_plain(row) for row in rows], "before": more})


def _action(request: Request) -> str:
    """The last word of the path that is no parameter, whatever parameters hold: "kick"; "delete grants"."""
    words = [part for part in request.scope["route"].path.split("/") if part and not part.startswith("{")]
    return str(words[-1]) if request.method == "POST" else f"{request.method.lower()} {words[-1]}"


def _outcome(status: int, result: Mapping[str, Any]) -> str:
    if status < 400:
        return "partial" if result.get("partial") else "done"
    return "refused" if status < 500 else "failed"


def _plain(row: AdminAction) -> dict[str, object]:
    plain = asdict(row)
    return {"id": row.id, "at": row.at, **plain.pop("intended"), **plain}
