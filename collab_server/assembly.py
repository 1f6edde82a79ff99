"""The composition root: which adapter stands behind each port, and in what order things start and stop.

The only module that names adapters. Parts stop in the reverse of the order in which they started. Called by `commands`.
"""

from __future__ import annotations

import asyncio
import contextlib
import secrets
import socket
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractContextManager, AsyncExitStack
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import asyncpg

from auth.cognito import CognitoAuthenticator, cognito_jwks_url
from auth.dev_keys import DevAuthenticator, DevKeys
from auth.jwks import JwksCache
from auth.open_access import OpenAuthenticator
from auth.permissions import Permissions
from auth.permissions_memory import MemoryPermissions
from auth.permissions_postgres import PostgresPermissions
from auth.tickets import Tickets
from auth.tickets_memory import MemoryTickets
from auth.tickets_redis import RedisTickets
from auth.tokens import Authenticator
from collab_server.admin import Admin
from collab_server.admin_audit import AdminAudit
from collab_server.admin_cluster import cluster_sections
from collab_server.admin_presence import AdminPresence
from collab_server.admin_quarantine import AdminQuarantine
from collab_server.admission import Admission
from collab_server.attendance import Attendance
from collab_server.bus import Bus
from collab_server.bus_gate import BusTallies
from collab_server.bus_memory import MemoryBus
from collab_server.bus_redis import RedisBus
from collab_server.company import Company
from collab_server.control import Control
from collab_server.crash_bars import CrashBars
from collab_server.envelopes import SPEAKS
from collab_server.errors import ConfigurationError
from collab_server.ghosts import Ghosts
from collab_server.handover import Handover
from collab_server.health import Health
from collab_server.heartbeat import Heartbeat
from collab_server.http_port import HttpPort
from collab_server.neighbours import Neighbours
from collab_server.pruning import Pruning
from collab_server.redis_calls import RedisCalls
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
from collab_server.settings import Auth, Settings
from collab_server.splitters import started_offload
from collab_server.tasks import Tasks
from collab_server.telemetry import Metrics
from collab_server.wire.awareness import AwarenessLimits
from persistence import migrate
from persistence.audit_postgres import PostgresAudit
from persistence.blobs import Blobs
from persistence.blobs_directory import DirectoryBlobs
from persistence.blobs_s3 import S3Blobs
from persistence.catalog import Catalog, Document
from persistence.catalog_postgres import PostgresCatalog
from persistence.checkpointer import Checkpointer
from persistence.checkpoints_postgres import PostgresCheckpointTable
from persistence.database import create_pool
from persistence.documents import Documents
from persistence.embedded_placement import EmbeddedPostgresError
from persistence.embedded_postgres import EmbeddedPostgres
from persistence.histories_postgres import PostgresHistories
from persistence.history_postgres import PostgresHistory
from persistence.journal_postgres import PostgresJournal
from persistence.leases_postgres import PostgresLeaseTable
from persistence.pruner import Pruner
from persistence.quarantine import QuarantineBounds, RefusedUpdate
from persistence.quarantine_postgres import PostgresQuarantine
from persistence.recorder import Recorder
from persistence.restore import Restorer
from persistence.rulings_postgres import PostgresRulings
from persistence.sandbox import Sandbox
from presence.directory import Directory
from presence.directory_memory import MemoryDirectory
from presence.directory_redis import RedisDirectory

# Names a part that starts; the context is given a function that takes the detail to show when it has started.
Announce = Callable[[str], AbstractContextManager[Callable[[str], None]]]


