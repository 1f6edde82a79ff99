"""Run one load scenario against a server, write Locust's HTML report, and fail when a threshold is missed.

    python -m loadtests.run ws://127.0.0.1:8081/ws --scenario classroom --token T --html report.html

Exit code 0: good; 1: a threshold was missed, each in one sentence; 2: it could not be run. It ends by itself: the
generator is another process, so gevent's patches stay there, and it is ended when it outlives the scenario. Called by
`make load`.
"""

import argparse
import json
import signal
import socket
import subprocess
import sys
import tempfile
import threading
from dataclasses import replace
from pathlib import Path
from urllib.parse import urlsplit

from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.table import Table

from loadtests.scenarios import SCENARIOS, Scenario, ScenarioRefused, load_scenario
from loadtests.thresholds import EDIT_TO_PEER, KEYSTROKE, Outcome, shortfalls

ROOT = Path(__file__).resolve().parents[1]
STOP_TIMEOUT_S = 20  # above locustfile's SETTLE_S: members compare their text before they leave
OVERTIME_S = 40  # starting Python, stopping the users, writing the report
CONNECT_TIMEOUT_S = 5.0
QUIET_S = 10  # a log without a terminal gets one line so often


class NotRun(Exception):
    """The scenario could not be run at all; the message says why and what to do."""


def options(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m loadtests.run", description="Load a collaboration server.")
    parser.add_argument("url", nargs="?", default="ws://127.0.0.1:8081/ws", help="ws://HOST:PORT/ws (%(default)s)")
    parser.add_argument("--scenario", default="smoke", help="a table of scenarios.toml (%(default)s)")
    parser.add_argument("--scenarios", type=Path, default=SCENARIOS, help="another scenarios.toml")
    parser.add_argument("--users", type=int, help="instead of the scenario's")
    parser.add_argument("--spawn-per-s", type=float, help="instead of the scenario's")
    parser.add_argument("--duration-s", type=float, help="instead of the scenario's")
    parser.add_argument("--token", help="one JWT for everybody; it needs a grant for load-* or all documents")
    parser.add_argument("--tokens", type=Path, help="a file with one JWT a line, dealt out in turn")
    parser.add_argument("--html", type=Path, default=Path("load-report.html"), help="the report (%(default)s)")
    return parser.parse_args(arguments)


def chosen_scenario(chosen: argparse.Namespace) -> Scenario:
    """The scenario with what the command line says instead: fewer users owe fewer keystrokes.

    Raises ScenarioRefused.
    """
    scenario = load_scenario(chosen.scenario, chosen.scenarios)
    users = scenario.users if chosen.users is None else chosen.users
    owed = scenario.thresholds.min_keystrokes_per_s * users / scenario.users
    return replace(
        scenario,
        users=users,
        spawn_per_s=chosen.spawn_per_s or scenario.spawn_per_s,
        duration_s=chosen.duration_s or scenario.duration_s,
        thresholds=replace(scenario.thresholds, min_keystrokes_per_s=owed),
    )


def must_answer(url: str) -> None:
    """Raises NotRun where nothing listens at `url`: otherwise the report would only be a list of refusals."""
    parts = urlsplit(url)
    if parts.scheme not in ("ws", "wss") or parts.hostname is None:
        raise NotRun(f"{url} is not a WebSocket address; it looks like ws://HOST:PORT/ws")
    address = (parts.hostname, parts.port or (443 if parts.scheme == "wss" else 80))
    try:
        socket.create_connection(address, CONNECT_TIMEOUT_S).close()
    except OSError as error:
        raise NotRun(f"no server answers at {url} ({error}); start one with `make run`") from error


def locust_command(chosen: argparse.Namespace, scenario: Scenario, tokens: Path | None, outcome: Path) -> list[str]:
    command = [sys.executable, "-m", "locust", "-f", "loadtests/locustfile.py", "--headless", "--only-summary"]
    command += ["--loglevel", "WARNING", "--host", chosen.url.rstrip("/"), "--html", str(chosen.html.resolve())]
    command += ["--users", str(scenario.users), "--spawn-rate", str(scenario.spawn_per_s)]
    command += ["--run-time", f"{scenario.duration_s:.0f}s", "--stop-timeout", str(STOP_TIMEOUT_S)]
    command += ["--scenario", chosen.scenario, "--scenarios", str(chosen.scenarios.resolve())]
    command += ["--outcome", str(outcome)]
    return command if tokens is None else [*command, "--tokens", str(tokens)]


def generate(command: list[str], scenario: Scenario, console: Console, log: Path) -> None:
    """Run locust to its end, showing its progress. Raises NotRun where it does not end by itself."""
    columns = (SpinnerColumn(), BarColumn(), TimeElapsedColumn(), TextColumn("{task.description}"))
    with (
        log.open("w") as errors,
        Progress(*columns, console=console) as progress,
        subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=errors, text=True) as locust,
    ):
        assert locust.stdout is not None
        bar = progress.add_task("starting", total=scenario.duration_s)
        deadline = threading.Timer(scenario.duration_s + OVERTIME_S, locust.kill)
        deadline.start()
        seconds = 0
        for line in locust.stdout:
            if line.startswith("{"):  # the rest is locust's own summary; the report has it
                state = describe(json.loads(line))
                progress.update(bar, advance=1, description=state)
                seconds += 1
                if not console.is_terminal and seconds % QUIET_S == 0:
                    console.print(f"{seconds} s: {state}", markup=False)
        deadline.cancel()
    if locust.returncode == -signal.SIGKILL:
        raise NotRun(f"the load generator did not end within {OVERTIME_S} s after the scenario, and was ended")


