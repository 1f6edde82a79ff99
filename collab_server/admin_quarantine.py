"""The quarantine on the private port: list what was refused, fetch its bytes, replay it, or throw it away.

The bytes are document content, the only one this port gives out: every path needs a token of the admin group, and who
did what is logged. Part of `admin`, which guards the paths.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import asdict

import orjson
import structlog
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from collab_server.rooms.reinstate import Outcome, Reinstatement
from persistence.quarantine import KeptUpdate, Quarantine, QuarantineUnavailable

log = structlog.get_logger(__name__)

USUAL_PAGE, LARGEST_PAGE = 50, 500
LARGEST_ID = 2**63 - 1

Endpoint = Callable[[Request], Awaitable[Response]]


class AdminQuarantine:
    """The paths below `/quarantine`."""

    def __init__(self, quarantine: Quarantine, reinstatement: Reinstatement) -> None:
        self._quarantine = quarantine
        self._reinstatement = reinstatement

    def routes(self, guard: Callable[[Endpoint], Endpoint]) -> list[Route]:
        """The paths, each behind `guard`, which puts the operator's subject into `request.state.operator`."""
        row = "/quarantine/{row:int}"
        return [
            Route("/quarantine", guard(_told(self._page))),
            Route(f"{row}/update", guard(_told(self._update))),
            Route(f"{row}/replay", guard(_told(self._replay)), methods=["POST"]),
            Route(f"{row}/drop", guard(_told(self._drop)), methods=["POST"]),
        ]

    async def _page(self, request: Request) -> Response:
        query = request.query_params
        try:
            limit, before = int(query.get("limit", USUAL_PAGE)), int(query.get("before", LARGEST_ID))
        except ValueError:
            return _json({"error": "limit and before are numbers"}, 400)
        if not (0 < limit <= LARGEST_PAGE and 0 < before <= LARGEST_ID):
            return _json({"error": f"limit is 1 to {LARGEST_PAGE}, before is the last id of the page before"}, 400)
        rows = await self._quarantine.page(query.get("document"), before, limit)
        return _json({"updates": [_plain(row) for row in rows], "before": rows[-1].id if len(rows) == limit else None})

    async def _update(self, request: Request) -> Response:
        found = await self._quarantine.read(_row(request))
        if found is None or found[1] is None:
            return _json({"error": "there is no such row" if found is None else "its content was not kept"}, 404)
        log.warning("quarantine_read", row=_row(request), by=request.state.operator)
        headers = {"Cache-Control": "no-store", "Content-Disposition": f'attachment; filename="{found[0].id}.yjs"'}
        return Response(found[1], media_type="application/octet-stream", headers=headers)

    async def _replay(self, request: Request) -> Response:
        report = await self._reinstatement.replay(_row(request), by=request.state.operator)
        status = {Outcome.REPLAYED: 200, Outcome.NO_SUCH_ROW: 404, Outcome.UNAVAILABLE: 503}.get(report.outcome, 409)
        return _json(asdict(report), status)

    async def _drop(self, request: Request) -> Response:
        dropped = await self._quarantine.drop(_row(request))
        log.warning("quarantine_drop", row=_row(request), by=request.state.operator, dropped=dropped)
        return _json({"dropped": True}) if dropped else _json({"error": "there is no such row"}, 404)


def _row(request: Request) -> int:
    return min(int(request.path_params["row"]), LARGEST_ID)


def _plain(row: KeptUpdate) -> dict[str, object]:
    return asdict(row) | {"sha256": row.sha256.hex()}


def _told(endpoint: Endpoint) -> Endpoint:
    """Storage that is away is an answer, not a traceback."""

    async def told(request: Request) -> Response:
        try:
            return await endpoint(request)
        except QuarantineUnavailable:
            return _json({"error": "the quarantine cannot be read now: try again"}, 503)

    return told


def _json(content: object, status: int = 200) -> Response:
    return Response(orjson.dumps(content), status, media_type="application/json", headers={"Cache-Control": "no-store"})
