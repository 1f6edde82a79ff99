"""The tables: one a scenario, a column a server, and ours divided by each peer's. Called by `__main__`."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from pathlib import Path

from rich.console import Console
from rich.table import Table

from bench.machine import description
from bench.peers.measured import DISTURBED, KEEPS_UP, SATURATED, Measured
from bench.peers.plans import ACROSS, TOGETHER, Scenario
from bench.peers.servers import OURS

FIGURES: dict[str, tuple[str, str]] = {
    "cpu_us_delivery": ("CPU µs/delivery", ".2f"),
    "cpu_us_update": ("CPU µs/update", ".0f"),
    "p50_ms": ("p50 ms", ".2f"),
    "p95_ms": ("p95 ms", ".1f"),
    "p99_ms": ("p99 ms", ".1f"),
    "delivered_share": ("delivered", ".0%"),
    "frames_per_delivery": ("frames/delivery", ".2f"),
    "rss_kb_connection": ("RSS KiB/connection", ".1f"),
    "idle_cpu_us_connection_s": ("idle CPU µs/connection/s", ".1f"),
    "join_cpu_ms": ("CPU ms/join", ".2f"),
    "join_p50_ms": ("join p50 ms", ".0f"),
    "join_p99_ms": ("join p99 ms", ".0f"),
    "stall_same_room_ms": ("longest stall ms, same room", ".0f"),
    "stall_other_room_ms": ("longest stall ms, other room", ".0f"),
    "connects_per_s": ("connects/s", ".0f"),
    "rss_mb": ("RSS MiB", ".0f"),
    "server_share": ("server core", ".0%"),
    "beside_share": ("beside", ".0%"),
    "generator_share": ("generator", ".0%"),
}
COMPARED = ("cpu_us_delivery", "join_cpu_ms", "rss_kb_connection")
"""What the ratio and the picture are of: the first of these that a scenario has."""


def compared(row: Measured) -> str:
    """The figure of `row` that servers are compared by."""
    return next(name for name in COMPARED if getattr(row, name) is not None)


def remarks(row: Measured) -> str:
    """What a reader must know before reading the row."""
    found = []
    if row.delivered_share == 0:
        found.append("delivered nothing: costs are lower bounds")
    if row.is_generator_bound:
        found.append("generator at its limit")
    if row.server_share >= SATURATED:
        found.append("saturated")
    elif row.delivered_share is not None and row.delivered_share < KEEPS_UP:
        found.append("fell behind")
    if max(row.others_on_server_core, row.others_on_generator_core) > DISTURBED:
        found.append(
            f"disturbed: other processes took {row.others_on_server_core:.0%} of the server's core, "
            f"{row.others_on_generator_core:.0%} of the generator's"
        )
    if row.unseen_share:
        found.append(f"{row.unseen_share:.1%} not seen: latencies are lower bounds")
    if row.late_p99_ms > 20:
        found.append(f"sent up to {row.late_p99_ms:.0f} ms late")
    if row.lost:
        found.append(f"{row.lost:.0f} connections lost")
    return "; ".join(found)


def ratio(rows: Sequence[Measured], row: Measured) -> str:
    """Ours divided by this peer's: below 1 we are cheaper."""
    ours = next((one for one in rows if one.server == OURS), None)
    if ours is None or row is ours:
        return ""
    name = compared(row)
    theirs = getattr(row, name)
    return f"{getattr(ours, name) / theirs:.2f}" if theirs else ""


def cells(rows: Sequence[Measured]) -> list[list[str]]:
    """The table as text, a line a figure, only those that the scenario has; the first line names the servers."""
    names = [name for name in FIGURES if any(getattr(row, name) is not None for row in rows)]
    return [
        ["", *(row.server for row in rows)],
        *([FIGURES[name][0], *(_cell(row, name) for row in rows)] for name in names),
        [f"ours/peer, {FIGURES[compared(rows[0])][0]}", *(ratio(rows, row) for row in rows)],
        *([["remarks", *map(remarks, rows)]] if any(map(remarks, rows)) else []),
    ]


def _cell(row: Measured, name: str) -> str:
    value = getattr(row, name)
    return "" if value is None else format(value, FIGURES[name][1])


def hops(rows: Sequence[Measured]) -> list[str]:
    """What it adds to p50 that the other member is on another task, a sentence for each server measured in both."""
    p50s = {(row.scenario, row.server): row.p50_ms for row in rows if row.p50_ms is not None}
    return [
        f"{server}: the hop between tasks adds {p50 - p50s[TOGETHER, server]:.1f} ms to p50"
        for (letter, server), p50 in p50s.items()
        if letter == ACROSS and (TOGETHER, server) in p50s
    ]


def show(console: Console, scenario: Scenario, rows: Sequence[Measured]) -> None:
    """Print the table of one scenario."""
    headings, *lines = cells(rows)
    table = Table(*headings, title=f"{scenario.letter} · {scenario.title}")
    for line in lines:
        table.add_row(*line)
    console.print(table)


def markdown(scenario: Scenario, rows: Sequence[Measured]) -> str:
    """The same for a page."""
    headings, *body = cells(rows)
    lines = [headings, ["---"] * len(headings), *body]
    return (
        f"**{scenario.letter}** · {scenario.title}\n\n" + "\n".join(f"| {' | '.join(line)} |" for line in lines) + "\n"
    )


def write_json(path: Path, runs: Iterable[Measured], medians: Iterable[Measured]) -> None:
    """Every run and the medians, for other programs."""
    content = {
        "machine": description(),
        "medians": [row.figures() for row in medians],
        "runs": [row.figures() for row in runs],
    }
    path.write_text(json.dumps(content, indent=1) + "\n")
