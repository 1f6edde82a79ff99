"""The ledgers of a run, one a document, and how long writers waited for their first acknowledgement after a cure.

Called by the crews, which report, and by `campaign`.
"""

from __future__ import annotations

import asyncio
import time
from contextlib import suppress

from chaos.ledger import Ledger, Told

RECOVERY_DEADLINE_S = 30.0


class Books:
    """What all writers reported. `ledgers` by document, the current one last."""

    def __init__(self) -> None:
        self.ledgers: dict[str, Ledger] = {}
        self._current = Ledger()
        self._first: dict[int, float] = {}
        self._changed = asyncio.Event()

    def begin(self, document: str) -> None:
        """What is reported from now on belongs to another document."""
        self._current = self.ledgers[document] = Ledger()

    @property
    def current(self) -> Ledger:
        """The ledger of the document that is written to."""
        return self._current

    def note(self, writer: int, told: Told) -> None:
        """Enter what a writer reports. Raises ImpossibleReport."""
        self._current.note(told)
        if told.acknowledged or told.deletions_acknowledged:
            self._first.setdefault(writer, time.monotonic())
            self._changed.set()

    async def recovery(self, writers: tuple[int, ...], since: float) -> tuple[list[float], list[int]]:
        """Wait for each writer's next acknowledgement: seconds from `since` to it, and the writers without one."""
        self._first.clear()
        with suppress(TimeoutError):
            async with asyncio.timeout(RECOVERY_DEADLINE_S):
                while set(writers) - self._first.keys():
                    self._changed.clear()
                    await self._changed.wait()
        took = [self._first[writer] - since for writer in writers if writer in self._first]
        return took, [writer for writer in writers if writer not in self._first]
