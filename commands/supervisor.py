"""The parent of the server process: outlives its crash, keeps what it was doing, and starts it again.

Must stay too simple to crash: it opens no port and no file, runs no event loop, and touches no document. It passes
signals on, reaps what is orphaned (it may be process 1 of a container), and ends with the server's exit code. Called by
`serve` and `dev`, in which it returns in the server process only.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import suppress
from types import FrameType
from typing import NoReturn

from collab_server.crash_note import CRASH_NOTE
from persistence.quarantine import RefusedUpdate

MOST_CRASHES, WINDOW_S = 5, 600.0  # more often than that, something else is wrong than single updates
CRASHED_EXIT = 70  # the server crashed again and again
KEEPER_TIMEOUT_S = 10.0  # what is left of the time to store a note when the supervisor itself is to end
STOPPING = {signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT}
WAITED_FOR = STOPPING | {signal.SIGUSR1, signal.SIGUSR2, signal.SIGTSTP, signal.SIGCHLD}

Keep = Callable[[RefusedUpdate], None]


def supervise(longest_note_bytes: int, keep: Keep | None, say: Callable[[str], None]) -> list[RefusedUpdate]:
    """Run the rest of this program in a child process, and again after a crash. Returns in the child only.

    What was being applied at a crash is given to `keep`, in a process of its own; without `keep` it is returned in the
    next child, which stores it as soon as it can. `say` tells what happened. In the parent this ends the program.
    """
    CRASH_NOTE.use(longest_note_bytes)
    return _Supervisor(keep, say).run()


class _Supervisor:
    """Waits for signals with all of them blocked: none can come between two looks and be missed."""

    def __init__(self, keep: Keep | None, say: Callable[[str], None]) -> None:
        self._keep = keep
        self._say = say
        self._server = 0
        self._lifeline = -1  # a pipe whose other end the server holds: it ends with this process
        self._keepers: set[int] = set()
        self._is_stopping = False
        self._crashes: deque[float] = deque(maxlen=MOST_CRASHES)
        self._left: list[RefusedUpdate] = []
        signal.signal(signal.SIGCHLD, _nothing)  # where it is ignored by default it would never come
        self._mask = signal.pthread_sigmask(signal.SIG_BLOCK, WAITED_FOR)

    def run(self) -> list[RefusedUpdate]:
        while True:
            if self._start():
                return self._left
            code = self._wait()
            note = CRASH_NOTE.take(was_killed=code == -signal.SIGKILL)
            if self._is_stopping or (code >= 0 and note is None):
                self._end(code)
            self._say(_story(-code if code < 0 else 0, note))
            self._left = []
            if note is not None:
                self._put_away(note)
            now = time.monotonic()
            if len(self._crashes) == MOST_CRASHES and now - self._crashes[0] < WINDOW_S:
                self._say(f"{MOST_CRASHES} crashes in {WINDOW_S / 60:.0f} minutes: giving up")
                self._end(CRASHED_EXIT)
            self._crashes.append(now)

    def _start(self) -> bool:
        """Fork; true in the server process."""
        ours, theirs = os.pipe()
        _flush()
        self._server = os.fork()
        if self._server:
            os.close(ours)
            self._lifeline = theirs
            return False
        os.close(theirs)
        # Of its own, so that what a terminal sends to all (Ctrl-C) comes once: from the supervisor.
        os.setpgid(0, 0)
        # While signals are blocked, so that they stay so in the thread: the main one must be woken by them.
        threading.Thread(target=_die_with_parent, args=(ours,), name="lifeline", daemon=True).start()
        self._restore_signals()
        return True

    def _restore_signals(self) -> None:
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_SETMASK, self._mask)

    def _wait(self) -> int:
        """Pass signals on until the server is gone; its exit code, or the negative signal that ended it."""
        while True:
            match signal.sigwait(WAITED_FOR):
                case signal.SIGCHLD:
                    for pid, status in _ended_children():
                        self._keepers.discard(pid)
                        if pid == self._server:
                            os.close(self._lifeline)
                            return os.waitstatus_to_exitcode(status)
                case signal.SIGTSTP:  # Ctrl-Z: the server first, then this process; and back in the other order
                    _signal(self._server, signal.SIGTSTP)
                    os.kill(os.getpid(), signal.SIGSTOP)
                    _signal(self._server, signal.SIGCONT)
                case number:
                    self._is_stopping |= number in STOPPING
                    _signal(self._server, number)

    def _put_away(self, note: RefusedUpdate) -> None:
        if self._keep is None:
            self._left = [note]
            return
        _flush()
        keeper = os.fork()
        if keeper:
            self._keepers.add(keeper)
            return
        try:
            self._restore_signals()
            self._keep(note)
        except BaseException as failure:
            print(f"collab-server: the update could not be kept: {failure!r}", file=sys.stderr)
        finally:
            _flush()
            os._exit(0)

    def _end(self, code: int) -> NoReturn:
        """What is still being stored gets a moment."""
        deadline = time.monotonic() + KEEPER_TIMEOUT_S
        while self._keepers and time.monotonic() < deadline:
            self._keepers -= {pid for pid, _status in _ended_children()}
            time.sleep(0.02)
        for keeper in self._keepers:
            _signal(keeper, signal.SIGKILL)
        _flush()
        sys.exit(code if code >= 0 else 128 - code)


def _ended_children() -> Iterator[tuple[int, int]]:
    """All that have ended, orphans of the server's too where this is process 1; each with its status."""
    with suppress(ChildProcessError):
        while (ended := os.waitpid(-1, os.WNOHANG))[0]:
            yield ended


def _story(killed_by: int, note: RefusedUpdate | None) -> str:
    how = f"was ended by {signal.Signals(killed_by).name}" if killed_by else "ended itself because its loop hung"
    if note is None:
        return f"the server {how}: starting it again"
    return (
        f"the server {how} while it applied an edit of {note.actor_id or 'another task'} to document "
        f"{note.document_id} (sha256 {note.sha256.hex()}, {note.size_bytes} bytes), which goes to quarantine: "
        "starting it again"
    )


def _die_with_parent(lifeline: int) -> None:
    """A server without its supervisor would hold the port against the next one."""
    os.read(lifeline, 1)
    os.kill(os.getpid(), signal.SIGKILL)


def _signal(pid: int, number: int) -> None:
    with suppress(ProcessLookupError):
        os.kill(pid, number)


def _nothing(_number: int, _frame: FrameType | None) -> None:
    """Only so that it is not ignored."""


def _flush() -> None:
    sys.stdout.flush()
    sys.stderr.flush()
