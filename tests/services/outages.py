"""What happens to a PostgreSQL server: it hangs, refuses to write, or is gone. For tests of whoever depends on it."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
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


@asynccontextmanager
async def commits_held(database_url: str) -> AsyncIterator[None]:
    """Nothing can be written to the journal for that long, because another session holds its table."""
    connection = await asyncpg.connect(database_url)
    try:
        async with connection.transaction():
            await connection.execute("lock table document_updates in exclusive mode")
            yield
    finally:
        await connection.close()


@contextmanager
def no_file_grows(server: EmbeddedPostgres, beyond_bytes: int) -> Iterator[None]:
    """No file of it can grow beyond that, as on a full disk; unlike a small disk this needs no root and ends at once.

    A segment of its log must still fit (16 MiB), so tables have to be that large as well before they feel it.
    """
    _limit_files(server, str(beyond_bytes))
    try:
        yield
    finally:
        _limit_files(server, "unlimited")


def _limit_files(server: EmbeddedPostgres, most: str) -> None:
    """For all that run; backends still to come inherit it. As the server's own user, since root may not everywhere."""
    assert server.pid is not None
    owner = Path(f"/proc/{server.pid}").stat()
    other_user = {"user": owner.st_uid, "group": owner.st_gid} if owner.st_uid != os.getuid() else {}
    for pid in (server.pid, *_children(server.pid)):
        command = ["prlimit", "--pid", str(pid), f"--fsize={most}:unlimited"]
        done = subprocess.run(command, cwd="/", capture_output=True, text=True, **other_user)  # type: ignore[call-overload]
        assert done.returncode == 0 or not Path(f"/proc/{pid}").exists(), done.stderr
