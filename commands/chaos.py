"""`collab-server chaos`: break a server on purpose while clients write, and see whether it kept what it acknowledged.

Exit code 0 when every acknowledged edit is there, once and whole; 1 when not, or when the run could not go to its end.
"""

from __future__ import annotations

import asyncio
import json
import secrets
import shutil
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

import structlog
import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from chaos.campaign import CLIENT_CUT, Campaign, Plan
from chaos.crew import Crew, Note
from chaos.hocuspocus import Hocuspocus
from chaos.node_crew import NodeCrew
from chaos.own_deployment import OwnDeployment
from chaos.packages import NotInstalled, install_clients, install_peer, node
from chaos.remote import Remote
from chaos.report import Report
from chaos.schedule import SIGKILL, Round, schedule
from chaos.target import Target
from chaos.writer import Address, PythonCrew
from commands.configuration import fail

CACHE = Path(".cache") / "chaos"
OURS, PEER = "ours", "hocuspocus"
ROUNDS, KILL_ROUNDS, PEER_ROUNDS = 13, 60, 12
"""About three minutes of each kind."""
EDITS_PER_S, PEER_EDITS_PER_S = 300.0, 60.0
"""The peer acknowledges when nothing is on the way: who types faster than a round trip takes is never told."""
OUR_KILL_AFTER_S = (0.1, 0.9)
PEER_KILL_AFTER_S = (0.5, 12.0)
"""Anywhere in the 10 s within which the peer stores a document."""


class NotPossible(Exception):
    """A fault was asked for that cannot be made there; the message says which can."""


@dataclass(frozen=True, slots=True)
class Asked:
    """The command line."""

    target: str
    url: str | None
    token: str | None
    document: str | None
    rounds: int | None
    faults: tuple[str, ...]
    seed: int | None
    python: int
    javascript: int
    edits_per_s: float | None
    json: Path | None


def run_chaos(asked: Asked) -> None:
    """Run, print the report, exit with its verdict."""
    if asked.target not in (OURS, PEER) or (asked.target == PEER and asked.url is not None):
        fail(f"--target is {OURS} or {PEER}, or left out with --url")
    if asked.python + asked.javascript == 0:
        fail("nobody writes: give --python or --javascript at least 1")
    structlog.configure(logger_factory=structlog.PrintLoggerFactory(sys.stderr), cache_logger_on_first_use=False)
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(40))  # only what went wrong
    folder = Path(tempfile.mkdtemp(prefix="collab-chaos-"))
    folder.chmod(0o711)  # PostgreSQL is another user where we are root
    try:
        report = asyncio.run(_run(asked, folder))
    except (NotInstalled, NotPossible) as error:
        shutil.rmtree(folder)
        fail(str(error))
    except KeyboardInterrupt:
        shutil.rmtree(folder)
        raise
    out = Console(highlight=False)
    for line in report.lines():
        out.print(line, markup=False, soft_wrap=True)
    if asked.json is not None:
        asked.json.write_text(json.dumps(report.as_json(), indent=2) + "\n")
    if report.is_kept:
        shutil.rmtree(folder)
        return
    if asked.url is None:
        out.print(f"logs and storage are left in {folder}", markup=False, soft_wrap=True)
    raise typer.Exit(1)


async def _run(asked: Asked, folder: Path) -> Report:
    seed = secrets.randbelow(1_000_000) if asked.seed is None else asked.seed
    console = Console(stderr=True, highlight=False)
    console.print(f"seed {seed}: the same seed and options give the same schedule", soft_wrap=True)
    prepared = _Prepared(asked, folder, seed, console)
    target = prepared.target()
    plan = Plan(seed, _rounds(asked, target, seed), document=asked.document)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console, transient=True) as bar:
        task = bar.add_task("starting", total=len(plan.rounds))

        def progress(done: int, what: str) -> None:
            bar.update(task, completed=done, description=what)

        return await Campaign(target, prepared.crews, plan, progress).run()


def _rounds(asked: Asked, target: Target, seed: int) -> tuple[Round, ...]:
    """The schedule, about three minutes of it unless asked otherwise. Raises NotPossible."""
    is_peer = asked.target == PEER
    possible = target.about.faults if is_peer else (*target.about.faults, CLIENT_CUT)
    if missing := set(asked.faults) - set(possible):
        raise NotPossible(f"not possible here: {', '.join(sorted(missing))}; possible: {', '.join(possible)}")
    faults = asked.faults or possible
    rounds = asked.rounds or (PEER_ROUNDS if is_peer else KILL_ROUNDS if set(faults) == {SIGKILL} else ROUNDS)
    return schedule(seed, rounds, faults, kill_after_s=PEER_KILL_AFTER_S if is_peer else OUR_KILL_AFTER_S)


class _Prepared:
    """The parts of a run, with what they need installed."""

    def __init__(self, asked: Asked, folder: Path, seed: int, console: Console) -> None:
        self._asked = asked
        self._folder = folder
        self._seed = seed
        self._node = node() or ""
        self._javascript = asked.javascript
        self._python = asked.python
        if asked.target == PEER:
            console.print("installing Hocuspocus (a few minutes, once)")
            self._packages = install_peer(CACHE)
            self._python, self._javascript = 0, asked.python + asked.javascript  # it speaks another protocol
        elif asked.javascript and not self._node:
            console.print("node and npm are not on PATH: Python clients only", style="yellow")
            self._python, self._javascript = asked.python + asked.javascript, 0
        elif asked.javascript:
            self._packages = install_clients(CACHE)

    def target(self) -> Target:
        asked = self._asked
        if asked.url is not None:
            return Remote(Address(asked.url, asked.token))
        if asked.target == PEER:
            return Hocuspocus(self._folder, self._packages, self._node)
        return OwnDeployment(self._folder)

    def crews(self, address: Address, note: Note) -> list[Crew]:
        each = (self._asked.edits_per_s or (PEER_EDITS_PER_S if self._asked.target == PEER else EDITS_PER_S)) / (
            self._python + self._javascript
        )
        found: list[Crew] = []
        if self._python:
            found.append(PythonCrew(tuple(range(1, self._python + 1)), address, self._seed, each, note))
        if self._javascript:
            kind = PEER if self._asked.target == PEER else "y-websocket"
            numbers = tuple(range(self._python + 1, self._python + self._javascript + 1))
            found.append(NodeCrew(kind, self._packages, self._node, numbers, address, self._seed, each, note))
        return found
