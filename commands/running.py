"""What `dev` and `serve` share: the event loop, signals, start-up lines, and stopping well."""

from __future__ import annotations

import asyncio
import contextlib
import resource
import signal
import time
from collections.abc import Callable, Coroutine, Generator
from typing import Any, NoReturn

import structlog
import typer
import uvloop
from rich.console import Console

from collab_server.assembly import Parts
from collab_server.errors import ConfigurationError
from commands.configuration import fail

log = structlog.get_logger(__name__)


def run(work: Callable[[asyncio.Event], Coroutine[Any, Any, None]]) -> None:
    """Run `work` on a uvloop; its event is set by Ctrl-C or SIGTERM."""
    allow_many_sockets()

    async def main() -> None:
        stop = asyncio.Event()
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, stop.set)
        await work(stop)

    try:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(main())
    except ConfigurationError as error:
        fail(str(error))


def allow_many_sockets() -> None:
    """Every connection is a file: take as many as the system lets us have."""
    _soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


async def until_stopped(parts: Parts, stop: asyncio.Event) -> None:
    """Wait for `stop`. Ends the command if the recorder fails: a server that cannot journal must not go on."""
    stopping = asyncio.create_task(stop.wait())
    recording = asyncio.create_task(parts.recorder.wait_stopped())
    await asyncio.wait((stopping, recording), return_when=asyncio.FIRST_COMPLETED)
    stopping.cancel()
    if recording.done():
        fail_at_work("the recorder has failed: no edit can be stored any more", recording.exception())
    recording.cancel()


def fail_at_work(sentence: str, error: BaseException | None) -> NoReturn:
    """End the command after it was up: whoever runs it starts it again."""
    log.critical("stopped_by_failure", detail=sentence, exc_info=error)
    raise typer.Exit(1)


async def drain(parts: Parts, say: Callable[[str], None]) -> None:
    """Stop well and say how it went."""
    rooms = parts.server.registry.rooms
    members = sum(len(room.members) for room in rooms.values())
    say(f"draining: {members} members, {len(rooms)} rooms")
    started = time.monotonic()
    try:
        left = await parts.server.drain()
    except TimeoutError:
        say("the journal could not be flushed in time: edits that were not acknowledged may be lost")
        raise typer.Exit(1) from None
    took = time.monotonic() - started
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
