"""One task of the cluster: `collab-server serve` in processes of its own, started again whenever it ends.

It keeps its ports over restarts. It must never be started twice at once. Called by `deployment`.
"""

from __future__ import annotations

import asyncio
import signal
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path

from cluster.balancer import Target
from cluster.programs import Guard, Program, ProgramFailed, free_port
from cluster.readiness import is_ready

START_TIMEOUT_S = 120.0
LOOK_EVERY_S = 0.1
FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.2, 10.0
"""Before it is started again; doubled for as long as it never becomes ready."""


class Task:
    """Task `number` with its own log in `folder`. `say` is told when it goes away and when it is back."""

    def __init__(
        self,
        number: int,
        environment: Mapping[str, str],
        folder: Path,
        guard: Guard,
        say: Callable[[str], None],
        admin_port: int = 0,
    ) -> None:
        self.number = number
        self.admin_port = free_port("127.0.0.1", admin_port)
        self.target = Target(free_port("127.0.0.1"))
        ports = {"COLLAB_WS_PORT": str(self.target.port), "COLLAB_ADMIN_PORT": str(self.admin_port)}
        command = [sys.executable, "-m", "commands.cli", "serve", "--allow-embedded"]
        self._program = Program(command, {**environment, **ports}, folder / f"task-{number}.log", guard)
        self._say = say
        self._ready = asyncio.Event()
        self._keeper: asyncio.Task[None] | None = None

    @property
    def pid(self) -> int | None:
        """The process to signal, which is the supervisor of the one that serves."""
        return self._program.pid

    @property
    def log(self) -> Path:
        """Where it writes."""
        return self._program.log

    async def start(self) -> None:
        """Start it, and again whenever it ends from now on. Raises ProgramFailed when it does not become ready."""
        await self._start_once()
        self._keeper = asyncio.create_task(self._keep(), name=f"task-{self.number}")

    async def restart(self) -> None:
        """Have it drained, started again and ready."""
        await self._ready.wait()
        self._ready.clear()
        self._program.signal(signal.SIGTERM)
        await self._ready.wait()

    async def stop(self, hurry: asyncio.Event) -> None:
        """Have it drained, for good; in a hurry when `hurry` is set. Idempotent."""
        if self._keeper is not None:
            self._keeper.cancel()
            await asyncio.wait([self._keeper])
        self._program.signal(signal.SIGTERM)
        ending = asyncio.create_task(self._program.ended())
        hurried = asyncio.create_task(hurry.wait())
        await asyncio.wait((ending, hurried), return_when=asyncio.FIRST_COMPLETED)
        hurried.cancel()
        if not ending.done():
            self._program.signal(signal.SIGTERM)
        await ending

    async def _keep(self) -> None:
        pause_s, began = FIRST_PAUSE_S, time.monotonic()
        while True:
            code = await self._program.ended()
            self._ready.clear()
            self.target.ready = False
            self._say(f"task {self.number} {_how(code)} after {time.monotonic() - began:.0f} s: starting it again")
            await asyncio.sleep(pause_s)
            began = time.monotonic()
            try:
                await self._start_once()
            except ProgramFailed as failure:
                self._say(str(failure))
                pause_s = min(2 * pause_s, LONGEST_PAUSE_S)
                await self._program.stop()
            else:
                pause_s = FIRST_PAUSE_S
                self._say(f"task {self.number} is back: pid {self.pid}")

    async def _start_once(self) -> None:
        await self._program.start()
        deadline = time.monotonic() + START_TIMEOUT_S
        while not await is_ready(self.admin_port):
            if self.pid is None or time.monotonic() > deadline:
                raise ProgramFailed(f"task {self.number} does not become ready:\n{self._program.last_words()}")
            await asyncio.sleep(LOOK_EVERY_S)
        self.target.ready = True
        self._ready.set()


def _how(code: int) -> str:
    if code < 0:
        return f"was ended by {signal.Signals(-code).name}"
    return "has drained" if code == 0 else f"ended with {code}"
