"""Schema migrations: hand-written SQL, up and down, in the order alembic keeps.

Alembic decides which steps lead from one revision to another and keeps `alembic_version`; it renders them as one script
(its offline mode), which runs through asyncpg in one transaction. It must never leave a schema half way, nor run twice
when several processes start together: an advisory lock is held from the first look at the version to the commit.
Called by `collab-server migrate`, by `dev` at start, and by tests.
"""

import io
import re
import types
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import cache
from pathlib import Path

import asyncpg
import structlog
from alembic import op
from alembic.config import Config
from alembic.runtime.environment import EnvironmentContext
from alembic.script import Script, ScriptDirectory
from alembic.script.revision import RevisionMap

from persistence.database import SQL_FOLDER

log = structlog.get_logger(__name__)

MIGRATIONS = SQL_FOLDER / "migrations"
UP_FILE = re.compile(r"^(?P<revision>\d{4})_(?P<name>[a-z0-9_]+)\.up\.sql$")
# Any number will do as long as nobody else takes it: "collab" in ASCII.
LOCK_KEY = int.from_bytes(b"collab", "big")
# How long a process waits for another one's migration before it gives up (seconds).
LOCK_TIMEOUT_S = 120


async def upgrade(url: str, revision: str = "head") -> str:
    """Bring the schema up to `revision`; does nothing when it is there. Returns the revision it is at now.

    A schema of a later version than this program is left as it is: while tasks are replaced one by one, or when that is
    taken back, the older program goes on with what the newer one has made, since migrations only add. Safe to call from
    many processes at once. Raises asyncpg.PostgresError when a step fails: nothing has changed then.
    """
    async with _locked(url) as connection:
        at = await _version(connection)
        target = heads() if revision == "head" else revision
        if revision == "head" and at is not None and at > target:
            log.warning("schema_is_newer", schema=at, newest_known=target)
            return at
        if at != target:
            await connection.execute(_script(at, target, up=True))
        return target


async def downgrade(url: str, revision: str) -> None:
    """Take the schema back to `revision` ("base" is the empty schema). What the steps drop is gone."""
    async with _locked(url) as connection:
        at = await _version(connection)
        if at is not None and at != revision:
            await connection.execute(_script(at, revision, up=False))
        if at is not None and revision == "base":  # or the next upgrade's script would make it twice
            await connection.execute("drop table alembic_version")


async def current(url: str) -> str | None:
    """The revision the database is at; None for a database that was never migrated."""
    connection = await asyncpg.connect(url, timeout=10)
    try:
        return await _version(connection)
    finally:
        await connection.close()


def heads() -> str:
    """The newest revision there is a file for."""
    head = _scripts().get_current_head()
    if head is None:
        raise LookupError(f"no migrations in {MIGRATIONS}")
    return head


@asynccontextmanager
async def _locked(url: str) -> AsyncIterator[asyncpg.Connection]:
    connection = await asyncpg.connect(url, timeout=10, server_settings={"application_name": "collab-server migrate"})
    try:
        async with connection.transaction():
            await connection.execute(f"set local lock_timeout = '{LOCK_TIMEOUT_S}s'")
            await connection.execute("select pg_advisory_xact_lock($1)", LOCK_KEY)
            yield connection
    finally:
        await connection.close()


async def _version(connection: asyncpg.Connection) -> str | None:
    if await connection.fetchval("select to_regclass('alembic_version')") is None:
        return None
    version: str | None = await connection.fetchval("select version_num from alembic_version")
    return version


def _script(at: str | None, target: str, *, up: bool) -> str:
    """What leads from `at` to `target`, with alembic's own bookkeeping, as one SQL script without BEGIN or COMMIT."""
    scripts, script = _scripts(), io.StringIO()
    find_steps = scripts._upgrade_revs if up else scripts._downgrade_revs
    with EnvironmentContext(Config(), scripts, as_sql=True, starting_rev=at, destination_rev=target) as environment:
        environment.configure(
            dialect_name="postgresql",
            as_sql=True,
            starting_rev=at,
            output_buffer=script,
            transactional_ddl=False,
            fn=lambda revision, _context: find_steps(target, revision),
        )
        environment.run_migrations()
    return script.getvalue()


@cache
def _scripts() -> ScriptDirectory:
    scripts = ScriptDirectory(str(MIGRATIONS))
    scripts.revision_map = RevisionMap(_revisions)
    return scripts


def _revisions() -> list[Script]:
    """One alembic revision for each pair of files, each following the one before it by number."""
    revisions: list[Script] = []
    before: str | None = None
    for path in sorted(MIGRATIONS.glob("*.up.sql")):
        match = UP_FILE.match(path.name)
        if match is None:
            raise ValueError(f"{path.name}: migrations are named NNNN_name.up.sql and NNNN_name.down.sql")
        revisions.append(_revision(path, match["revision"], before))
        before = match["revision"]
    return revisions


def _revision(up: Path, revision: str, before: str | None) -> Script:
    down = up.with_name(up.name.replace(".up.sql", ".down.sql"))
    module = types.ModuleType(f"migration_{revision}", up.name)
    vars(module).update(
        revision=revision,
        down_revision=before,
        upgrade=lambda: _emit(up),
        downgrade=lambda: _emit(down),
    )
    return Script(module, revision, str(up))


def _emit(path: Path) -> None:
    # Written out as it stands: op.execute would read `:name` and `%` in our SQL as parameters.
    op.get_context().impl.static_output(path.read_text(encoding="utf-8"))
