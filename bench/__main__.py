"""Print what one update costs: each step alone, compared with the committed baseline, then the whole stack.

`--save-baseline` makes this run the baseline; `--steps` leaves the whole stack out.
"""

from __future__ import annotations

import argparse
import asyncio

from rich.console import Console
from rich.table import Table

from bench import machine, micro, room_steps, stack
from bench.baseline import WORTH_A_LOOK, Baseline

PASSES = 3
"""Seconds apart, since what disturbs a step often disturbs all its rounds."""


def measured_steps() -> Baseline:
    """The least of each step over some passes, and of the calibration between them."""
    calibration, steps = machine.calibration_us(), dict[str, float]()
    for _ in range(PASSES):
        for name, cost in (micro.measure() | asyncio.run(room_steps.measure())).items():
            steps[name] = min(cost, steps.get(name, cost))
        calibration = min(calibration, machine.calibration_us())
    return Baseline(machine.description(), calibration, steps)


def steps_table(now: Baseline, committed: Baseline | None) -> Table:
    """µs a step, and how that compares."""
    table = Table("step of a one-character update", "µs", title="in one process, best of several rounds")
    if committed is None:
        for name, cost in now.steps_us.items():
            table.add_row(name, f"{cost:.2f}")
        return table
    table.add_column("baseline µs")
    table.add_column("ratio, normalised")
    table.caption = f"baseline: {committed.machine}; this machine takes {committed.hour(now):.2f} times as long now"
    for name, cost in now.steps_us.items():
        ratio = committed.ratio(name, now)
        mark = " ←" if ratio is not None and ratio > WORTH_A_LOOK else ""
        shown = "new" if ratio is None else f"{ratio:.2f}{mark}"
        table.add_row(name, f"{cost:.2f}", f"{committed.steps_us.get(name, 0.0):.2f}", shown)
    return table


def stack_table(results: list[stack.Result]) -> Table:
    """What an update costs through a server process."""
    table = Table(
        "updates/s asked", "sent", "server CPU µs/update", "p50 ms", "p99 ms", title="one room, two members, durable"
    )
    for result in results:
        table.add_row(
            f"{result.asked_per_s}",
            f"{result.sent_per_s:.0f}",
            f"{result.cpu_us:.0f}",
            f"{result.p50_ms:.2f}",
            f"{result.p99_ms:.2f}",
        )
    return table


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="python -m bench", description="What one update costs.")
    parser.add_argument(
        "--save-baseline", action="store_true", help="write the steps of this run to bench/baseline.json"
    )
    parser.add_argument("--steps", action="store_true", help="the steps only, not the whole stack")
    chosen = parser.parse_args()
    console = Console()
    with console.status("each step alone …"):
        now = measured_steps()
    console.print(steps_table(now, Baseline.load()))
    if chosen.save_baseline:
        now.save()
    if chosen.steps or chosen.save_baseline:
        return
    with console.status("the whole stack …"):
        results = asyncio.run(stack.measure())
    console.print(stack_table(results))


if __name__ == "__main__":
    main()
