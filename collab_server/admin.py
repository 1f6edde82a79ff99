"""The private port: live, ready, metrics, and the sections for operators: rooms, tasks, audit, quarantine. Never a
token, and document text only as the bytes of a refused update.

Health and metrics are open to whoever reaches the port, which is the network's business to limit; everything about
people and documents needs a token of the `admin` group. Served by uvicorn beside the WebSocket server. Built by
`assembly`.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence

from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from auth.identity import TokenRefused
from auth.tokens import Authenticator
from collab_server.admin_answers import Endpoint, Section, json_answer
from collab_server.admin_audit import AdminAudit
from collab_server.bus import Bus
from collab_server.health import STUCK_AFTER_S, Health
from collab_server.heartbeat import Heartbeat
from collab_server.server import Server
from persistence.recorder import Recorder

ADMIN_GROUP = "admin"


class Admin:
    """The private port's answers."""

    def __init__(
        self,
        server: Server,
        recorder: Recorder,
        bus: Bus,
        health: Health,
        heartbeat: Heartbeat,
        authenticator: Authenticator,
        audit: AdminAudit,
        sections: Sequence[Section],
    ) -> None:
        self._server = server
        self._bus = bus
        self._recorder = recorder
        self._health = health
        self._heartbeat = heartbeat
        self._authenticator = authenticator
        self._audit = audit
        self._sections = [audit, *sections]

    def app(self) -> Starlette:
        """The ASGI application."""
        return Starlette(
            routes=[
                Route("/healthz", self._live),
                Route("/readyz", self._ready),
                Route("/metrics", self._metrics),
                *(route for section in self._sections for route in section.routes(self._for_admins)),
            ]
        )

    async def _live(self, _request: Request) -> Response:
        return json_answer({"status": "live"})

    async def _ready(self, _request: Request) -> Response:
        pending_s = self._recorder.oldest_pending_age_s
        ready = self._health.is_ready() and pending_s <= STUCK_AFTER_S and not self._server.draining
        status = "draining" if self._server.draining else "ready" if ready else "not ready"
        journal = {
            "backlog_bytes": self._recorder.backlog_bytes,
            "oldest_pending_s": round(pending_s, 3),
        }
        report = {"status": status, "dependencies": self._health.report(), "journal": journal}
        return json_answer(report, 200 if ready else 503)

    async def _metrics(self, _request: Request) -> Response:
        metrics = self._server.metrics
        metrics.journal_backlog_bytes.set(self._recorder.backlog_bytes)
        metrics.journal_oldest_pending_s.set(self._recorder.oldest_pending_age_s or 0.0)
        self._server.measure()
        metrics.tasks.set(len(asyncio.all_tasks()))
        metrics.bus_dropped.set(self._bus.dropped)
        metrics.unfolded_updates.set(sum(room.dirty_updates for room in self._server.registry.rooms.values()))
        metrics.loop_lag_max_s.set(self._heartbeat.take_longest_s())
        return Response(generate_latest(metrics.registry), media_type=CONTENT_TYPE_LATEST)

    def _for_admins(self, endpoint: Endpoint) -> Endpoint:
        """For a token of the group `admin` only, and audited if it changes something."""
        audited = self._audit.audited(endpoint)

        async def guarded(request: Request) -> Response:
            scheme, _, token = request.headers.get("authorization", "").partition(" ")
            try:
                identity = await self._authenticator.authenticate(
                    token.strip() if scheme.lower() == "bearer" else None, now=time.time()
                )
            except TokenRefused as error:
                return json_answer({"error": f"sign in again: {error.reason}"}, 401)
            if ADMIN_GROUP not in identity.groups:
                return json_answer({"error": "this needs a token of the group admin"}, 403)
            request.state.operator = identity.subject
            return await audited(request)

        return guarded
