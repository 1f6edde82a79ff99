"""F08, F22, F23: two tasks, a few people and all kinds of weather, in more interleavings than anyone can think of."""

from __future__ import annotations

import asyncio
import os
import random
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.simulation.loop import RanAway, SimulatedLoop
from tests.simulation.world import simulate

ROOT = Path(__file__).parents[2]
BUDGET_S = 4.0  # of this process's CPU; the night takes more (`make simulate`)
LONGEST_S = 40.0  # on a machine with much else to do
FEWEST_WORLDS = 20


def test_no_promise_is_broken_in_any_world() -> None:
    until, at_last = time.process_time() + BUDGET_S, time.monotonic() + LONGEST_S
    seed = steps = generations = 0
    while (time.process_time() < until and time.monotonic() < at_last) or seed < FEWEST_WORLDS:
        outcome = simulate(seed)
        seed, steps, generations = seed + 1, steps + outcome.steps, generations + outcome.generations
    assert steps > 100 * seed, "worlds in which next to nothing happens prove nothing"
    assert generations > 2 * seed


def test_a_seed_gives_the_same_world_in_every_process() -> None:
    told = {
        subprocess.run(
            [sys.executable, "-m", "tests.simulation", "--seed", "4"],
            cwd=ROOT,
            env=os.environ | {"PYTHONHASHSEED": hash_seed},
            check=True,
            capture_output=True,
            text=True,
        ).stdout
        for hash_seed in ("1", "2")
    }
    assert len(told) == 1
    assert simulate(4).print in told.pop()


def test_two_seeds_give_two_worlds() -> None:
    assert simulate(1).print != simulate(2).print


# The loop itself


def test_time_passes_only_when_nobody_has_anything_to_do() -> None:
    loop = SimulatedLoop(random.Random(1))
    began = time.monotonic()
    loop.run(asyncio.sleep(3600))
    assert 3600 < loop.now < 3601
    assert time.monotonic() - began < 60


def test_processes_take_turns_in_an_order_the_seed_decides() -> None:
    def order(seed: int) -> str:
        loop, seen = SimulatedLoop(random.Random(seed)), []

        async def count(name: str) -> None:
            for _ in range(5):
                seen.append(name)
                await asyncio.sleep(0)

        async def main() -> None:
            await asyncio.gather(
                *(loop.create_task(count(name), context=loop.add(name).context()) for name in ("a", "b"))
            )

        loop.run(main())
        return "".join(seen)

    assert order(1) == order(1)
    assert len({order(seed) for seed in range(20)}) > 10


def test_a_killed_process_never_runs_again_and_a_frozen_one_goes_on() -> None:
    loop, seen = SimulatedLoop(random.Random(1)), []
    killed, frozen = loop.add("killed"), loop.add("frozen")

    async def count(name: str) -> None:
        try:
            while True:
                seen.append(name)
                await asyncio.sleep(1)
        finally:
            seen.append(f"{name} was cleaned up")

    async def main() -> None:
        for process in (killed, frozen):
            loop.create_task(count(process.name), context=process.context())
        await asyncio.sleep(1.5)
        loop.kill(killed)
        frozen.frozen = True
        await asyncio.sleep(5)
        assert seen == ["killed", "frozen"] * 2 or sorted(seen) == ["frozen", "frozen", "killed", "killed"]
        frozen.frozen = False
        await asyncio.sleep(2)
        assert seen.count("killed") == 2
        assert seen.count("frozen") > 2
        assert not any("cleaned" in name for name in seen)

    loop.run(main())


def test_a_world_that_waits_for_nothing_is_told() -> None:
    loop = SimulatedLoop(random.Random(1))
    with pytest.raises(RanAway, match="never happen"):
        loop.run(asyncio.Event().wait())