@dataclass(frozen=True, slots=True)
class Parts:
    """A running server. `stop_asked` is set when an operator has asked it to stop."""

    settings: Settings
    server: Server
    recorder: Recorder
    admin: HttpPort
    dev_keys: DevKeys | None
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
        pool = await _database(settings, announce, stack)
        blobs = await _blobs(settings, announce, stack)
        bus = await _bus(settings, metrics, announce, stack)
        control = Control(bus, metrics)
        neighbours = Neighbours(control, metrics, speaks=SPEAKS)
        directory = await _directory(settings, bus.task_id, stack)
        authenticator, dev_keys = await _authenticator(settings, announce, stack)
        keeping = QuarantineBounds(settings.quarantine_max_bytes, settings.quarantine_max_rows)
        journal = PostgresJournal(pool, hold_connection=True, bounds=keeping)
        stack.push_async_callback(journal.close)
        for refused in crashed:
            await journal.quarantine(refused)
        recorder = Recorder(
            journal, settings.journal_max_backlog_bytes, observe_durable_s=metrics.edit_to_durable.observe
        )
        recorder.start()
        stack.push_async_callback(recorder.stop)
        offload = await started_offload(settings, stack)
        registry = await _registry(settings, pool, blobs, bus, journal, recorder, offload, metrics, stack)
        health = Health({"database": journal.ping, "objects": blobs.ping, "bus": bus.ping}, metrics)
        await health.check()
        quarantine = PostgresQuarantine(pool)
        watching = Tasks()
        watching.start(health.watch(), "health")
        watching.start(sweep(quarantine, settings.quarantine_days), "quarantine-sweep")
        pruner = Pruner(PostgresHistory(pool), blobs, timedelta(days=settings.history_days))
        watching.start(Pruning(pruner, settings.prune_every_s, metrics).watch(), "pruning")
        stack.push_async_callback(watching.close)
        # Guests are somebody new each time: nothing is stored about them.
        permissions: Permissions = MemoryPermissions() if settings.auth is Auth.OPEN else PostgresPermissions(pool)
        catalog = PostgresCatalog(pool)
        tickets = await _tickets(settings, stack)
        admission = Admission(authenticator, permissions, tickets, catalog, frozenset(settings.allowed_origins))
        rights = Rights(permissions, catalog, control, metrics, max_age_s=settings.rights_max_age_s)
        bus.on_reconnect.append(rights.look_soon)
        handover = Handover(control, neighbours, registry, catalog, metrics)
        stack.push_async_callback(handover.close)
        server = Server(
            settings,
            admission=admission,
            bars=CrashBars(quarantine),
            rights=rights,
            renewals=Renewals(authenticator, permissions, rights, metrics),
            registry=registry,
            recorder=recorder,
            metrics=metrics,
            hand_over=handover.give,
        )
        with announce("WebSocket server") as started:
            await server.start()
            stack.push_async_callback(_drain_if_needed, server)
            started(f"ws://{settings.host}:{server.port}/ws/{{document}}")
        ghosts = Ghosts(registry.rooms, neighbours)
        ghosts.start()
        stack.push_async_callback(ghosts.close)
        attendance = Attendance(directory, registry.rooms, metrics)
        attendance.start()
        stack.push_async_callback(attendance.close)
        heartbeat = Heartbeat(metrics.loop_lag_s.observe, settings.watchdog_s)
        stop_asked = asyncio.Event()
        audit = AdminAudit(PostgresAudit(pool), bus.task_id)
        rulings = PostgresRulings(pool)
        sections = [
            *cluster_sections(
                server, control, neighbours, health, heartbeat, recorder, catalog, rulings, audit, stop_asked.set
            ),
            AdminQuarantine(quarantine, Reinstatement(registry, quarantine, offload), audit),
            AdminPresence(directory),
            AdminRights(permissions, rights, audit),
            AdminTickets(tickets, settings.internal_key, audit),
        ]
        await control.start()  # known to the others before it is ready: a rolling restart goes on at that moment
        stack.push_async_callback(control.close)
        stack.callback(Company(bus, neighbours, registry.greetings.begin).close)
        watching.start(neighbours.watch(), "neighbours")
        stack.callback(neighbours.say_leaving)
        with announce("Admin port") as started:
            admin = HttpPort(
                Admin(server, recorder, bus, health, heartbeat, authenticator, sections).app(),
                settings.host,
                settings.admin_port,
                "COLLAB_ADMIN_PORT",
            )
            await admin.start()
            stack.push_async_callback(admin.close)
            started(f"http://{settings.host}:{admin.port}/readyz")
        heartbeat.start()  # last in, first out: what takes long while starting or stopping is no hang
        stack.callback(heartbeat.stop)
        yield Parts(settings, server, recorder, admin, dev_keys, stop_asked)


@contextlib.asynccontextmanager
async def restoring(settings: Settings, announce: Announce) -> AsyncIterator[tuple[Catalog, Restorer]]:
    """What restores documents beside running servers, on their storage. Raises `ConfigurationError`."""
    async with AsyncExitStack() as stack:
        pool = await _database(settings, announce, stack)
        blobs = await _blobs(settings, announce, stack)
        sandbox = Sandbox(max_workers=1, memory_bytes=settings.checkpoint_worker_bytes)
        stack.push_async_callback(sandbox.close)
        catalog, table = PostgresCatalog(pool), PostgresCheckpointTable(pool)
        checkpointer = Checkpointer(catalog, table, blobs, sandbox, settings.checkpoint_timeout_s)
        yield catalog, Restorer(PostgresHistories(pool), checkpointer, blobs, sandbox)


async def _drain_if_needed(server: Server) -> None:
    """The way out after a failure: a command that stops in good order has drained already."""
    if not server.draining:
        await server.drain()


