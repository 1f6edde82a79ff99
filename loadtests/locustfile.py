"""People who write: each joins a room, types at a human pace, moves the caret and times what the others write.

Run by run.py, or by hand with all of Locust's own options:

    python -m locust -f loadtests/locustfile.py --host ws://127.0.0.1:8081/ws --scenario smoke

Request names: `connect` (TCP, upgrade, authentication), `first sync` (until the document is here), `keystroke` (handing
one to the socket), `edit to peer` (a whole word, from its author's keystroke until another member's replica holds it)
and `room converged` (at the end: all members hold the same text). Locust patches the standard library for gevent: never
import this module from anything but locust.
"""

# mypy: disable-error-code="untyped-decorator"
# Locust types none of its event hooks.

import itertools
import json
import random
import time
import uuid
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import gevent  # type: ignore[import-untyped]
import websocket
from locust import User, events, runners, task
from locust.argument_parser import LocustArgumentParser
from locust.env import Environment
from locust.exception import StopUser

from loadtests.member import Member, Refused
from loadtests.rooms import Room, Seating
from loadtests.scenarios import SCENARIOS, load_scenario
from loadtests.thresholds import CONVERGED, EDIT_TO_PEER, KEYSTROKE, Measured, Outcome

WORDS = ("scene", "the", "she", "opens", "a", "door", "and", "finds", "another", "draft", "of", "this", "line")
TYPO_RATIO = 0.05
JUMP_RATIO = 0.03  # of words: people mostly write on where they are
RECONNECT_S = 1.0
SETTLE_S = 10.0
"""How long members wait for each other at the end; five seconds is the promise, the rest is spawning order."""

CONNECTION_ERRORS = (Refused, OSError, websocket.WebSocketException)


class EditLost(Exception):
    """A word was written and no peer saw it in time."""


class Diverged(Exception):
    """Members of one room hold different text."""


@events.init_command_line_parser.add_listener
def _add_options(parser: LocustArgumentParser) -> None:
    parser.add_argument("--scenario", default="smoke", help="a table of scenarios.toml")
    parser.add_argument("--scenarios", default=str(SCENARIOS), help="another scenarios.toml")
    parser.add_argument("--tokens", default="", help="a file with one JWT a line, dealt out in turn")
    parser.add_argument("--outcome", default="", help="where to write what was measured, as JSON")


@events.init.add_listener
def _prepare(environment: Environment, **_: Any) -> None:
    options = environment.parsed_options
    assert options is not None
    Author.scenario = load_scenario(options.scenario, Path(options.scenarios))
    Author.seating = Seating(uuid.uuid4().hex[:8], Author.scenario.members_per_room)
    tokens = Path(options.tokens).read_text().split() if options.tokens else [None]
    Author.tokens = itertools.cycle(tokens)


