"""Run the scenarios against the servers, print the tables.

    python -m bench.peers --scenario a,c --server ours,y-websocket --runs 3 --json out.json --svg out.svg

Everything it starts is ended by its id, on Ctrl-C too. A run that cannot be done is said so and left out.
"""

from __future__ import annotations

import argparse
import os
import resource
import signal
import sys
import time
from dataclasses import replace
from pathlib import Path

import uvloop
from rich.console import Console

from bench.peers import joins, load, report
from bench.peers.install import NotInstalled
from bench.peers.measured import Measured, median
from bench.peers.member import Lost
from bench.peers.pairs import PAIRS
from bench.peers.picture import svg
from bench.peers.plans import MEASURED_S, SCENARIOS, WARM_UP_S, Plan, Scenario
from bench.peers.servers import SERVERS, prepare
from bench.peers.usage import cores


def options(arguments: list[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m bench.peers", description="The same load against several servers.")
    parser.add_argument("--scenario", default=",".join(SCENARIOS), help="letters, by comma (%(default)s)")
    parser.add_argument("--server", default=",".join(SERVERS), help="names, by comma (%(default)s)")
    parser.add_argument("--runs", type=int, default=3, help="of which the median is shown (%(default)s)")
    parser.add_argument("--seconds", type=float, default=MEASURED_S, help="measured in each run (%(default)s)")
    parser.add_argument("--warm-up", type=float, default=WARM_UP_S, help="seconds before that (%(default)s)")
    parser.add_argument("--json", type=Path, help="write every run there")
    parser.add_argument("--svg", type=Path, help="draw the medians there")
    parser.add_argument("--markdown", type=Path, help="write the tables there")
    chosen = parser.parse_args(arguments)
    chosen.scenario, chosen.server = chosen.scenario.split(","), chosen.server.split(",")
    for given, known in ((chosen.scenario, SCENARIOS), (chosen.server, SERVERS)):
        if unknown := set(given) - set(known):
            parser.error(f"unknown: {', '.join(sorted(unknown))}; there are {', '.join(known)}")
    return chosen


def main() -> None:
    """Measure and print."""
    chosen = options()
    console = Console()
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # as Ctrl-C: servers are ended on the way out
    resource.setrlimit(resource.RLIMIT_NOFILE, (resource.getrlimit(resource.RLIMIT_NOFILE)[1],) * 2)
    try:
        console.print("installing the peers …", style="dim")
        prepare(chosen.server)
    except NotInstalled as error:
        console.print(str(error), style="red", markup=False)
        sys.exit(2)
    pair = cores()
    if pair is None:
        console.print("one core only: server and load share it, so no latency below means anything", style="yellow")
    else:
        os.sched_setaffinity(0, {pair[1]})
    runs: list[Measured] = []
    medians: list[Measured] = []
    try:
        for letter in chosen.scenario:
            scenario = SCENARIOS[letter]
            plan = scenario.plan(chosen.warm_up, chosen.seconds)
            rows = _measure(console, scenario, plan, chosen, pair)
            runs += rows
            shown = [median(some) for name in chosen.server if (some := [row for row in rows if row.server == name])]
            medians += shown
            if shown:
                report.show(console, scenario, shown)
        for line in report.hops(medians):
            console.print(line)
    except KeyboardInterrupt:
        console.print("stopped; the scenarios that were done are written", style="yellow")
        sys.exit(130)
    finally:
        _write(chosen, runs, medians)


def _measure(
    console: Console, scenario: Scenario, plan: Plan, chosen: argparse.Namespace, pair: tuple[int, int] | None
) -> list[Measured]:
    """All runs of one scenario: every server once, then every server again, so that a slow minute hits them alike."""
    rows = []
    able = [name for name in chosen.server if not plan.tasks or name in PAIRS]
    for number in range(chosen.runs):
        for name in able:
            began = time.monotonic()
            try:
                row = one_run(name, scenario.letter, plan, pair)
            except (Lost, TimeoutError, ExceptionGroup, RuntimeError, OSError) as error:
                console.print(f"{scenario.letter} {name}: {_first(error)}", style="red", markup=False)
                continue
            rows.append(row)
            main_figure = report.compared(row)
            console.print(
                f"{scenario.letter} run {number + 1}/{chosen.runs} {name}: {report.FIGURES[main_figure][0]} "
                f"{getattr(row, main_figure):.2f}, generator {row.generator_share:.0%}, "
                f"{time.monotonic() - began:.0f} s",
                style="dim",
            )
    return rows


def one_run(name: str, letter: str, plan: Plan, pair: tuple[int, int] | None) -> Measured:
    """Start a server, play `plan` against it, and end it."""
    with (PAIRS if plan.tasks else SERVERS)[name]() as started:
        server = replace(started, cores=pair)
        server.pin()
        play = joins.run if plan.joins else load.run
        return uvloop.run(play(server, letter, plan))


def _first(error: BaseException) -> str:
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return f"{type(error).__name__}: {error}"


def _write(chosen: argparse.Namespace, runs: list[Measured], medians: list[Measured]) -> None:
    if chosen.json:
        report.write_json(chosen.json, runs, medians)
    if chosen.svg and medians:
        chosen.svg.write_text(svg(medians))
    if chosen.markdown:
        tables = [
            report.markdown(SCENARIOS[letter], [row for row in medians if row.scenario == letter])
            for letter in dict.fromkeys(row.scenario for row in medians)
        ]
        chosen.markdown.write_text("\n".join([*tables, *report.hops(medians)]))


if __name__ == "__main__":
    main()
