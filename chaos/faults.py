"""What can be broken in a deployment of ours, each fault with its cure. Every one is bounded in time by the schedule.

None needs root, and none touches anything but what the kit has started. Not here: a clock that jumps, because one
process's clock cannot be moved without root or a preloaded library. Called by `campaign`.
"""

from __future__ import annotations

import os
import random
import resource
import signal
import sys
from collections.abc import Awaitable, Callable
from contextlib import suppress
from pathlib import Path
from typing import Protocol

from chaos.crew import Crew
from chaos.relay import Relay
from persistence.embedded_postgres import EmbeddedPostgres

MOST_BYTES_WRITTEN = 200
"""A full disk takes a little of a file before it refuses the rest."""


class Fault(Protocol):
    """One kind of fault. `says` is its sentence in the report."""

    says: str

    async def inject(self, dice: random.Random) -> None:
        """Break it."""

    async def heal(self) -> None:
        """Make it whole."""


class Running(Protocol):
    """A process, while there is one."""

    @property
    def serving_pid(self) -> int | None:
        """The id of the process that serves."""


class Sigkill:
    """The server process dies at once, as from the kernel's out-of-memory killer or a lost machine."""

    says = "SIGKILL, restart, everybody comes back by himself"

    def __init__(self, kill: Callable[[], Awaitable[None]], restart: Callable[[], Awaitable[None]]) -> None:
        self._kill = kill
        self._restart = restart

    async def inject(self, _dice: random.Random) -> None:
        await self._kill()

    async def heal(self) -> None:
        await self._restart()


class Freeze:
    """The server process stops and goes on: a stalled virtual machine. Sockets stay open, the world moves on."""

    says = "SIGSTOP of the server, SIGCONT"

    def __init__(self, server: Running) -> None:
        self._server = server

    async def inject(self, _dice: random.Random) -> None:
        self._signal(signal.SIGSTOP)

    async def heal(self) -> None:
        self._signal(signal.SIGCONT)

    def _signal(self, number: signal.Signals) -> None:
        if (pid := self._server.serving_pid) is not None:
            with suppress(ProcessLookupError):
                os.kill(pid, number)


class PostgresStop:
    """PostgreSQL is stopped without a checkpoint (`pg_ctl stop -m immediate`) and recovers from its log."""

    says = "PostgreSQL stopped in immediate mode, restart with recovery"

    def __init__(self, postgres: EmbeddedPostgres) -> None:
        self._postgres = postgres

    async def inject(self, _dice: random.Random) -> None:
        await self._postgres.kill(signal.SIGQUIT)

    async def heal(self) -> None:
        await self._postgres.start(self._postgres.folder, port=self._postgres.port)


class PostgresCut:
    """COMMIT gets through and its answer does not; then the connection breaks: whether it was done is not known."""

    says = "PostgreSQL's answers lost after COMMIT, then the connections cut"

    def __init__(self, relay: Relay) -> None:
        self._relay = relay

    async def inject(self, _dice: random.Random) -> None:
        self._relay.lose_answers()

    async def heal(self) -> None:
        self._relay.heal()


class DiskFull:
    """Every file the server writes breaks off after some bytes, with an error: checkpoints are cut, and its log."""

    says = "disk full for all files of the server: checkpoints are cut at a random byte"
    works_here = sys.platform == "linux"

    def __init__(self, server: Running) -> None:
        self._server = server
        self._limited: int | None = None

    async def inject(self, dice: random.Random) -> None:
        self._limited = self._server.serving_pid
        self._limit(dice.randint(0, MOST_BYTES_WRITTEN))

    async def heal(self) -> None:
        self._limit(resource.RLIM_INFINITY)

    def _limit(self, size: int) -> None:
        if self._limited is not None and self._limited == self._server.serving_pid:
            with suppress(ProcessLookupError):
                resource.prlimit(self._limited, resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))


class StoreAway:
    """The folder of the checkpoints is not there, as a volume that was unmounted; nothing can be made in its place."""

    says = "the folder of the checkpoints gone, and back"

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._aside = folder.with_name(f"{folder.name}.away")

    async def inject(self, _dice: random.Random) -> None:
        self._folder.rename(self._aside)
        self._folder.touch()

    async def heal(self) -> None:
        self._folder.unlink()
        self._aside.rename(self._folder)


class ClientCut:
    """Some clients lose their connections without a word, and come back by themselves."""

    says = "connections of some clients cut"

    def __init__(self, crews: list[Crew]) -> None:
        self._crews = crews

    async def inject(self, dice: random.Random) -> None:
        everyone = [(crew, writer) for crew in self._crews for writer in crew.writers]
        for crew, writer in dice.sample(everyone, dice.randint(1, len(everyone))):
            await crew.cut(writer)

    async def heal(self) -> None:
        """They heal themselves."""