async def _database(settings: Settings, announce: Announce, stack: AsyncExitStack) -> asyncpg.Pool:
    with announce("PostgreSQL") as started:
        if settings.database_url is not None:
            url, detail = settings.database_url.get_secret_value(), "COLLAB_DATABASE_URL"
        else:
            url, detail = await _embedded_database(settings.data_dir, stack)
        try:
            revision = await migrate.upgrade(url)
            pool = await create_pool(url, max_size=settings.database_pool_size)
        except (OSError, TimeoutError, asyncpg.PostgresError) as error:
            raise ConfigurationError(f"PostgreSQL does not answer ({error}): check COLLAB_DATABASE_URL") from error
        stack.push_async_callback(pool.close)
        started(f"{detail}, schema {revision}")
    return pool


async def _embedded_database(data_dir: Path, stack: AsyncExitStack) -> tuple[str, str]:
    postgres = EmbeddedPostgres()
    try:
        url = await postgres.start(data_dir / "postgres")
    except EmbeddedPostgresError as error:
        raise ConfigurationError(f"the embedded PostgreSQL cannot start: {error}") from error
    stack.push_async_callback(postgres.stop)
    moved = f" ({postgres.moved_because})" if postgres.moved_because else ""
    return url, f"embedded, files in {postgres.folder}{moved}"


async def _blobs(settings: Settings, announce: Announce, stack: AsyncExitStack) -> Blobs:
    with announce("Object storage") as started:
        blobs: Blobs
        if settings.s3_bucket is not None:
            blobs = S3Blobs(settings.s3_bucket, endpoint_url=settings.s3_endpoint_url, region=settings.s3_region)
            started(f"bucket {settings.s3_bucket}")
        else:
            folder = settings.data_dir / "objects"
            blobs = DirectoryBlobs(folder)
            started(f"directory {folder}")
        stack.push_async_callback(blobs.close)
    return blobs


async def _bus(settings: Settings, metrics: Metrics, announce: Announce, stack: AsyncExitStack) -> Bus:
    task_id = f"{socket.gethostname()[:40]}-{secrets.token_hex(4)}"
    with announce("Bus") as started:
        bus: Bus
        if settings.redis_url is not None:
            url, tallies = settings.redis_url.get_secret_value(), BusTallies(metrics.bus_refused, metrics.bus_doubled)
            bus = RedisBus(url, task_id, hmac_keys=settings.bus_keys, tallies=tallies)
            detail = "Redis"
        else:
            bus, detail = MemoryBus(task_id), "in this process"
        await bus.start()
        stack.push_async_callback(bus.close)
        started(detail)
    return bus


async def _directory(settings: Settings, task_id: str, stack: AsyncExitStack) -> Directory:
    if settings.redis_url is None:
        return MemoryDirectory(task_id)
    calls = RedisCalls(settings.redis_url.get_secret_value(), "directory")
    await calls.start()
    stack.push_async_callback(calls.close)
    return RedisDirectory(task_id, calls.call)


async def _tickets(settings: Settings, stack: AsyncExitStack) -> Tickets:
    if settings.redis_url is None:
        return MemoryTickets()
    calls = RedisCalls(settings.redis_url.get_secret_value(), "tickets")
    await calls.start()
    stack.push_async_callback(calls.close)
    return RedisTickets(calls.call, keys=settings.bus_keys)


async def _authenticator(
    settings: Settings, announce: Announce, stack: AsyncExitStack
) -> tuple[Authenticator, DevKeys | None]:
    with announce("Sign-in") as started:
        dev_keys = None
        authenticator: Authenticator
        if settings.auth is Auth.COGNITO:
            issuer = settings.jwt_issuer or ""
            keys = JwksCache(settings.jwks_url or cognito_jwks_url(issuer))
            await keys.start()
            authenticator = CognitoAuthenticator(issuer, settings.jwt_client_ids, keys)
            detail = f"Cognito tokens of {issuer}"
        elif settings.auth is Auth.DEV:
            dev_keys = DevKeys.load_or_create(settings.data_dir / "keys")
            authenticator = DevAuthenticator(dev_keys)
            detail = "development keys: collab-server token --help"
        else:
            authenticator, detail = OpenAuthenticator(), "open: everyone is an editor"
        stack.push_async_callback(authenticator.close)
        started(detail)
    return authenticator, dev_keys


async def _registry(
    settings: Settings,
    pool: asyncpg.Pool,
    blobs: Blobs,
    bus: Bus,
    journal: PostgresJournal,
    recorder: Recorder,
    offload: Offload,
    metrics: Metrics,
    stack: AsyncExitStack,
) -> Registry:
    catalog, table = PostgresCatalog(pool), PostgresCheckpointTable(pool)
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
        documents=Documents(table, blobs, metrics.checkpoints_unreadable),
        checkpointer=Checkpointer(
            catalog, table, blobs, sandbox, settings.checkpoint_timeout_s, metrics.checkpoints_unreadable
        ),
        journal=journal,
        leases=PostgresLeaseTable(pool),
        histories=PostgresHistories(pool),
        rulings=PostgresRulings(pool),
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
