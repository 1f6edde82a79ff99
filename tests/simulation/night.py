"""Many worlds on all cores: what `make simulate` runs.

In a module of its own because workers import it by its name.
"""

from __future__ import annotations

import multiprocessing
import time
from collections.abc import Iterator
from functools import partial

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from tests.simulation.cluster import ClusterWorld
from tests.simulation.world import REAL, Failed, Outcome, World, simulate

KINDS: dict[str, type[World]] = {"storage": World, "cluster": ClusterWorld}

CHUNK = 20  # worlds a worker is given at a time: half a second
TELL_EVERY = 1_000  # worlds, where there is no terminal for a bar
Sums = tuple[int, int, int, int]  # worlds, steps, rows, generations


def run(kind: str, seeds: range, jobs: int) -> Sums | int:
    """The sums over all worlds of that kind, or the first seed of one that broke a promise."""
    began = time.monotonic()
    columns = (
        TextColumn("worlds"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[rate]}"),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    sums: Sums = (0, 0, 0, 0)
    console = Console(stderr=True)
    with Progress(*columns, console=console) as progress, multiprocessing.get_context("spawn").Pool(jobs) as workers:
        bar = progress.add_task("worlds", total=len(seeds), rate="")
        for outcome in workers.imap_unordered(partial(chunk, kind), _chunks(seeds)):
            if isinstance(outcome, int):
                return outcome
            sums = _added(sums, outcome)
            rate = f"{sums[1] / (time.monotonic() - began):,.0f} steps/s"
            progress.update(bar, completed=sums[0], rate=rate)
            if not console.is_terminal and sums[0] % TELL_EVERY == 0:
                console.print(f"{sums[0]:,} worlds, {rate}")
    return sums


def chunk(kind: str, seeds: range) -> Sums | int:
    """The same for a few worlds in this process."""
    sums: Sums = (0, 0, 0, 0)
    for seed in seeds:
        try:
            outcome: Outcome = simulate(seed, REAL, KINDS[kind])
        except Failed:
            return seed
        sums = _added(sums, (1, outcome.steps, outcome.rows, outcome.generations))
    return sums


def _added(one: Sums, other: Sums) -> Sums:
    return one[0] + other[0], one[1] + other[1], one[2] + other[2], one[3] + other[3]


def _chunks(seeds: range) -> Iterator[range]:
    for start in range(0, len(seeds), CHUNK):
        yield seeds[start : start + CHUNK]
