"""One task's ways to its stores and to its workers, with the weather on them.

A `Line` stands before a memory adapter and speaks its port, whatever methods that has: calls take a seeded time, fail
before they took effect, after it, or report a failure and take effect later, and fail for as long as the store is out
of reach. What was sent takes effect although its sender dies. Every effect is shown to the checker the moment it
happens. `InLoopSandbox` is a sandbox whose workers are the loop itself.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from persistence.sandbox import SandboxFailed
from tests.simulation.loop import SimulatedLoop, at_once

Seen = Callable[[str, tuple[Any, ...], Any], None]


@dataclass(slots=True)
class Weather:
    """How one task fares. Rates are shares of calls; `away` holds the names of stores that are out of its reach."""

    error_rate: float = 0.0
    slow_rate: float = 0.1
    worker_failure_rate: float = 0.0
    away: set[str] = field(default_factory=set)

    def clear_up(self) -> None:
        """From now on all goes well."""
        self.error_rate = self.slow_rate = self.worker_failure_rate = 0.0
        self.away.clear()


class Line:
    """The way of one task to one store."""

    def __init__(
        self, loop: SimulatedLoop, chance: random.Random, weather: Weather, store: str, inner: Any,
        failure: type[Exception], seen: Seen,
    ) -> None:  # fmt: skip
        self._loop = loop
        self._chance = chance
        self._weather = weather
        self._store = store
        self._inner = inner
        self._failure = failure
        self._seen = seen

    def __getattr__(self, name: str) -> Callable[..., Awaitable[Any]]:
        if name.startswith("_"):
            raise AttributeError(name)
        method = getattr(self._inner, name)

        def call(*args: Any, **options: Any) -> Awaitable[Any]:
            return self._carry(name, method, args, options)

        setattr(self, name, call)
        return call

    def _delay_s(self) -> float:
        share = self._chance.random()
        if share < self._weather.slow_rate:
            return self._chance.random() * 0.4
        return share * share * 0.01

    def _carry(
        self, name: str, method: Callable[..., Any], args: tuple[Any, ...], options: dict[str, Any]
    ) -> asyncio.Future[Any]:
        chance, weather, loop = self._chance, self._weather, self._loop
        answer = loop.create_future()
        takes_effect = reports = True
        late_s = 0.0
        if self._store in weather.away or chance.random() < weather.error_rate:
            reports = False
            fate = chance.random()
            if self._store in weather.away:
                fate *= 1.15
            if fate < 0.25:  # the answer got lost
                pass
            elif fate < 0.4:  # a time-out, and then it happens all the same
                late_s = chance.random() * 2.0
            else:
                takes_effect = False

        def effect() -> None:
            try:
                result = at_once(method(*args, **options))
            except Exception as error:
                if reports:
                    loop.outside(self._delay_s(), _settle, answer, None, error)
                return
            self._seen(name, args, result)
            if reports:
                loop.outside(self._delay_s(), _settle, answer, result, None)

        sent_s = self._delay_s()
        if takes_effect:
            loop.outside(sent_s + late_s, effect)
        if not reports:
            failure = self._failure(f"{self._store}: no answer to {name}")
            loop.outside(sent_s + self._delay_s(), _settle, answer, None, failure)
        return answer


def _settle(answer: asyncio.Future[Any], result: Any, error: Exception | None) -> None:
    if not answer.done():
        if error is None:
            answer.set_result(result)
        else:
            answer.set_exception(error)


class InLoopSandbox:
    """Runs what a worker process would, in the loop, after a seeded time. `instead` maps functions to replacements."""

    def __init__(
        self, loop: SimulatedLoop, chance: random.Random, weather: Weather, instead: Mapping[Any, Any] | None = None
    ) -> None:
        self._loop = loop
        self._chance = chance
        self._weather = weather
        self._instead = instead or {}

    async def run(self, function: Callable[..., Any], *args: Any, timeout_s: float) -> Any:
        """See `Sandbox.run`."""
        share = self._chance.random()
        await asyncio.sleep(share * share * 0.1)
        if self._chance.random() < self._weather.worker_failure_rate:
            raise SandboxFailed("timeout")
        try:
            return self._instead.get(function, function)(*args)
        except Exception as error:
            raise SandboxFailed("raised", type(error).__name__) from error

    async def start(self) -> None:
        """Nothing to begin."""

    async def close(self) -> None:
        """Nothing to end."""
