"""Whether the parts behind this process answer: asked in the background, told at once.

A readiness check must not wait for a database that hangs, so `admin` reads what the last round found and how old it is.
Never raises. Built by `assembly`.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass

from collab_server.telemetry import Metrics

EVERY_S = 2.0
TIMEOUT_S = 2.0
STALE_AFTER_S = 3 * EVERY_S  # older than this, an answer says nothing any more
STUCK_AFTER_S = 5.0  # an edit that waits longer for its commit: the database answers, but does not write (disk full)


@dataclass(frozen=True, slots=True)
class State:
    """What the last check of one dependency found; `at` and `since` are monotonic seconds."""

    ok: bool
    at: float
    since: float
    error: str | None


class Health:
    """Pings each dependency every few seconds. `states` is what was found last."""

    def __init__(self, pings: Mapping[str, Callable[[], Awaitable[None]]], metrics: Metrics) -> None:
        self._pings = dict(pings)
        self._metrics = metrics
        self.states: dict[str, State] = {}

    async def watch(self) -> None:
        """Check for ever."""
        while True:
            await self.check()
            await asyncio.sleep(EVERY_S)

    async def check(self) -> None:
        """One round, all dependencies at once."""
        await asyncio.gather(*(self._check(name) for name in self._pings))

    async def _check(self, name: str) -> None:
        error = None
        try:
            async with asyncio.timeout(TIMEOUT_S):
                await self._pings[name]()
        except Exception as failure:  # whatever it is, the dependency does not answer
            error = type(failure).__name__
        now = time.monotonic()
        before = self.states.get(name)
        since = before.since if before is not None and before.ok == (error is None) else now
        self.states[name] = State(error is None, now, since, error)
        self._metrics.dependency_up.labels(name).set(error is None)

    def is_ready(self) -> bool:
        """Whether every dependency answered lately."""
        oldest = time.monotonic() - STALE_AFTER_S
        return len(self.states) == len(self._pings) and all(
            state.ok and state.at > oldest for state in self.states.values()
        )

    def report(self) -> dict[str, dict[str, object]]:
        """Each dependency's state and its age in seconds."""
        now = time.monotonic()
        return {
            name: {
                "ok": state.ok,
                "checked_s_ago": round(now - state.at, 1),
                "for_s": round(now - state.since, 1),
                **({"error": state.error} if state.error else {}),
            }
            for name, state in self.states.items()
        }
