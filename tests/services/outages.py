"""What happens to a PostgreSQL server: it hangs, refuses to write, or is gone. For tests of whoever depends on it."""

from __future__ import annotations

import os
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import asyncpg

from persistence.embedded_postgres import EmbeddedPostgres


def pause(server: EmbeddedPostgres) -> None:
    """Let it hang with all its backends: connections stay open, nothing is answered."""
    _tell(server, signal.SIGSTOP)


def resume(server: EmbeddedPostgres) -> None:
    """Let it go on."""
    _tell(server, signal.SIGCONT)


@asynccontextmanager
async def paused(server: EmbeddedPostgres) -> AsyncIterator[None]:
    """It hangs for that long."""
    pause(server)
    try:
        yield
    finally:
        resume(server)


async def start_again(server: EmbeddedPostgres) -> None:
    """The same server on the same port, after `server.kill` or `server.stop`."""
    await server.start(server.folder, port=server.port)


async def set_read_only(server: EmbeddedPostgres, read_only: bool) -> None:
    """What an operator or a failover does: transactions may only read, also those of open connections."""
    connection = await asyncpg.connect(server.url)
    try:
        await connection.execute("set default_transaction_read_only = off")
        await connection.execute(f"alter system set default_transaction_read_only = {'on' if read_only else 'off'}")
        await connection.execute("select pg_reload_conf()")
    finally:
        await connection.close()


def _tell(server: EmbeddedPostgres, number: signal.Signals) -> None:
    """The parent first when it is stopped, so that it starts no more children, and last when it goes on."""
    assert server.pid is not None
    family = [server.pid, *_children(server.pid)]
    for pid in family if number is signal.SIGSTOP else reversed(family):
        with suppress(ProcessLookupError):
            os.kill(pid, number)


def _children(parent: int) -> list[int]:
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):  # it has ended meanwhile
            if int(stat.read_text().rpartition(")")[2].split()[1]) == parent:
                found.append(int(stat.parent.name))
    return found
