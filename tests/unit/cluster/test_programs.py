"""The programs of a cluster: they get a port, a log and an end."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import sys
from pathlib import Path

import pytest

from cluster.programs import Guard, Program, ProgramFailed, free_port

SLEEPER = [sys.executable, "-c", "import time; print('up', flush=True); time.sleep(60)"]
STUBBORN = [
    sys.executable,
    "-c",
    "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('up', flush=True); time.sleep(60)",
]


async def until_up(program: Program) -> None:
    async with asyncio.timeout(20):
        while "up" not in program.last_words():  # noqa: ASYNC110
            await asyncio.sleep(0.01)


def test_a_wanted_port_is_taken_when_it_is_free_and_another_when_it_is_not() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = int(taken.getsockname()[1])
        assert free_port("127.0.0.1", port) != port
    assert free_port("127.0.0.1", port) == port


async def test_a_program_that_is_not_there_says_so(tmp_path: Path) -> None:
    async with Guard() as guard:
        with pytest.raises(ProgramFailed, match="cannot be run"):
            await Program([tmp_path / "missing"], {}, tmp_path / "log", guard).start()


async def test_what_a_program_says_is_in_its_log_and_it_ends_when_told(tmp_path: Path) -> None:
    async with Guard() as guard:
        program = Program(SLEEPER, {}, tmp_path / "log", guard)
        await program.start()
        await until_up(program)
        await program.stop()
        assert program.pid is None
        assert await program.ended() == -signal.SIGTERM


@pytest.mark.parametrize("command", [SLEEPER, STUBBORN], ids=["willing", "stubborn"])
async def test_the_guard_ends_what_is_left_when_its_cluster_is_gone(tmp_path: Path, command: list[str]) -> None:
    guard = await Guard(patience_s=0.1).__aenter__()
    program, forgotten = (Program(command, {}, tmp_path / name, guard) for name in ("kept", "forgotten"))
    for each in (program, forgotten):
        await each.start()
        await until_up(each)
    assert forgotten.pid is not None
    guard.forget(forgotten.pid)
    await guard.__aexit__()  # closes its input, as the end of this process would
    assert await program.ended() in {-signal.SIGTERM, -signal.SIGKILL}
    os.kill(forgotten.pid, 0)
    forgotten.signal(signal.SIGKILL)
    assert await forgotten.ended() == -signal.SIGKILL
