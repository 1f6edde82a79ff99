"""PostgreSQL as this project uses it: bounded pools, and sentences that live in `.sql` files.

It must never hold SQL of its own, nor let a call wait without a bound. Called by the assembly (one pool a role) and
by every PostgreSQL adapter (its sentences, and the mapping of driver errors to the port's own).
"""

import re
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from types import MappingProxyType

import asyncpg

from persistence.errors import StorageUnavailable

SQL_FOLDER = Path(__file__).parent / "sql"
# asyncpg prepares and keeps this many sentences a connection; all of ours together are fewer.
PREPARED_STATEMENTS = 100
# Idle connections are closed after this long, so that a failover's dead sockets do not stay in the pool (seconds).
IDLE_CONNECTION_S = 120.0
# A pool that is used up for this long counts as unavailable; asyncpg itself would wait for ever (seconds).
BORROW_TIMEOUT_S = 5.0
NAME_LINE = re.compile(r"^-- name: (?P<name>[a-z][a-z0-9_]*)$")


async def create_pool(
    url: str,
    *,
    application_name: str = "collab-server",
    min_size: int = 1,
    max_size: int = 10,
    command_timeout_s: float = 10.0,
    connect_timeout_s: float = 5.0,
) -> asyncpg.Pool:
    """Open a pool of at most `max_size` connections whose every command ends within `command_timeout_s`.

    Raises what asyncpg raises when the first connection cannot be made: OSError, TimeoutError, asyncpg.PostgresError.
    """
    return await asyncpg.create_pool(
        url,
        min_size=min_size,
        max_size=max_size,
        timeout=connect_timeout_s,
        command_timeout=command_timeout_s,
        statement_cache_size=PREPARED_STATEMENTS,
        max_inactive_connection_lifetime=IDLE_CONNECTION_S,
        reset=_keep_session,
        server_settings=_session_settings(application_name, command_timeout_s),
    )


def _session_settings(application_name: str, command_timeout_s: float) -> dict[str, str]:
    return {
        "application_name": application_name,
        # Promise 1 rests on a commit being on disk: no role or database default may weaken it.
        "synchronous_commit": "on",
        # The client gives up first; this ends what a vanished client left running (milliseconds).
        "statement_timeout": str(int(command_timeout_s * 2000)),
        "idle_in_transaction_session_timeout": "30000",
        "timezone": "UTC",
        "jit": "off",  # our sentences are short: compiling one costs more than running it
    }


async def _keep_session(_connection: asyncpg.Connection) -> None:
    """In place of asyncpg's reset, which costs a round trip each time a connection goes back to the pool.

    An open transaction has been rolled back by then; and no adapter changes its session but by `set local`.
    """


@asynccontextmanager
async def borrowed(pool: asyncpg.Pool, error: type[StorageUnavailable]) -> AsyncIterator[asyncpg.Connection]:
    """A connection of the pool for a moment. Raises `error` when none comes free in time, and as `unavailable_as`."""
    with unavailable_as(error):
        async with pool.acquire(timeout=BORROW_TIMEOUT_S) as connection:
            yield connection


@contextmanager
def unavailable_as(error: type[StorageUnavailable]) -> Iterator[None]:
    """Raise `error` in place of anything that means the database did not answer; let the rest through.

    A sentence the database understood and refused (SQLSTATE classes 22 data, 23 integrity, 54 program limits, and what
    asyncpg cannot encode) passes through: trying it again would not help.
    """
    try:
        yield
    except asyncpg.PostgresError as failure:
        if is_refusal(failure):
            raise
        raise error(f"{type(failure).__name__}: {failure}") from failure
    except (OSError, TimeoutError, asyncpg.InterfaceError, asyncpg.InternalClientError) as failure:
        raise error(f"{type(failure).__name__}: {failure}") from failure


def is_refusal(failure: BaseException) -> bool:
    """Whether the database will say the same of this sentence for ever."""
    return (getattr(failure, "sqlstate", None) or "")[:2] in {"22", "23", "54"}


def load_queries(path: Path) -> Mapping[str, str]:
    """Read the sentences of a `.sql` file by name.

    Each begins with a line `-- name: xyz` and a second comment line that says in one sentence what it does. Raises
    ValueError when a name comes twice, says nothing about itself or has no SQL.
    """
    queries: dict[str, str] = {}
    for name, lines in _sections(path):
        if name in queries:
            raise ValueError(f"{path.name}: {name} is defined twice")
        if not lines or not lines[0].startswith("-- "):
            raise ValueError(f"{path.name}: {name} must say in one sentence what it does")
        sql = "\n".join(line for line in lines if line and not line.startswith("--"))
        if not sql:
            raise ValueError(f"{path.name}: {name} has no SQL")
        queries[name] = sql.rstrip(";")
    return MappingProxyType(queries)


def _sections(path: Path) -> Iterator[tuple[str, list[str]]]:
    name: str | None = None
    lines: list[str] = []
    for line in path.read_text(encoding="utf-8").splitlines():
        if match := NAME_LINE.match(line):
            if name is not None:
                yield name, lines
            name, lines = match["name"], []
        else:
            lines.append(line.rstrip())
    if name is not None:
        yield name, lines
