"""Print what one update costs: each step alone, then the whole stack."""

from __future__ import annotations

import asyncio

from rich.console import Console
from rich.table import Table

from bench import micro, stack


def main() -> None:
    """Measure and print."""
    console = Console()
    with console.status("each step alone …"):
        steps = micro.measure()
    table = Table("step of a one-character update", "µs", title="in one process, best of several rounds")
    for name, cost in steps.items():
        table.add_row(name, f"{cost:.2f}")
    console.print(table)
    with console.status("the whole stack …"):
        results = asyncio.run(stack.measure())
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
    console.print(table)


if __name__ == "__main__":
    main()
