"""Our server as a child process of the kit: killed, and started again as whatever runs it in production would.

It sees the settings it is given and nothing of the caller's environment. Called by `own_deployment` and by faults.
"""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import sys
from asyncio.subprocess import DEVNULL, PIPE, Process
from contextlib import suppress
from pathlib import Path

START_TIMEOUT_S = 90.0
RESTART_AFTER_S = 0.2
LOG_TAIL_BYTES = 3_000


class ServerFailed(Exception):
    """It does not start or does not end; the message has its last words."""


def free_port() -> int:
    """A TCP port of 127.0.0.1 that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


async def until_listening(port: int, timeout_s: float) -> bool:
    """Wait until somebody listens on that port of this machine; whether one did in time."""
    with suppress(TimeoutError):
        async with asyncio.timeout(timeout_s):
            while True:
                with suppress(OSError):
                    _reader, writer = await asyncio.open_connection("127.0.0.1", port)
                    writer.close()
                    return True
                await asyncio.sleep(0.01)
    return False


class OwnServer:
    """`collab-server serve` on ports that it keeps over restarts. `ended_by_itself` counts what nobody asked for."""

    def __init__(self, folder: Path, settings: dict[str, object]) -> None:
        self.port = free_port()
        self.log = folder / "server.log"
        self.pid: int | None = None
        self.ended_by_itself = 0
        own = {"ws_port": self.port, "admin_port": free_port(), "data_dir": folder / "server", **settings}
        self._environment = {f"COLLAB_{name.upper()}": str(value) for name, value in own.items()}
        self._wanted = False
        self._ordered = False  # and not begun yet
        self._changed = asyncio.Condition()
        self._launcher: Process | None = None
        self._watcher: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Start it and wait until it listens. Raises ServerFailed."""
        if self._launcher is None:
            await self._launch()
        self._wanted = True
        await self._order()
        if not await until_listening(self.port, START_TIMEOUT_S):
            raise ServerFailed(f"the server does not start:\n{self.last_words()}")

    async def kill(self) -> None:
        """SIGKILL: nothing is flushed. Returns when it is gone."""
        self._wanted = False
        async with asyncio.timeout(START_TIMEOUT_S), self._changed:
            await self._changed.wait_for(lambda: not self._ordered)
            for pid in (self.pid, self.serving_pid):  # the supervisor first, or it would start it again
                if pid is not None:
                    with suppress(ProcessLookupError):
                        os.kill(pid, signal.SIGKILL)
            await self._changed.wait_for(lambda: self.pid is None)

    @property
    def serving_pid(self) -> int | None:
        """The server itself: the child of its supervisor, which `pid` is."""
        if self.pid is None:
            return None
        if sys.platform != "linux":
            return self.pid
        try:
            children = Path(f"/proc/{self.pid}/task/{self.pid}/children").read_text().split()
        except FileNotFoundError:
            return None
        return int(children[0]) if children else None

    async def stop(self) -> None:
        """End it, and what starts it. Idempotent."""
        launcher, self._launcher = self._launcher, None
        if launcher is None or launcher.stdin is None or self._watcher is None:
            return
        await self.kill()
        launcher.stdin.close()
        await launcher.wait()
        await self._watcher

    def last_words(self) -> str:
        """The end of its log."""
        return self.log.read_bytes()[-LOG_TAIL_BYTES:].decode(errors="replace") if self.log.exists() else ""

    async def _launch(self) -> None:
        program = ("commands.cli", "serve", "--allow-embedded")
        self._launcher = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "chaos.launcher", "commands.serve", str(self.log), *program),
            env=self._environment,
            stdin=PIPE,
            stdout=PIPE,
            stderr=DEVNULL,
            start_new_session=True,  # Ctrl-C is for us: we end it
        )
        if self._launcher.stdout is not None:
            self._watcher = asyncio.create_task(self._watch(self._launcher.stdout))

    async def _order(self) -> None:
        if self._launcher is None or self._launcher.stdin is None:
            raise ServerFailed("it was not launched")
        self._ordered = True
        self._launcher.stdin.write(b"start\n")
        await self._launcher.stdin.drain()

    async def _watch(self, output: asyncio.StreamReader) -> None:
        async for line in output:
            async with self._changed:
                self.pid, self._ordered = None if line.startswith(b"ended") else int(line), False
                self._changed.notify_all()
            if self.pid is None and self._wanted:
                self.ended_by_itself += 1
                await asyncio.sleep(RESTART_AFTER_S)
                if self._wanted:
                    await self._order()
