"""A crew of stock JavaScript clients: all in one node process, driven over its standard streams.

What goes over the wire is the published client's own doing. Adapter of `crew.Crew`.
"""

from __future__ import annotations

import asyncio
import json
from asyncio.subprocess import PIPE, Process
from contextlib import suppress
from itertools import count
from pathlib import Path
from typing import Any

from chaos.checker import Replica
from chaos.crew import DEADLINE_S, Mode, Note, Unreachable
from chaos.ledger import Told
from chaos.writer import Address

LONGEST_LINE_BYTES = 64 * 1024 * 1024
ANSWER_TIMEOUT_S = 2 * DEADLINE_S


class NodeCrew:
    """Clients of `kind` (`y-websocket` or `hocuspocus`) from an installed folder of packages."""

    def __init__(
        self,
        kind: str,
        folder: Path,
        node: str,
        writers: tuple[int, ...],
        address: Address,
        seed: int,
        edits_per_s: float,
        note: Note,
    ) -> None:
        self.writers = writers
        self._kind = kind
        self._folder = folder
        self._node = node
        self._address = {"url": address.url.rstrip("/"), "token": address.token}
        self._seed = seed % 2**31
        self._edits_per_s = edits_per_s
        self._note = note
        self._numbers = count(1)
        self._answers: dict[int, asyncio.Future[Any]] = {}
        self._process: Process | None = None
        self._reader: asyncio.Task[None] | None = None

    async def open(self, document: str) -> None:
        """Leave, and come to another document, with new copies, quiet. Raises Unreachable."""
        if self._process is None:
            await self._start()
        await self._ask("open", writers=self.writers, seed=self._seed, document=document, **self._address)

    async def be(self, mode: Mode) -> None:
        """Do that from now on."""
        await self._ask("be", mode=mode, edits_per_s=self._edits_per_s)

    async def cut(self, writer: int) -> None:
        """Break that writer's connection without a word."""
        await self._ask("cut", writer=writer)

    async def replicas(self) -> list[Replica]:
        """Every writer's copy."""
        return [
            Replica(f"writer {copy['writer']} ({self._kind})", copy["text"], dict(copy["state"]))
            for copy in await self._ask("replicas")
        ]

    async def read(self, document: str) -> Replica:
        """The copy of a new client that has come for it. Raises Unreachable."""
        copy = await self._ask("read", document=document, **self._address)
        return Replica(f"a new client ({self._kind})", copy["text"], dict(copy["state"]))

    async def close(self) -> None:
        """Leave for good. Idempotent. Raises what broke off the reports."""
        process, self._process = self._process, None
        if process is None or self._reader is None:
            return
        with suppress(ProcessLookupError):
            process.kill()
        await process.wait()
        await self._reader

    async def _start(self) -> None:
        self._process = await asyncio.create_subprocess_exec(
            self._node, "writer.mjs", self._kind, cwd=self._folder, stdin=PIPE, stdout=PIPE, limit=LONGEST_LINE_BYTES
        )
        if self._process.stdout is not None:
            self._reader = asyncio.create_task(self._listen(self._process.stdout))

    async def _ask(self, command: str, **wanted: Any) -> Any:
        process = self._process
        if process is None or process.stdin is None:
            raise Unreachable("the JavaScript clients are not running")
        number = next(self._numbers)
        answer = self._answers[number] = asyncio.get_running_loop().create_future()
        process.stdin.write(json.dumps({"id": number, "command": command, **wanted}).encode() + b"\n")
        await process.stdin.drain()
        async with asyncio.timeout(ANSWER_TIMEOUT_S):
            return await answer

    async def _listen(self, output: asyncio.StreamReader) -> None:
        try:
            async for line in output:
                if not line.endswith(b"\n"):
                    break  # it was ended in mid-sentence
                self._take(json.loads(line))
        finally:
            for answer in self._answers.values():
                if not answer.done():
                    answer.set_exception(Unreachable("the JavaScript clients have ended"))

    def _take(self, message: dict[str, Any]) -> None:
        for writer, told in message.get("reports", ()):
            self._note(writer, Told(**{kind: tuple(names) for kind, names in told.items()}))
        if "id" in message:
            answer = self._answers.pop(message["id"])
            if answer.done():
                return
            if "error" in message:
                answer.set_exception(Unreachable(message["error"]))
            else:
                answer.set_result(message["found"])
