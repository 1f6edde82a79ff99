"""The private port: live, ready, metrics, what the rooms are doing, and the quarantine. Never a token, and document
text only as the bytes of a refused update.

Health and metrics are open to whoever reaches the port, which is the network's business to limit; everything about
people and documents needs a token of the `admin` group. Served by uvicorn beside the WebSocket server. Built by
`assembly`.
"""

from __future__ import annotations

import asyncio
import time
from base64 import b64encode
from collections.abc import Awaitable, Callable

import orjson
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from auth.identity import TokenRefused
from auth.tokens import Authenticator
from collab_server.admin_presence import AdminPresence
from collab_server.admin_quarantine import AdminQuarantine
from collab_server.bus import Bus
from collab_server.health import STUCK_AFTER_S, Health
from collab_server.heartbeat import Heartbeat
from collab_server.rights_admin import AdminRights
from collab_server.rooms.member import Member
from collab_server.rooms.room import Room
from collab_server.server import Server
from persistence.recorder import Recorder

ADMIN_GROUP = "admin"

Endpoint = Callable[[Request], Awaitable[Response]]


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
        quarantine: AdminQuarantine,
        presence: AdminPresence,
        rights: AdminRights,
    ) -> None:
        self._server = server
        self._bus = bus
        self._recorder = recorder
        self._health = health
        self._heartbeat = heartbeat
        self._authenticator = authenticator
        self._quarantine = quarantine
        self._presence = presence
        self._rights = rights

    def app(self) -> Starlette:
        """The ASGI application."""
        return Starlette(
            routes=[
                Route("/healthz", self._live),
                Route("/readyz", self._ready),
                Route("/metrics", self._metrics),
                Route("/rooms", self._for_admins(self._rooms)),
                Route("/rooms/{document}", self._for_admins(self._room)),
                *self._quarantine.routes(self._for_admins),
                *self._presence.routes(self._for_admins),
                *self._rights.routes(self._for_admins),
                Route("/rooms/{document}/checkpoint", self._for_admins(self._checkpoint), methods=["POST"]),
            ]
        )

    async def _live(self, _request: Request) -> Response:
        return _json({"status": "live"})

    async def _ready(self, _request: Request) -> Response:
        pending_s = self._recorder.oldest_pending_age_s
        ready = self._health.is_ready() and pending_s <= STUCK_AFTER_S and not self._server.draining
        status = "draining" if self._server.draining else "ready" if ready else "not ready"
        journal = {
            "backlog_bytes": self._recorder.backlog_bytes,
            "oldest_pending_s": round(pending_s, 3),
        }
        report = {"status": status, "dependencies": self._health.report(), "journal": journal}
        return _json(report, 200 if ready else 503)

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

    async def _rooms(self, _request: Request) -> Response:
        rooms = self._server.registry.rooms
        return _json({"rooms": [_summary(room) for _name, room in sorted(rooms.items())]})

    async def _room(self, request: Request) -> Response:
        room = self._server.registry.rooms.get(request.path_params["document"])
        if room is None:
            return _json({"error": "this document is not open in this process"}, 404)
        now = self._server.loop.time()
        return _json(
            _summary(room)
            | {
                "state_vector": b64encode(room.state_vector()).decode(),
                "clients": len(room.clocks),
                "operations": sum(room.clocks.values()),
                "awareness_ids": len(room.cursors),
                "people": [
                    {"subject": here.person.subject, "devices": here.devices, "status": here.status.value}
                    for here in room.roster.people(now=now)
                ],
                "seats": [_describe(member, now) for member in room.members],
            }
        )

    async def _checkpoint(self, request: Request) -> Response:
        """Make a checkpoint now, e.g. before a backup or a risky step; 503 when storage would not have it."""
        room = self._server.registry.rooms.get(request.path_params["document"])
        if room is None:
            return _json({"error": "this document is not open in this process"}, 404)
        stored = await self._server.registry.checkpoint(room)
        return _json(_summary(room), 200 if stored else 503)

    def _for_admins(self, endpoint: Endpoint) -> Endpoint:
        async def guarded(request: Request) -> Response:
            scheme, _, token = request.headers.get("authorization", "").partition(" ")
            try:
                identity = await self._authenticator.authenticate(
                    token.strip() if scheme.lower() == "bearer" else None, now=time.time()
                )
            except TokenRefused as error:
                return _json({"error": f"sign in again: {error.reason}"}, 401)
            if ADMIN_GROUP not in identity.groups:
                return _json({"error": "this needs a token of the group admin"}, 403)
            request.state.operator = identity.subject
            return await endpoint(request)

        return guarded


def _summary(room: Room) -> dict[str, object]:
    checkpoint = room.last_checkpoint
    return {
        "document": room.document.name,
        "document_id": str(room.document.id),
        "epoch": room.document.epoch,
        "members": len(room.members),
        "open_s": round(time.monotonic() - room.opened_at, 1),
        "updates": room.updates,
        "dirty_updates": room.dirty_updates,
        "dirty_bytes": room.dirty_bytes,
        "encoded_bytes": room.encoded_bytes,
        "last_checkpoint": None
        if checkpoint is None
        else {"generation": checkpoint.generation, "size_bytes": checkpoint.size_bytes},
    }


def _describe(member: Member, now: float) -> dict[str, object]:
    return {
        "subject": member.identity.subject,
        "name": member.identity.name,
        "role": member.role.value,
        "address": member.address,
        "seated_s": round(now - member.since, 1),
        "received_bytes": member.received_bytes,
        "received_messages": member.received_messages,
        "sent_bytes": member.outbox.sent_bytes,
        "sent_frames": member.outbox.frames,
        "queued_bytes": member.outbox.queued_bytes,
        "awaiting_sync": member.awaiting_sync,
    }


def _json(content: object, status: int = 200) -> Response:
    return Response(orjson.dumps(content), status, media_type="application/json", headers={"Cache-Control": "no-store"})
