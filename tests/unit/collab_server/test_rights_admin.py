"""What the private port takes for a time, from programs whose clocks are not ours."""

from __future__ import annotations

import httpx
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response

from auth.permissions_memory import MemoryPermissions
from collab_server.admin_answers import Endpoint
from collab_server.admission import LEEWAY_S
from collab_server.bus_memory import MemoryBus
from collab_server.control import Control
from collab_server.rights import Rights
from collab_server.rights_admin import AdminRights
from collab_server.telemetry import Metrics
from persistence.catalog_memory import MemoryCatalog

NOW = 1_700_000_000.0


def unguarded(endpoint: Endpoint) -> Endpoint:
    async def open_to_all(request: Request) -> Response:
        return await endpoint(request)

    return open_to_all


async def test_a_revocation_may_be_ahead_of_our_clock_by_what_tokens_may_be() -> None:
    """T07: a token of an issuer whose clock is ahead is taken, so it must be possible to void it."""
    permissions, metrics = MemoryPermissions(), Metrics()
    rights = Rights(permissions, MemoryCatalog(), Control(MemoryBus("one"), metrics), metrics, max_age_s=60.0)
    app = Starlette(routes=AdminRights(permissions, rights, lambda: NOW).routes(unguarded))
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://admin") as client:
        told = [
            (await client.post("/people/ada/revoke", json={"before": NOW + ahead_s})).status_code
            for ahead_s in (0.5, LEEWAY_S, LEEWAY_S + 1)
        ]
    assert told == [200, 200, 400]
    standing = (await permissions.standings_of([("ada", "demo")]))["ada", "demo"]
    assert standing.revoked_before == NOW + LEEWAY_S
