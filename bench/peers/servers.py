"""The servers that are compared, each a process that is started, pinned to one core, and ended by its id.

Ours runs as in production: sign-in, firewall, and a journal on PostgreSQL with fsync. The peers run as their own
documentation starts them: without sign-in, without checks, without storage. Called by `load` and `__main__`.
"""

from __future__ import annotations

import os
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from bench.own import UNLIMITED, own_server
from bench.peers.dialects import Dialect, HocuspocusDialect
from bench.peers.install import CACHE, HERE, install
from bench.peers.usage import cpu_s, pin, processes_beside, rss_bytes
from tests.services.server import ServerProcess, free_port
from tests.services.tokens import token

START_TIMEOUT_S = 30.0
STOP_TIMEOUT_S = 10.0
OURS = "ours"


@dataclass(frozen=True, slots=True)
class Running:
    """A server that accepts connections."""

    name: str
    pid: int
    port: int
    path: Callable[[str], str]
    dialect: Callable[[str], Dialect]
    folder: Path | None = None  # where its storage works, if it has any
    cores: tuple[int, int] | None = None  # the server's and the other one; `None`: nothing is pinned
    second: Running | None = None  # another task of it, which shares the core

    @property
    def tasks(self) -> tuple[Running, ...]:
        """The processes that serve, of which each has a port."""
        return (self,) if self.second is None else (self, self.second)

    def cpu_s(self) -> float:
        """What they have used."""
        return sum(cpu_s(task.pid) for task in self.tasks)

    def rss_bytes(self) -> int:
        """What they hold in memory."""
        return sum(rss_bytes(task.pid) for task in self.tasks)

    def pin(self) -> None:
        """Give it its core for itself: what belongs to it besides goes to the other one, with the load."""
        if self.cores is not None:
            for task in self.tasks:
                pin(task.pid, self.cores[0])
            self.pin_beside()

    def pin_beside(self) -> None:
        """The same for what has been started beside it since."""
        if self.cores is not None:
            for beside in self.beside():
                pin(beside, self.cores[1])

    def beside(self) -> set[int]:
        """The processes that work for it: PostgreSQL, the folding of checkpoints and Redis, as far as it has them."""
        found = {pid for task in self.tasks for pid in processes_beside(task.pid, self.folder)}
        return found - {task.pid for task in self.tasks}


def ours(server: ServerProcess) -> Running:
    """Our server, run by whoever calls, as the load sees it: one person with all the seats."""
    signed = token(server)
    return Running(
        OURS,
        server.pid,
        server.ws_port,
        lambda room: f"/ws/{room}?token={signed}",
        lambda _room: Dialect(),
        server.folder.resolve(),
    )


@contextmanager
def _ours() -> Iterator[Running]:
    with own_server(**UNLIMITED) as server:
        yield ours(server)


@contextmanager
def peer(name: str, command: list[str], port: int, **environment: str) -> Iterator[tuple[int, int]]:
    with tempfile.TemporaryFile() as log:
        process = subprocess.Popen(
            command, cwd=CACHE, env=os.environ | environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log
        )
        try:
            _wait_until_it_listens(name, process, port, log)
            yield process.pid, port
        finally:
            process.terminate()
            try:
                with suppress(subprocess.TimeoutExpired):
                    process.wait(STOP_TIMEOUT_S)
            finally:  # a second Ctrl-C while it is waited for must not leave it behind
                process.kill()
                process.wait()


def _wait_until_it_listens(name: str, process: subprocess.Popen[bytes], port: int, log: IO[bytes]) -> None:
    deadline = time.monotonic() + START_TIMEOUT_S
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
        except OSError:
            if process.poll() is not None or time.monotonic() > deadline:
                log.seek(0)
                raise RuntimeError(f"{name} does not start:\n{log.read().decode()[-2000:]}") from None
            time.sleep(0.05)
        else:
            return


def _room_path(room: str) -> str:
    return f"/{room}"


@contextmanager
def _y_websocket() -> Iterator[Running]:
    port = free_port()
    command = ["node", "node_modules/y-websocket/bin/server.js"]
    with peer("y-websocket", command, port, HOST="127.0.0.1", PORT=str(port)) as (pid, _port):
        yield Running("y-websocket", pid, port, _room_path, lambda _room: Dialect())


@contextmanager
def _hocuspocus() -> Iterator[Running]:
    port = free_port()
    with peer("hocuspocus", ["node", "hocuspocus.mjs", str(port)], port) as (pid, _port):
        yield Running("hocuspocus", pid, port, lambda _room: "/", HocuspocusDialect)


@contextmanager
def _pycrdt_websocket() -> Iterator[Running]:
    port = free_port()
    command = [str(CACHE / "venv/bin/python"), str(HERE / "pycrdt_server.py"), str(port)]
    with peer("pycrdt-websocket", command, port) as (pid, _port):
        yield Running("pycrdt-websocket", pid, port, _room_path, lambda _room: Dialect())


SERVERS = {
    OURS: _ours,
    "hocuspocus": _hocuspocus,
    "y-websocket": _y_websocket,
    "pycrdt-websocket": _pycrdt_websocket,
}


def prepare(names: list[str]) -> None:
    """Install what the named servers need."""
    install(node=bool({"hocuspocus", "y-websocket"} & set(names)), python="pycrdt-websocket" in names)
