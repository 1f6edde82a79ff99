"""The quarantine on the private port: list what was refused, fetch its bytes, replay it, or throw it away.

The bytes are document content, the only one this port gives out: every path needs a token of the admin group, and who
did what is logged. Part of `admin`, which guards the paths.
"""

from __future__ import annotations

from dataclasses import asdict

import structlog
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from collab_server.admin_answers import Endpoint, Guard, answered, json_answer, name_in, number_of
from collab_server.rooms.reinstate import Outcome, Reinstatement
from persistence.quarantine import KeptUpdate, Quarantine, QuarantineUnavailable

log = structlog.get_logger(__name__)

USUAL_PAGE, LARGEST_PAGE = 50, 500
LARGEST_ID = 2**63 - 1


class AdminQuarantine:
    """The paths below `/quarantine`."""

    def __init__(self, quarantine: Quarantine, reinstatement: Reinstatement) -> None:
        self._quarantine = quarantine
        self._reinstatement = reinstatement

    def routes(self, guard: Guard) -> list[Route]:
        """The paths, each behind `guard`, which puts the operator's subject into `request.state.operator`."""
        row = "/quarantine/{row:int}"
        return [
            Route("/quarantine", guard(_told(self._page))),
            Route(f"{row}/update", guard(_told(self._update))),
            Route(f"{row}/replay", guard(_told(self._replay)), methods=["POST"]),
            Route(f"{row}/drop", guard(_told(self._drop)), methods=["POST"]),
        ]

    async def _page(self, request: Request) -> Response:
        limit = number_of(request, "limit", USUAL_PAGE, 1, LARGEST_PAGE)
        before = number_of(request, "before", LARGEST_ID, 1, LARGEST_ID)
        rows = await self._quarantine.page(name_in(request, "document"), before, limit)
        more = rows[-1].id if len(rows) == limit else None
        return json_answer({"updates": [_plain(row) for row in rows], "before": more})

    async def _update(self, request: Request) -> Response:
        found = await self._quarantine.read(_row(request))
        if found is None or found[1] is None:
            return json_answer({"error": "there is no such row" if found is None else "its content was not kept"}, 404)
        log.warning("quarantine_read", row=_row(request), by=request.state.operator)
        headers = {"Cache-Control": "no-store", "Content-Disposition": f'attachment; filename="{found[0].id}.yjs"'}
        return Response(found[1], media_type="application/octet-stream", headers=headers)

    async def _replay(self, request: Request) -> Response:
        report = await self._reinstatement.replay(_row(request), by=request.state.operator)
        status = {Outcome.REPLAYED: 200, Outcome.NO_SUCH_ROW: 404, Outcome.UNAVAILABLE: 503}.get(report.outcome, 409)
        request.state.result = asdict(report)
        return json_answer(asdict(report), status)

    async def _drop(self, request: Request) -> Response:
        dropped = await self._quarantine.drop(_row(request))
        return json_answer({"dropped": True}) if dropped else json_answer({"error": "there is no such row"}, 404)


def _row(request: Request) -> int:
    return min(int(request.path_params["row"]), LARGEST_ID)


def _plain(row: KeptUpdate) -> dict[str, object]:
    return asdict(row) | {"sha256": row.sha256.hex()}


def _told(endpoint: Endpoint) -> Endpoint:
    return answered(endpoint, QuarantineUnavailable)
