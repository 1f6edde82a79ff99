"""Hocuspocus with its SQLite extension on this machine, all options at their defaults. Adapter of `target.Target`.

Its provider's acknowledgement says that the server has applied the edit in memory. It is stored 2 s after the last
edit, 10 s after the first at the latest, so a kill before that takes edits that were acknowledged.
"""

from __future__ import annotations

import asyncio
import signal
from asyncio.subprocess import DEVNULL, Process
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from chaos.faults import Fault, Sigkill
from chaos.own_server import START_TIMEOUT_S, ServerFailed, free_port, until_listening
from chaos.schedule import SIGKILL
from chaos.target import About
from chaos.writer import Address


class Hocuspocus:
    """One server process and one SQLite file. `packages` is the folder they were installed to."""

    about = About(
        "Hocuspocus 4.7.0 with extension-sqlite, provider 4.8.0",
        "the server has applied the edit in memory (`SyncStatus`, `unsyncedChanges` 0); "
        "SQLite has it 2 s after the last edit, 10 s after the first at the latest (its defaults)",
        (SIGKILL,),
    )

    def __init__(self, folder: Path, packages: Path, node: str) -> None:
        self._log = folder / "hocuspocus.log"
        self._database = folder / "hocuspocus.sqlite"
        self._packages = packages
        self._node = node
        self._port = free_port()
        self._process: Process | None = None

    async def start(self) -> Address:
        """Start it with its storage, new and empty; where its documents are."""
        await self.restart()
        return Address(f"ws://127.0.0.1:{self._port}")

    async def restart(self) -> None:
        """Start it again on the same storage, at the same address. Raises ServerFailed."""
        with self._log.open("ab") as log:
            self._process = await asyncio.create_subprocess_exec(
                *(self._node, "server.mjs", str(self._port), str(self._database)),
                cwd=self._packages,
                stdin=DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        if not await until_listening(self._port, START_TIMEOUT_S):
            raise ServerFailed(f"Hocuspocus does not start:\n{self._log.read_text()[-2000:]}")

    async def kill(self) -> None:
        """SIGKILL of the server: nothing is flushed."""
        if self._process is not None:
            with suppress(ProcessLookupError):
                self._process.send_signal(signal.SIGKILL)
            await self._process.wait()

    async def stop(self) -> None:
        """End everything that was started. Idempotent."""
        await self.kill()

    def faults(self) -> Mapping[str, Fault]:
        """What can be broken here, by the names of `about.faults`."""
        return {SIGKILL: Sigkill(self.kill, self.restart)}

    def oddities(self) -> list[str]:
        """Nothing is watched here."""
        return []