def describe(row: dict[str, object]) -> str:
    outcome = Outcome.from_json(row["outcome"])  # type: ignore[arg-type]
    typed, seen = outcome.measured.get(KEYSTROKE), outcome.measured.get(EDIT_TO_PEER)
    rate = 0.0 if typed is None else typed.per_s
    p95 = "-" if seen is None or seen.p95_ms is None else f"{seen.p95_ms:g} ms"
    failures = sum(measured.failures for measured in outcome.measured.values())
    return f"{row['users']} users, {rate:.0f} keystrokes/s, edit to peer p95 {p95}, {failures} errors"


def summary(outcome: Outcome) -> Table:
    table = Table("", "requests", "failed", "p50 ms", "p95 ms", "per s")
    for name, row in sorted(outcome.measured.items()):
        times = ("-" if value is None else f"{value:g}" for value in (row.p50_ms, row.p95_ms))
        table.add_row(name, str(row.requests), str(row.failures), *times, f"{row.per_s:.1f}")
    return table


def measure(chosen: argparse.Namespace, scenario: Scenario, console: Console) -> Outcome:
    """Raises NotRun."""
    must_answer(chosen.url)
    with tempfile.TemporaryDirectory() as folder:
        outcome, log, tokens = Path(folder, "outcome.json"), Path(folder, "locust.log"), chosen.tokens
        if chosen.token is not None:  # a file only we can read: arguments are visible to everyone on the machine
            tokens = Path(folder, "tokens")
            tokens.write_text(chosen.token)
        generate(locust_command(chosen, scenario, tokens, outcome), scenario, console, log)
        if not outcome.exists():
            raise NotRun(f"the load generator broke:\n{log.read_text()[-2000:]}")
        return Outcome.from_json(json.loads(outcome.read_text()))


def main(arguments: list[str] | None = None) -> int:
    """Run what `arguments` ask for (by default the command line's); returns the exit code."""
    chosen, console = options(arguments), Console()
    try:
        scenario = chosen_scenario(chosen)
        outcome = measure(chosen, scenario, console)
    except (ScenarioRefused, NotRun) as error:
        console.print(str(error), markup=False)
        return 2
    console.print(summary(outcome), f"Report: {chosen.html}")
    missed = shortfalls(outcome, scenario.thresholds)
    for sentence in missed:
        console.print(f"Missed: {sentence}", markup=False)
    if not missed:
        console.print("All thresholds met.")
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
