"""Which adapter stands behind each port, for these settings, and how each of them starts and stops.

The only module that names adapters. Whatever is started here is pushed onto the caller's stack, which stops it. Called
by `assembly`.
"""

from __future__ import annotations

import secrets
import socket
from collections.abc import Callable
from contextlib import AbstractContextManager, AsyncExitStack
from dataclasses import dataclass
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
from collab_server.bus import Bus
from collab_server.bus_gate import BusTallies
from collab_server.bus_memory import MemoryBus
from collab_server.bus_redis import RedisBus
from collab_server.errors import ConfigurationError
from collab_server.redis_calls import RedisCalls
from collab_server.settings import Auth, Settings
from collab_server.telemetry import Metrics
from persistence import migrate
from persistence.audit import Audit
from persistence.audit_postgres import PostgresAudit
from persistence.blobs import Blobs
from persistence.blobs_directory import DirectoryBlobs
from persistence.blobs_s3 import S3Blobs
from persistence.catalog import Catalog
from persistence.catalog_postgres import PostgresCatalog
from persistence.checkpoints import CheckpointTable
from persistence.checkpoints_postgres import PostgresCheckpointTable
from persistence.database import create_pool
from persistence.embedded_placement import EmbeddedPostgresError
from persistence.embedded_postgres import EmbeddedPostgres
from persistence.histories import Histories
from persistence.histories_postgres import PostgresHistories
from persistence.history import History
from persistence.history_postgres import PostgresHistory
from persistence.journal import Journal
from persistence.journal_postgres import PostgresJournal
from persistence.leases import LeaseTable
from persistence.leases_postgres import PostgresLeaseTable
from persistence.quarantine import Quarantine, QuarantineBounds
from persistence.quarantine_postgres import PostgresQuarantine
from persistence.rulings import Rulings
from persistence.rulings_postgres import PostgresRulings
from presence.directory import Directory
from presence.directory_memory import MemoryDirectory
from presence.directory_redis import RedisDirectory

# Names a part that starts; the context is given a function that takes the detail to show when it has started.
Announce = Callable[[str], AbstractContextManager[Callable[[str], None]]]


@dataclass(frozen=True, slots=True)
class Storage:
    """All that is kept: one adapter a port, over one database and one place for blobs."""

    audit: Audit
    blobs: Blobs
    catalog: Catalog
    checkpoints: CheckpointTable
    histories: Histories
    history: History
    journal: Journal
    leases: LeaseTable
    permissions: Permissions
    quarantine: Quarantine
    rulings: Rulings


async def storage(settings: Settings, announce: Announce, stack: AsyncExitStack) -> Storage:
    """Open the database and the blobs. Raises `ConfigurationError`."""
    pool = await _database(settings, announce, stack)
    blobs = await _blobs(settings, announce, stack)
    keeping = QuarantineBounds(settings.quarantine_max_bytes, settings.quarantine_max_rows)
    journal = PostgresJournal(pool, hold_connection=True, bounds=keeping)
    stack.push_async_callback(journal.close)
    return Storage(
        audit=PostgresAudit(pool),
        blobs=blobs,
        catalog=PostgresCatalog(pool),
        checkpoints=PostgresCheckpointTable(pool),
        histories=PostgresHistories(pool),
        history=PostgresHistory(pool),
        journal=journal,
        leases=PostgresLeaseTable(pool),
        # Guests are somebody new each time: nothing is stored about them.
        permissions=MemoryPermissions() if settings.auth is Auth.OPEN else PostgresPermissions(pool),
        quarantine=PostgresQuarantine(pool),
        rulings=PostgresRulings(pool),
    )


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


async def started_bus(settings: Settings, metrics: Metrics, announce: Announce, stack: AsyncExitStack) -> Bus:
    """The bus between tasks, running."""
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


async def started_directory(settings: Settings, task_id: str, stack: AsyncExitStack) -> Directory:
    """Who is where, for all tasks."""
    if settings.redis_url is None:
        return MemoryDirectory(task_id)
    calls = RedisCalls(settings.redis_url.get_secret_value(), "directory")
    await calls.start()
    stack.push_async_callback(calls.close)
    return RedisDirectory(task_id, calls.call)


async def started_tickets(settings: Settings, stack: AsyncExitStack) -> Tickets:
    """Connection tickets, good on any task."""
    if settings.redis_url is None:
        return MemoryTickets()
    calls = RedisCalls(settings.redis_url.get_secret_value(), "tickets")
    await calls.start()
    stack.push_async_callback(calls.close)
    return RedisTickets(calls.call, keys=settings.bus_keys)


@dataclass(frozen=True, slots=True)
class SignIn:
    """How people are told apart, and the keys that sign tokens for development, if there are any."""

    authenticator: Authenticator
    dev_keys: DevKeys | None = None


async def started_sign_in(settings: Settings, announce: Announce, stack: AsyncExitStack) -> SignIn:
    """How people are told apart."""
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
    return SignIn(authenticator, dev_keys)
