"""What `dev` and `serve` share: the supervisor, the event loop, signals, start-up lines, and stopping well.

Must never exit 0 while an edit is not stored, nor go on for longer than `COLLAB_DRAIN_TIMEOUT_S` once told to stop.
"""

from __future__ import annotations

import asyncio
import contextlib
import faulthandler
import os
import resource
import signal
import time
from collections.abc import Callable, Coroutine, Generator
from functools import partial
from typing import Any, NoReturn

import structlog
import typer
import uvloop
from rich.console import Console

from collab_server.assembly import Parts
from collab_server.errors import ConfigurationError
from collab_server.settings import Settings
from commands.configuration import fail
from commands.crash_report import store
from commands.supervisor import supervise
from persistence.quarantine import QuarantineBounds, RefusedUpdate

log = structlog.get_logger(__name__)


class Stop:
    """What Ctrl-C and SIGTERM ask for: the first to stop well, the second to hurry, the third to leave at once."""

    def __init__(self) -> None:
        self.asked = asyncio.Event()
        self.hurry = asyncio.Event()
        self.unstored_edits: Callable[[], int] = lambda: 0

    def signalled(self) -> None:
        """One more of them came."""
        if not self.asked.is_set():
            self.asked.set()
        elif not self.hurry.is_set():
            log.warning("hurrying", detail="no pauses, no checkpoints; the journal is still flushed")
            self.hurry.set()
        else:
            self.leave("told to three times")

    def leave(self, why: str) -> None:
        """End the process now, whatever is still open: with 0 if every edit is stored."""
        unstored = self.unstored_edits()
        log.critical("left_at_once", why=why, unstored_edits=unstored)
        os._exit(1 if unstored else 0)


def run(work: Callable[[Stop], Coroutine[Any, Any, None]]) -> None:
    """Run `work` on a uvloop; Ctrl-C and SIGTERM are told to its `Stop`."""
    allow_many_sockets()

    async def main() -> None:
        stop = Stop()
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, stop.signalled)
        await work(stop)

    try:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(main())
    except ConfigurationError as error:
        fail(str(error))


def supervised(settings: Settings, say: Callable[[str], None]) -> list[RefusedUpdate]:
    """Go on in a process that is started again when it crashes; returns what the one before left to be stored.

    Must come before anything starts a thread, a loop or a connection.
    """
    url = settings.database_url
    bounds = QuarantineBounds(settings.quarantine_max_bytes, settings.quarantine_max_rows)
    keep = None if url is None else partial(store, database_url=url.get_secret_value(), bounds=bounds)
    left = supervise(settings.quarantine_max_bytes, keep, say)
    faulthandler.enable()  # files, lines and functions of every thread, no values
    return left


def allow_many_sockets() -> None:
    """Every connection is a file: take as many as the system lets us have."""
    _soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


async def until_stopped(parts: Parts, stop: Stop) -> None:
    """Wait until told to stop, by a signal or an operator.

    Ends the command if the recorder fails: a server that cannot journal must not go on.
    """
    stop.unstored_edits = lambda: parts.recorder.backlog_rows
    stopping = [asyncio.create_task(event.wait()) for event in (stop.asked, parts.stop_asked)]
    recording = asyncio.create_task(parts.recorder.wait_stopped())
    await asyncio.wait((*stopping, recording), return_when=asyncio.FIRST_COMPLETED)
    for waiting in stopping:
        waiting.cancel()
    if recording.done():
        fail_at_work("the recorder has failed: no edit can be stored any more", recording.exception())
    recording.cancel()


def fail_at_work(sentence: str, error: BaseException | None) -> NoReturn:
    """End the command after it was up: whoever runs it starts it again."""
    log.critical("stopped_by_failure", detail=sentence, exc_info=error)
    raise typer.Exit(1)


async def drain(parts: Parts, stop: Stop, say: Callable[[str], None]) -> None:
    """Stop well and say how it went. Ends the command with 1 when edits are not stored."""
    rooms = parts.server.registry.rooms
    members = sum(len(room.members) for room in rooms.values())
    say(f"draining: {members} members, {len(rooms)} rooms")
    started = time.monotonic()
    # What closes after the drain (pools, ports, processes) may hang as well: then the process ends without it.
    asyncio.get_running_loop().call_later(parts.settings.drain_timeout_s, stop.leave, "the time to stop is up")
    drained = await parts.server.drain(stop.hurry)
    if drained.unstored_edits:
        log.critical("edits_not_stored", unstored_edits=drained.unstored_edits)
        say(f"the journal was not flushed in time: {drained.unstored_edits} edits were not stored, nor acknowledged")
        raise typer.Exit(1)
    took = time.monotonic() - started
    left = drained.unfolded_rooms
    rest = f"; {left} rooms are in the journal and will be checkpointed at the next start" if left else ""
    say(f"stopped in {took:.1f} s: every edit is stored{rest}")


class StartUpLines:
    """One line a part while starting, with a spinner where it takes a while and somebody is looking."""

    def __init__(self) -> None:
        self._console = Console(highlight=False)

    @contextlib.contextmanager
    def __call__(self, part: str) -> Generator[Callable[[str], None], None, None]:
        """Announce `part`; the context gets the function that says how it turned out."""
        detail = ""

        def started(text: str) -> None:
            nonlocal detail
            detail = text

        begun = time.monotonic()
        with self._console.status(f"{part} …") if self._console.is_terminal else contextlib.nullcontext():
            yield started
        took = time.monotonic() - begun
        self.say(f"  {part:<17}{detail}" + (f"  ({took:.1f} s)" if took >= 1 else ""))

    def say(self, line: str) -> None:
        """Print one line at once, unwrapped."""
        self._console.print(line, soft_wrap=True, markup=False)


@contextlib.contextmanager
def logged(part: str) -> Generator[Callable[[str], None], None, None]:
    """Announce parts in the log, for machines."""
    yield lambda detail: log.info("part_started", part=part, detail=detail)
