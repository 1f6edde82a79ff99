"""Readiness: what the last round of pings found, told at once however long a dependency takes."""

from __future__ import annotations

import asyncio

import pytest

from collab_server import health as module
from collab_server.health import Health
from collab_server.telemetry import Metrics


class Dependency:
    """Answers, fails or hangs."""

    def __init__(self) -> None:
        self.failure: Exception | None = None
        self.hangs = False
        self.pings = 0

    async def ping(self) -> None:
        self.pings += 1
        if self.hangs:
            await asyncio.Event().wait()
        if self.failure is not None:
            raise self.failure


class Watched:
    """A database and a bus, and what is said of them."""

    def __init__(self) -> None:
        self.database, self.bus = Dependency(), Dependency()
        self.metrics = Metrics()
        self.health = Health({"database": self.database.ping, "bus": self.bus.ping}, self.metrics)

    def up(self, name: str) -> float | None:
        return self.metrics.registry.get_sample_value("collab_dependency_up", {"name": name})


@pytest.fixture
def watched() -> Watched:
    return Watched()


async def test_nothing_is_ready_before_the_first_round(watched: Watched) -> None:
    assert not watched.health.is_ready()
    assert watched.health.report() == {}
    await watched.health.check()
    assert watched.health.is_ready()


async def test_a_dependency_that_fails_is_named_with_its_error_and_nothing_secret(watched: Watched) -> None:
    watched.database.failure = ConnectionRefusedError("postgresql://user:hunter2@db")
    await watched.health.check()
    assert not watched.health.is_ready()
    report = watched.health.report()
    assert (report["database"]["ok"], report["database"]["error"]) == (False, "ConnectionRefusedError")
    assert report["bus"]["ok"]
    assert "error" not in report["bus"]
    assert "hunter2" not in str(report)
    assert (watched.up("database"), watched.up("bus")) == (0, 1)


async def test_one_that_is_back_is_ready_again(watched: Watched) -> None:
    watched.bus.failure = OSError()
    await watched.health.check()
    watched.bus.failure = None
    await watched.health.check()
    assert watched.health.is_ready()
    assert watched.up("bus") == 1


async def test_one_that_hangs_counts_as_away_and_holds_up_nobody(
    watched: Watched, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "TIMEOUT_S", 0.05)
    watched.database.hangs = True
    async with asyncio.timeout(10):
        await watched.health.check()
    assert watched.health.report()["database"]["error"] == "TimeoutError"
    assert watched.health.report()["bus"]["ok"]


async def test_since_tells_how_long_a_state_has_lasted(watched: Watched) -> None:
    await watched.health.check()
    first = watched.health.states["database"]
    await watched.health.check()
    second = watched.health.states["database"]
    assert second.since == first.since
    assert second.at > first.at
    watched.database.failure = OSError()
    await watched.health.check()
    assert watched.health.states["database"].since > first.since


async def test_an_old_answer_says_nothing_any_more(watched: Watched, monkeypatch: pytest.MonkeyPatch) -> None:
    await watched.health.check()
    monkeypatch.setattr(module, "STALE_AFTER_S", 0.0)
    assert not watched.health.is_ready()


async def test_watching_goes_on_through_failures(watched: Watched, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "EVERY_S", 0.001)
    watched.database.failure = OSError()
    watching = asyncio.create_task(watched.health.watch())
    async with asyncio.timeout(10):
        while watched.database.pings < 3:  # noqa: ASYNC110 - what is waited for has no event
            await asyncio.sleep(0.001)
    assert not watching.done()
    watching.cancel()
    await asyncio.wait([watching])