class Author(User):
    """One person at a keyboard. Its greenlet types; a second one reads."""

    scenario = load_scenario("smoke")
    seating = Seating("unused", scenario.members_per_room)
    tokens: Iterator[str | None] = itertools.repeat(None)

    room: Room
    seat: int
    member: Member

    def wait_time(self) -> float:
        """Keystrokes come in bursts with pauses: exponential, but nobody pauses for minutes."""
        rate = self.scenario.keystrokes_per_s + self.scenario.cursor_moves_per_s
        return min(random.expovariate(rate), 5 / rate)

    def on_start(self) -> None:
        self.room, self.seat = self.seating.take()
        self.member = Member(f"{self.host}/{self.room.name}", next(self.tokens), f"author {self.seat}")
        self._word = ""
        self._written = 0
        self._stopping = False
        self._join()
        self._reader = gevent.spawn(self._read)
        self.room.texts[self.seat] = self.member.text

    def on_stop(self) -> None:
        """Wait for the room to come to rest, let one member compare, leave."""
        self.room.stopped += 1
        with gevent.Timeout(SETTLE_S, False):
            while not (self.room.everyone_stopped and self.room.in_agreement):
                gevent.sleep(0.05)
        if self.seat == 0 and self.room.texts:
            agreed = self.room.in_agreement
            self._report(CONVERGED, None, None if agreed else Diverged(f"{len(self.room.texts)} members differ"))
        self._stopping = True
        if hasattr(self, "_reader"):
            self._reader.kill()
        self.member.close()

    @task
    def act(self) -> None:
        rates = (self.scenario.keystrokes_per_s, self.scenario.cursor_moves_per_s)
        (action,) = random.choices((self._press_key, self.member.move_caret), rates)
        try:
            action()
        except CONNECTION_ERRORS:
            gevent.sleep(RECONNECT_S)  # the reader reports it and reconnects
        for _ in range(self.room.lost(self.seat, time.monotonic())):
            self._report(EDIT_TO_PEER, None, EditLost("no peer saw the edit in time"))

    def _press_key(self) -> None:
        started = time.monotonic()
        if random.random() < TYPO_RATIO:
            self.member.erase()
        elif self._word:
            self.member.type(self._word[0])
            self._word = self._word[1:]
        else:
            self._finish_word(started)
        self._report(KEYSTROKE, time.monotonic() - started)

    def _finish_word(self, now: float) -> None:
        self._written += 1
        self.room.wrote(self.seat, self._written, now)
        self.member.type(" ", word=(self.seat, self._written))
        self._word = random.choice(WORDS)
        if random.random() < JUMP_RATIO:
            self.member.jump()

    def _join(self) -> None:
        """Connect and sync, timing both; a user who is not let in stops."""
        name, started = "connect", time.monotonic()
        try:
            self.member.connect()
            self._report(name, time.monotonic() - started)
            name, started = "first sync", time.monotonic()
            self.member.first_sync()
        except CONNECTION_ERRORS as error:
            self.member.close()
            self._report(name, time.monotonic() - started, error)
            raise StopUser from error
        self._report(name, time.monotonic() - started)
        self.room.watch(self.seat)

    def _read(self) -> None:
        author = self.room.watched_by(self.seat)
        while not self._stopping:
            try:
                if self.member.read() is not None:
                    now = time.monotonic()
                    for latency_s in self.room.saw(author, self.member.latest_word(author), now):
                        self._report(EDIT_TO_PEER, latency_s)
            except CONNECTION_ERRORS as error:
                self._report("connection", None, error)
                self._return()

    def _return(self) -> None:
        """Come back after a lost connection, trying again for as long as the run lasts, as a browser does."""
        self.member.close()
        while not self._stopping:
            gevent.sleep(RECONNECT_S)
            try:
                self._join()
            except StopUser:
                continue
            return

    def _report(self, name: str, seconds: float | None, error: Exception | None = None) -> None:
        self.environment.events.request.fire(
            request_type="Yjs",
            name=name,
            response_time=None if seconds is None else seconds * 1000,
            response_length=0,
            exception=error,
            context={},
        )


def _outcome(runner: runners.Runner) -> Outcome:
    measured = {}
    for entry in runner.stats.entries.values():
        timed = entry.num_requests > entry.num_none_requests
        measured[entry.name] = Measured(
            requests=entry.num_requests,
            failures=entry.num_failures,
            p50_ms=float(entry.get_response_time_percentile(0.50)) if timed else None,
            p95_ms=float(entry.get_response_time_percentile(0.95)) if timed else None,
            per_s=float(entry.total_rps),
        )
    errors: Counter[str] = Counter()
    for error in runner.stats.errors.values():
        errors[f"{error.name}: {error.error}"] += error.occurrences
    return Outcome(measured, dict(errors))


@events.test_start.add_listener
def _show_progress(environment: Environment, **_: Any) -> None:
    """One JSON line a second on stdout, for run.py."""
    runner = environment.runner
    assert runner is not None

    def show() -> None:
        while True:
            gevent.sleep(1.0)
            row = {"users": runner.user_count, "outcome": asdict(_outcome(runner))}
            print(json.dumps(row), flush=True)

    gevent.spawn(show)


@events.quitting.add_listener
def _write_outcome(environment: Environment, **_: Any) -> None:
    options = environment.parsed_options
    if environment.runner is not None and options is not None and options.outcome:
        Path(options.outcome).write_text(json.dumps(asdict(_outcome(environment.runner))))
