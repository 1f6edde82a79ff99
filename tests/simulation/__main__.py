"""`make simulate SEEDS=100000`: many worlds, on all cores, with a progress bar.

Ends at the first broken promise: prints everything that happened in that world, what was broken, and its seed. The same
seed gives the same world again: `make simulate SEED=4711`. KIND=cluster has up to four tasks on a bus that fails.
"""

from __future__ import annotations

import argparse
import os
import sys
import time

from tests.simulation import night
from tests.simulation.world import REAL, Failed, simulate


def main() -> int:
    """The exit status: 1 when a promise was broken."""
    parser = argparse.ArgumentParser(prog="python -m tests.simulation", description="Many seeded worlds of some tasks.")
    parser.add_argument("--seeds", type=int, default=10_000, help="how many worlds")
    parser.add_argument("--first", type=int, default=0, help="the first seed")
    parser.add_argument("--seed", type=int, help="one world, with everything that happens in it")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="processes")
    parser.add_argument("--kind", choices=night.KINDS, default="storage", help="what goes wrong most: stores or bus")
    options = parser.parse_args()
    if options.seed is not None:
        return show(options.kind, options.seed)
    began = time.monotonic()
    outcome = night.run(options.kind, range(options.first, options.first + options.seeds), options.jobs)
    if isinstance(outcome, int):
        return show(options.kind, outcome)
    worlds, steps, rows, generations = outcome
    took_s = time.monotonic() - began
    print(f"{worlds:,} worlds in {took_s:,.0f} s ({steps / took_s:,.0f} steps a second), no promise broken")
    print(f"{steps:,} steps, {rows:,} rows, {generations:,} generations")
    return 0


def show(kind: str, seed: int) -> int:
    """One world with all that happens in it; 1 when a promise is broken."""
    try:
        outcome = simulate(seed, REAL, night.KINDS[kind])
    except Failed as failure:
        print("\n".join(failure.trace))
        print(failure)
        print(f"the same world again: make simulate KIND={kind} SEED={seed}")
        return 1
    print("\n".join(outcome.trace))
    print(f"seed {seed}: {outcome.steps} steps, {outcome.simulated_s:.1f} s of its time, print {outcome.print}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
