"""The programs a cluster is made of, as child processes: each with a log file, and none outlives the cluster.

They get only the environment they are given, and no Ctrl-C: the cluster ends them in its own order. Called by `task`,
`redis_server`, `s3_stand_in` and `deployment`.
"""

from __future__ import annotations

import asyncio
import shutil
import signal
import socket
import sys
from asyncio.subprocess import DEVNULL, PIPE, Process
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path

LOG_TAIL_BYTES = 2_000
STOP_TIMEOUT_S = 10.0


class ProgramFailed(Exception):
    """A program is not there or does not start; the message says which, and what to do."""


def free_port(host: str, wanted: int = 0) -> int:
    """`wanted` when nobody listens on it, else a port that nobody listens on now."""
    for port in (wanted, 0):
        with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as probe, suppress(OSError):
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind((host, port))
            return int(probe.getsockname()[1])
    raise ProgramFailed(f"no port of {host} can be had")


class Guard:
    """The process that ends our programs when we are killed. `async with`; it is told of each by `Program`."""

    def __init__(self, patience_s: float = 5.0) -> None:
        self._patience_s = patience_s
        self._process: Process | None = None

    async def __aenter__(self) -> Guard:
        self._process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "cluster.guard", str(self._patience_s)),
            stdin=PIPE,
            stdout=DEVNULL,
            start_new_session=True,
        )
        return self

    async def __aexit__(self, *_failure: object) -> None:
        if self._process is not None and self._process.stdin is not None:
            self._process.stdin.close()
            await self._process.wait()

    def keep(self, pid: int) -> None:
        """End that process when we are gone."""
        self._tell(f"+{pid}\n")

    def forget(self, pid: int) -> None:
        """It has ended by itself: its number may be another's soon."""
        self._tell(f"-{pid}\n")

    def _tell(self, line: str) -> None:
        if self._process is not None and self._process.stdin is not None and not self._process.stdin.is_closing():
            self._process.stdin.write(line.encode())


class Program:
    """One program, which may be started again after it has ended. Its output is added to the file `log`."""

    def __init__(self, command: Sequence[str | Path], environment: Mapping[str, str], log: Path, guard: Guard) -> None:
        self._command = command
        self._environment = environment
        self._guard = guard
        self._process: Process | None = None
        self.log = log

    async def start(self) -> None:
        """Start it. Raises ProgramFailed when it cannot be executed."""
        with self.log.open("ab") as output:
            try:
                self._process = await asyncio.create_subprocess_exec(
                    *self._command,
                    env=self._environment,
                    cwd=self.log.parent,
                    stdin=DEVNULL,
                    stdout=output,
                    stderr=output,
                    start_new_session=True,
                )
            except OSError as error:
                raise ProgramFailed(f"{self._command[0]} cannot be run: {error}") from error
        self._guard.keep(self._process.pid)

    @property
    def pid(self) -> int | None:
        """Its process id while it runs."""
        return self._process.pid if self._process is not None and self._process.returncode is None else None

    async def ended(self) -> int:
        """Wait for its end; the exit code, or the negative number of the signal that ended it."""
        if self._process is None:
            return 0
        code = await self._process.wait()
        self._guard.forget(self._process.pid)
        return code

    def signal(self, number: signal.Signals) -> None:
        """Send a signal; one that has ended gets none."""
        if self._process is not None and self._process.returncode is None:
            with suppress(ProcessLookupError):
                self._process.send_signal(number)

    async def stop(self) -> None:
        """End it: asked to, then told to. Idempotent."""
        self.signal(signal.SIGTERM)
        try:
            async with asyncio.timeout(STOP_TIMEOUT_S):
                await self.ended()
        except TimeoutError:
            self.signal(signal.SIGKILL)
            await self.ended()

    def last_words(self) -> str:
        """The end of its log."""
        return self.log.read_bytes()[-LOG_TAIL_BYTES:].decode(errors="replace") if self.log.exists() else ""


def on_path(*names: str) -> Path | None:
    """The first of these programs that can be found."""
    return next((Path(found) for name in names if (found := shutil.which(name))), None)
