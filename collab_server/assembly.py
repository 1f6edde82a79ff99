"""The composition root: what a server is made of, and in what order its parts start and stop.

Knows ports; which adapter stands behind each is `adapters`. Parts stop in the reverse of the order in which they
started. Called by `commands`.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from datetime import timedelta

from auth.revocable import RevocableAuthenticator
from collab_server.adapters import (
    Announce,
    SignIn,
    Storage,
    started_bus,
    started_directory,
    started_sign_in,
    started_tickets,
    storage,
)
from collab_server.admin import Admin
from collab_server.admin_audit import AdminAudit
from collab_server.admin_cluster import cluster_sections
from collab_server.admin_presence import AdminPresence
from collab_server.admin_quarantine import AdminQuarantine
from collab_server.admission import Admission
from collab_server.attendance import Attendance
from collab_server.bequests import Bequests
from collab_server.bus import Bus
from collab_server.company import Company
from collab_server.control import Control
from collab_server.crash_bars import CrashBars
from collab_server.envelopes import SPEAKS
from collab_server.ghosts import Ghosts
from collab_server.handover import Handover
from collab_server.health import Health
from collab_server.heartbeat import Heartbeat
from collab_server.http_port import HttpPort
from collab_server.neighbours import Neighbours
from collab_server.pruning import Pruning
from collab_server.renewal import Renewals
from collab_server.rights import Rights
from collab_server.rights_admin import AdminRights
from collab_server.rights_tickets import AdminTickets
from collab_server.rooms.acknowledgements import Acknowledgements
from collab_server.rooms.bounds import RoomBounds
from collab_server.rooms.offload import Offload
from collab_server.rooms.publication import Publication
from collab_server.rooms.refusals import sweep
from collab_server.rooms.registry import Registry
from collab_server.rooms.reinstate import Reinstatement
from collab_server.rooms.replica import Replica
from collab_server.rooms.room import Room
from collab_server.rooms.triggers import RoomRules
from collab_server.server import Server
from collab_server.settings import Settings
from collab_server.splitters import started_offload
from collab_server.tasks import Tasks
from collab_server.telemetry import Metrics
from collab_server.wire.awareness import AwarenessLimits
from persistence.catalog import Catalog, Document
from persistence.checkpointer import Checkpointer
from persistence.documents import Documents
from persistence.pruner import Pruner
from persistence.quarantine import RefusedUpdate
from persistence.recorder import Recorder
from persistence.restore import Restorer
from persistence.sandbox import Sandbox


@dataclass(frozen=True, slots=True)
class Parts:
    """A running server. `stop_asked` is set when an operator has asked it to stop."""

    settings: Settings
    server: Server
    recorder: Recorder
    admin: HttpPort
    sign_in: SignIn
    stop_asked: asyncio.Event


@contextlib.asynccontextmanager
async def assembled(
    settings: Settings, announce: Announce, crashed: Sequence[RefusedUpdate] = ()
) -> AsyncIterator[Parts]:
    """Start everything `settings` ask for; stop it all at the end. `crashed` is what the process before was applying.

    Raises `ConfigurationError` with a sentence for the one who runs it when a part cannot start.
    """
    async with AsyncExitStack() as stack:
        metrics = Metrics()
        stored = await storage(settings, announce, stack)
        bus = await started_bus(settings, metrics, announce, stack)
        control = Control(bus, metrics)
        neighbours = Neighbours(control, metrics, speaks=SPEAKS)
        directory = await started_directory(settings, bus.task_id, stack)
        sign_in = await started_sign_in(settings, announce, stack)
        for refused in crashed:
            await stored.journal.quarantine(refused)
        recorder = Recorder(
            stored.journal, settings.journal_max_backlog_bytes, observe_durable_s=metrics.edit_to_durable.observe
        )
        recorder.start()
        stack.push_async_callback(recorder.stop)
        offload = await started_offload(settings, stack)
        registry = await _registry(settings, stored, bus, recorder, offload, metrics, stack)
        health = Health({"database": stored.journal.ping, "objects": stored.blobs.ping, "bus": bus.ping}, metrics)
        await health.check()
        watching = Tasks()
        watching.start(health.watch(), "health")
        watching.start(sweep(stored.quarantine, settings.quarantine_days), "quarantine-sweep")
        pruner = Pruner(stored.history, stored.blobs, timedelta(days=settings.history_days))
        watching.start(Pruning(pruner, settings.prune_every_s, metrics).watch(), "pruning")
        stack.push_async_callback(watching.close)
        permissions, catalog = stored.permissions, stored.catalog
        tickets = await started_tickets(settings, stack)
        admission = Admission(sign_in.authenticator, permissions, tickets, catalog, frozenset(settings.allowed_origins))
        rights = Rights(permissions, catalog, control, metrics, max_age_s=settings.rights_max_age_s)
        bus.on_reconnect.append(rights.look_soon)
        handover = Handover(control, neighbours, registry, catalog, metrics)
        stack.push_async_callback(handover.close)
        server = Server(
            settings,
            admission=admission,
            bars=CrashBars(stored.quarantine),
            rights=rights,
            renewals=Renewals(sign_in.authenticator, permissions, rights, metrics),
            registry=registry,
            recorder=recorder,
            metrics=metrics,
            hand_over=handover.give,
        )
        stack.push_async_callback(control.close)
        stack.callback(neighbours.say_leaving)  # after the drain, even of a start that failed half-way
        with announce("WebSocket server") as started:
            await server.start()
            stack.push_async_callback(_drain_if_needed, server)
            started(f"ws://{settings.host}:{server.port}/ws/{{document}}")
        ghosts = Ghosts(registry.rooms, neighbours)
        ghosts.start()
        stack.push_async_callback(ghosts.close)
        stack.push_async_callback(Bequests(registry.rooms, neighbours, bus).close)
        attendance = Attendance(directory, registry.rooms, metrics)
        attendance.start()
        stack.push_async_callback(attendance.close)
        heartbeat = Heartbeat(metrics.loop_lag_s.observe, settings.watchdog_s)
        stop_asked = asyncio.Event()
        audit = AdminAudit(stored.audit, bus.task_id)
        sections = [
            *cluster_sections(
                server, control, neighbours, health, heartbeat, recorder, catalog, stored.rulings, stop_asked.set
            ),
            AdminQuarantine(stored.quarantine, Reinstatement(registry, stored.quarantine, offload)),
            AdminPresence(directory),
            AdminRights(permissions, rights),
            AdminTickets(tickets, settings.internal_key),
        ]
        await control.start()  # known to the others before it is ready: a rolling restart goes on at that moment
        stack.callback(Company(bus, neighbours, registry.greetings.begin).close)
        watching.start(neighbours.watch(), "neighbours")
        signed_in = RevocableAuthenticator(sign_in.authenticator, permissions)
        with announce("Admin port") as started:
            admin = HttpPort(
                Admin(server, recorder, bus, health, heartbeat, signed_in, audit, sections).app(),
                settings.host,
                settings.admin_port,
                "COLLAB_ADMIN_PORT",
            )
            await admin.start()
            stack.push_async_callback(admin.close)
            started(f"http://{settings.host}:{admin.port}/readyz")
        heartbeat.start()  # last in, first out: what takes long while starting or stopping is no hang
        stack.callback(heartbeat.stop)
        yield Parts(settings, server, recorder, admin, sign_in, stop_asked)


@contextlib.asynccontextmanager
async def restoring(settings: Settings, announce: Announce) -> AsyncIterator[tuple[Catalog, Restorer]]:
    """What restores documents beside running servers, on their storage. Raises `ConfigurationError`."""
    async with AsyncExitStack() as stack:
        stored = await storage(settings, announce, stack)
        sandbox = Sandbox(max_workers=1, memory_bytes=settings.checkpoint_worker_bytes)
        stack.push_async_callback(sandbox.close)
        checkpointer = Checkpointer(
            stored.catalog, stored.checkpoints, stored.blobs, sandbox, settings.checkpoint_timeout_s
        )
        yield stored.catalog, Restorer(stored.histories, checkpointer, stored.blobs, sandbox)


async def _drain_if_needed(server: Server) -> None:
    """The way out after a failure: a command that stops in good order has drained already."""
    if not server.draining:
        await server.drain()


async def _registry(
    settings: Settings,
    stored: Storage,
    bus: Bus,
    recorder: Recorder,
    offload: Offload,
    metrics: Metrics,
    stack: AsyncExitStack,
) -> Registry:
    sandbox = Sandbox(max_workers=settings.checkpoint_workers, memory_bytes=settings.checkpoint_worker_bytes)
    stack.push_async_callback(sandbox.close)
    publication, acknowledgements = Publication(bus, recorder), Acknowledgements(recorder)
    bounds = RoomBounds(
        settings.max_members_per_room,
        settings.warn_document_bytes,
        settings.max_document_bytes,
        settings.awareness_per_s,
    )
    limits = AwarenessLimits(max_state_bytes=settings.max_awareness_state_bytes)

    def build(document: Document, replica: Replica, registry: Registry) -> Room:
        return Room(
            document,
            replica,
            recorder=recorder,
            bus=bus,
            publication=publication,
            acknowledgements=acknowledgements,
            offload=offload,
            metrics=metrics,
            awareness_limits=limits,
            max_awareness_ids=settings.max_awareness_ids,
            max_coalesce_s=settings.coalesce_max_ms / 1_000,
            owner=registry,
            bounds=bounds,
            compare_every_s=settings.compare_every_s,
        )

    return Registry(
        documents=Documents(stored.checkpoints, stored.blobs, metrics.checkpoints_unreadable),
        checkpointer=Checkpointer(
            stored.catalog,
            stored.checkpoints,
            stored.blobs,
            sandbox,
            settings.checkpoint_timeout_s,
            metrics.checkpoints_unreadable,
        ),
        journal=stored.journal,
        leases=stored.leases,
        histories=stored.histories,
        rulings=stored.rulings,
        recorder=recorder,
        bus=bus,
        offload=offload,
        rules=RoomRules(
            settings.checkpoint_after_updates,
            settings.checkpoint_after_bytes,
            settings.checkpoint_after_s,
            settings.room_grace_s,
            settings.max_rooms,
        ),
        metrics=metrics,
        build=build,
    )
