"""Writers at every task of a cluster, all in one document, and the books of what they were told is durable.

They are those of the chaos kit, which share no code with the server. Called by the journeys of a cluster.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from contextlib import AsyncExitStack
from types import TracebackType
from typing import Self

from chaos.checker import Replica, Verdict, agree, differences, judge
from chaos.crew import Mode
from chaos.ledger import Ledger, Told
from chaos.writer import Address, PythonCrew, read
from tests.services.faulty_cluster import Cluster
from tests.services.tokens import token

EQUAL_WITHIN_S = 5.0
GIVEN_UP_AFTER_S = 30.0
LOOKS_EVERY_S = 0.05


class Crowd:
    """`async with Crowd(cluster, "draft") as crowd:` everyone is there, quiet. Each task has `a_task` writers.

    `urls` are where they connect to, one a task; by default the tasks themselves. `waits_s` are the times from sending
    an edit to its acknowledgement.
    """

    def __init__(
        self,
        cluster: Cluster,
        document: str,
        *,
        a_task: int = 2,
        edits_per_s: float = 10.0,
        urls: Sequence[str] | None = None,
    ) -> None:
        self.ledger = Ledger()
        self.waits_s: list[float] = []
        self._cluster = cluster
        self._document = document
        self._sent_at: dict[str, float] = {}
        self._heard: set[int] = set()  # writers with an acknowledgement since somebody began to wait for that
        keys = cluster.tasks[0]
        tokens = [token(keys, f"writer-{number}") for number in range(len(cluster.tasks))]
        self._tasks = [Address(task.websocket_url, signed) for task, signed in zip(cluster.tasks, tokens, strict=True)]
        addresses = [Address(url, signed) for url, signed in zip(urls, tokens, strict=True)] if urls else self._tasks
        self._crews = [
            PythonCrew(tuple(range(number * a_task, (number + 1) * a_task)), address, number, edits_per_s, self._note)
            for number, address in enumerate(addresses)
        ]
        self._writers = {writer for crew in self._crews for writer in crew.writers}
        self._ending = AsyncExitStack()

    async def __aenter__(self) -> Self:
        for crew in self._crews:
            self._ending.push_async_callback(crew.close)
        await asyncio.gather(*(crew.open(self._document) for crew in self._crews))
        return self

    async def __aexit__(
        self, _kind: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        await self._ending.aclose()

    def _note(self, writer: int, told: Told) -> None:
        now = time.monotonic()
        self.ledger.note(told)
        self._sent_at.update(dict.fromkeys(told.sent, now))
        self.waits_s += [now - self._sent_at[name] for name in told.acknowledged]
        if told.acknowledged:
            self._heard.add(writer)

    async def be(self, mode: Mode) -> None:
        """All do that from now on."""
        await asyncio.gather(*(crew.be(mode) for crew in self._crews))

    async def type_for(self, seconds: float) -> None:
        """All write for that long and go on, and each is told in that time, or soon after, that an edit is durable."""
        self._heard.clear()
        await self.be(Mode.TYPING)
        await asyncio.sleep(seconds)
        await self._until(lambda: self._heard >= self._writers, "somebody's edits are not acknowledged")

    async def cut(self) -> None:
        """All connections break without a word; they come back by themselves."""
        for crew in self._crews:
            for writer in crew.writers:
                await crew.cut(writer)

    async def equal_after_s(self) -> float:
        """Nobody writes any more: how long it takes until all copies of writers are equal."""
        await self.be(Mode.QUIET)
        began = time.monotonic()
        while not agree(copies := await self.copies()):
            if time.monotonic() > began + GIVEN_UP_AFTER_S:
                raise AssertionError("\n".join(differences(copies)))
            await asyncio.sleep(LOOKS_EVERY_S)
        return time.monotonic() - began

    async def be_quiet(self) -> None:
        """Nobody writes any more, and what was written is durable."""
        await self.be(Mode.QUIET)
        await self._until(lambda: self.ledger.sent == self.ledger.acknowledged, "edits stay without acknowledgement")

    async def copies(self) -> list[Replica]:
        """Those of all writers."""
        return [copy for crew in self._crews for copy in await crew.replicas()]

    async def verdict(self) -> Verdict:
        """What is wrong with the copies of the writers, of a newcomer at each task, and of storage."""
        await self.be_quiet()
        newcomers = await asyncio.gather(*(read(address, self._document) for address in self._tasks))
        copies = [*await self.copies(), *newcomers, await self._cluster.stored(self._document)]
        return judge(self.ledger, copies)

    async def _until(self, fact: object, otherwise: str) -> None:
        deadline = time.monotonic() + GIVEN_UP_AFTER_S
        while not fact():  # type: ignore[operator]
            assert time.monotonic() < deadline, otherwise
            await asyncio.sleep(LOOKS_EVERY_S)
