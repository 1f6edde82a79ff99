"""The supervisor: exit codes and signals go through it, and a crash is kept and followed by a new start."""

from __future__ import annotations

import os
import pty
import select
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
DEADLINE_S = 60.0
CRASHED_EXIT = 70

PROGRAM = """
import os, signal, sys, time
from uuid import UUID
from collab_server.crash_note import CRASH_NOTE, author_of
from commands.supervisor import supervise

told, heard = [], []

def say(story):
    told.append(story)
    print("told:", story, flush=True)

def keep(refused):
    # In one write: the next server says "runs" into the same pipe meanwhile.
    os.write(1, f"kept: {refused.actor_id} {refused.reason} {refused.update}\\n".encode())

def crash(number):
    CRASH_NOTE.begin(author_of(UUID(int=1), "mallory"), b"fatal")
    os.kill(os.getpid(), number)

def hear(number, _frame):
    print("heard:", signal.Signals(number).name, flush=True)

left = supervise(1000, KEEP, say)
print("runs", os.getpid(), flush=True)
BODY
"""


def words(body: str, keep: str = "keep") -> list[str]:
    return [sys.executable, "-c", PROGRAM.replace("KEEP", keep).replace("BODY", body)]


def run(body: str, keep: str = "keep") -> tuple[int, str]:
    """Exit code and output of a program that ends by itself."""
    ended = subprocess.run(words(body, keep), cwd=ROOT, capture_output=True, text=True, timeout=DEADLINE_S, check=False)
    assert ended.stderr == "", ended.stderr
    return ended.returncode, ended.stdout


class Running:
    """A program that waits for signals, on a terminal of its own."""

    def __init__(self, body: str) -> None:
        self.said = ""
        self.pid, self.terminal = pty.fork()
        if self.pid == 0:
            os.chdir(ROOT)
            os.execv(sys.executable, words(body))

    def until(self, word: str, times: int = 1) -> None:
        deadline = time.monotonic() + DEADLINE_S
        while self.said.count(word) < times:
            assert select.select([self.terminal], [], [], deadline - time.monotonic())[0], self.said
            self.said += os.read(self.terminal, 65_536).decode()

    @property
    def server_pid(self) -> int:
        self.until("runs ")
        self.until("\n", self.said[: self.said.index("runs ")].count("\n") + 1)
        return int(self.said.split("runs ")[1].split()[0])

    def end(self) -> int:
        _pid, status = os.waitpid(self.pid, 0)
        os.close(self.terminal)
        return os.waitstatus_to_exitcode(status)


def state(pid: int) -> str:
    """T for stopped, Z or empty for gone (proc(5))."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return ""


def until_state(pid: int, *states: str) -> None:
    deadline = time.monotonic() + DEADLINE_S
    while state(pid) not in states:
        assert time.monotonic() < deadline, state(pid)
        time.sleep(0.005)


LISTEN = """
for number in (signal.SIGTERM, signal.SIGINT):
    signal.signal(number, hear)
print("listens", flush=True)
while True:
    signal.pause()
"""


@pytest.mark.parametrize("code", [0, 1, 2, 7])
def test_a_server_that_ends_by_itself_is_not_started_again_and_its_code_is_passed_on(code: int) -> None:
    ended, said = run(f"sys.exit({code})")
    assert ended == code
    assert said.count("runs") == 1
    assert "told" not in said


def test_a_crash_is_told_and_the_server_runs_again() -> None:
    code, said = run("if not told: os.kill(os.getpid(), signal.SIGSEGV)")
    assert code == 0
    assert said.count("runs") == 2
    assert "told: the server was ended by SIGSEGV: starting it again" in said
    assert "kept" not in said


@pytest.mark.parametrize(("number", "reason"), [("SIGSEGV", "crash"), ("SIGABRT", "crash"), ("SIGKILL", "killed")])
def test_what_was_being_applied_is_kept_beside_the_new_start(number: str, reason: str) -> None:
    code, said = run(f"if not told: crash(signal.{number})")
    assert code == 0
    assert said.count("runs") == 2
    assert f"kept: mallory {reason} b'fatal'" in said
    assert "fatal" not in said.replace(f"kept: mallory {reason} b'fatal'", "")  # no content in what is told


def test_without_a_database_of_its_own_the_next_server_gets_it() -> None:
    code, said = run("if not told: crash(signal.SIGSEGV)\nprint('left:', [each.update for each in left])", keep="None")
    assert code == 0
    assert "left: [b'fatal']" in said


def test_a_loop_that_hung_in_an_update_counts_as_a_crash() -> None:
    code, said = run("if not told:\n    CRASH_NOTE.begin(author_of(UUID(int=1), 'eve'), b'slow')\n    os._exit(1)")
    assert code == 0
    assert "ended itself because its loop hung" in said
    assert "kept: eve crash b'slow'" in said


def test_a_server_that_crashes_again_and_again_is_given_up_and_the_last_note_kept_too() -> None:
    code, said = run("crash(signal.SIGSEGV)")
    assert code == CRASHED_EXIT
    assert said.count("runs") == said.count("kept:") == 6


def test_a_note_that_cannot_be_kept_does_not_keep_the_server_from_starting() -> None:
    ended = subprocess.run(
        words("if not told: crash(signal.SIGSEGV)", keep="lambda refused: 1 / 0"),
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=DEADLINE_S,
        check=False,
    )
    assert ended.returncode == 0
    assert "could not be kept" in ended.stderr
    assert ended.stdout.count("runs") == 2


def test_each_signal_comes_once() -> None:
    running = Running(LISTEN)
    running.until("listens")
    for times in (1, 2):
        os.kill(running.pid, signal.SIGTERM)
        running.until("heard: SIGTERM", times)
    os.write(running.terminal, b"\x03")  # Ctrl-C, which a terminal sends to every process in the foreground
    running.until("heard: SIGINT")
    os.kill(running.server_pid, signal.SIGKILL)
    assert running.end() == 128 + signal.SIGKILL  # it was told to stop: not started again
    assert running.said.count("heard: SIGINT") == 1


def test_control_z_stops_both_and_both_go_on() -> None:
    running = Running(LISTEN)
    running.until("listens")
    server = running.server_pid
    os.write(running.terminal, b"\x1a")
    until_state(server, "T")
    until_state(running.pid, "T")
    os.kill(running.pid, signal.SIGCONT)
    os.kill(running.pid, signal.SIGTERM)
    running.until("heard: SIGTERM")
    os.kill(server, signal.SIGKILL)
    running.end()


def test_a_server_does_not_outlive_its_supervisor() -> None:
    running = Running(LISTEN)
    running.until("listens")
    server = running.server_pid
    os.kill(running.pid, signal.SIGKILL)
    assert running.end() == -signal.SIGKILL
    until_state(server, "", "Z")
