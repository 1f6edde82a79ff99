"""Facts about the worker processes: whatever a call does, it costs that call and nothing else."""

import asyncio
import os
import signal
import socket
import sys
import time
from asyncio.subprocess import PIPE
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from persistence import sandbox as sandbox_module
from persistence.sandbox import Sandbox, SandboxFailed
from tests.unit.persistence import victims
from tests.unit.persistence.victims import Measured, Pieces

ROOT = Path(__file__).resolve().parents[3]
AMPLE_S = 30.0
MEMORY_BYTES = 512 * 1024 * 1024
LINUX = sys.platform == "linux"


@pytest_asyncio.fixture
async def sandbox() -> AsyncIterator[Sandbox]:
    one = Sandbox(max_workers=1, memory_bytes=MEMORY_BYTES, preload=(victims.__name__,))
    yield one
    await one.close()


def alive(pid: int) -> bool:
    """Whether the process runs; one that ended and awaits its parent's notice does not."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    status = Path(f"/proc/{pid}/status")
    return not LINUX or (status.exists() and "\nState:\tZ" not in status.read_text())


async def until(condition: Callable[[], bool], within_s: float = 15.0) -> None:
    async with asyncio.timeout(within_s):
        while not condition():  # noqa: ASYNC110 - another process sets it
            await asyncio.sleep(0.01)


async def test_a_call_returns_the_functions_value_from_another_process(sandbox: Sandbox) -> None:
    first = await sandbox.run(victims.measure, b"12345", timeout_s=AMPLE_S)
    assert isinstance(first, Measured)
    assert first.size == 5
    assert first.pid != os.getpid()
    assert (await sandbox.run(victims.measure, b"", timeout_s=AMPLE_S)).pid == first.pid


async def test_twenty_megabytes_go_there_and_back(sandbox: Sandbox) -> None:
    body = os.urandom(1 << 20) * 20
    assert await sandbox.run(victims.echo, body, timeout_s=AMPLE_S) == body


async def test_large_and_small_byte_strings_come_back_from_wherever_they_stand(sandbox: Sandbox) -> None:
    large, small = os.urandom(100_000), b"small"
    cut = await sandbox.run(victims.cut, large, [large, small], {"a": small, "b": large}, timeout_s=AMPLE_S)
    assert cut == Pieces(large, ((large, 100_000), (small, 5), (small, 5), (large, 100_000)))
    assert isinstance(cut.whole, bytes)
    assert all(isinstance(part, bytes) for part, _size in cut.parts)


@pytest.mark.parametrize(
    ("victim", "arguments", "reason"),
    [
        (victims.hang_in_native_code, (), "timeout"),
        (victims.hang_in_python, (), "timeout"),
        (victims.eat_memory, (), "raised: MemoryError"),
        (victims.overflow_the_stack, (), "died: signal 11"),
        (victims.read_null, (), "died: signal 11"),
        (victims.panic, (), "panicked"),
        (victims.leave, (), "died: exit status 3"),
        (victims.refuse, ("row 7",), "raised: Refused: row 7"),
        (victims.stumble, ("To be or not to be",), "raised: ValueError"),
        (victims.a_path, (), "died: an answer that cannot be read: UnpicklingError"),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
async def test_a_bad_call_fails_alone_and_the_next_gets_a_new_worker(
    sandbox: Sandbox, victim: Callable[..., Any], arguments: tuple[Any, ...], reason: str
) -> None:
    before = (await sandbox.run(victims.measure, b"", timeout_s=AMPLE_S)).pid
    with pytest.raises(SandboxFailed) as failed:
        await sandbox.run(victim, *arguments, timeout_s=0.5 if reason == "timeout" else AMPLE_S)
    assert str(failed.value) == reason
    assert not alive(before)
    assert (await sandbox.run(victims.measure, b"", timeout_s=AMPLE_S)).pid != before


async def test_a_native_memory_bomb_stays_below_the_limit(sandbox: Sandbox) -> None:
    with pytest.raises(SandboxFailed):
        await sandbox.run(victims.eat_memory_natively, timeout_s=AMPLE_S)
    assert (await sandbox.run(victims.measure, b"still here", timeout_s=AMPLE_S)).size == 10


async def test_a_hang_ends_close_to_its_time_limit(sandbox: Sandbox) -> None:
    await sandbox.start()
    began = time.monotonic()
    with pytest.raises(SandboxFailed, match="timeout"):
        await sandbox.run(victims.hang_in_native_code, timeout_s=0.2)
    assert 0.2 <= time.monotonic() - began < 0.2 + sandbox_module.KILL_AFTER_S


async def test_an_idle_worker_that_was_killed_costs_one_call(sandbox: Sandbox) -> None:
    pid = (await sandbox.run(victims.measure, b"", timeout_s=AMPLE_S)).pid
    os.kill(pid, signal.SIGKILL)
    await until(lambda: not alive(pid))
    with pytest.raises(SandboxFailed, match="died"):
        await sandbox.run(victims.measure, b"", timeout_s=AMPLE_S)
    assert (await sandbox.run(victims.measure, b"", timeout_s=AMPLE_S)).pid != pid


async def test_a_hang_does_not_delay_the_other_worker() -> None:
    sandbox = Sandbox(max_workers=2, preload=(victims.__name__,))
    await sandbox.start()
    hang = asyncio.create_task(sandbox.run(victims.hang_in_native_code, timeout_s=AMPLE_S))
    for _ in range(20):
        await sandbox.run(victims.measure, b"", timeout_s=AMPLE_S)
    assert not hang.done()
    await sandbox.close()
    with pytest.raises(SandboxFailed, match="closed"):
        await hang


async def test_calls_beyond_the_workers_wait_their_turn(sandbox: Sandbox) -> None:
    calls = [sandbox.run(victims.measure, bytes(size), timeout_s=AMPLE_S) for size in range(20)]
    answers = await asyncio.gather(*calls)
    assert [answer.size for answer in answers] == list(range(20))
    assert len({answer.pid for answer in answers}) == 1


async def test_a_cancelled_call_ends_its_worker(sandbox: Sandbox) -> None:
    await sandbox.start()
    (pid,) = sandbox.worker_pids
    call = asyncio.create_task(sandbox.run(victims.hang_in_python, timeout_s=AMPLE_S))
    await asyncio.sleep(0)
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call
    await until(lambda: not alive(pid))
    assert (await sandbox.run(victims.measure, b"", timeout_s=AMPLE_S)).pid != pid


async def test_a_worker_is_replaced_after_many_calls(sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sandbox_module, "CALLS_A_WORKER", 2)
    pids = [(await sandbox.run(victims.measure, b"", timeout_s=AMPLE_S)).pid for _ in range(4)]
    assert pids == [pids[0], pids[0], pids[2], pids[2]]
    assert pids[0] != pids[2]


async def test_closing_leaves_no_process_and_refuses_calls() -> None:
    sandbox = Sandbox(max_workers=2, preload=(victims.__name__,))
    await sandbox.start()
    pids = sandbox.worker_pids
    calls = [asyncio.create_task(sandbox.run(victims.hang_in_python, timeout_s=AMPLE_S)) for _ in range(3)]
    await asyncio.sleep(0)
    await sandbox.close()
    assert len(pids) == 2
    assert not any(map(alive, pids))
    assert sandbox.worker_pids == frozenset()
    for call in calls:
        with pytest.raises(SandboxFailed, match="closed"):
            await call
    with pytest.raises(SandboxFailed, match="closed"):
        await sandbox.run(victims.measure, b"", timeout_s=AMPLE_S)
    await sandbox.close()


async def test_a_worker_that_cannot_start_is_reported() -> None:
    sandbox = Sandbox(max_workers=1, preload=("persistence.no_such_module",))
    with pytest.raises(SandboxFailed, match="died: exit status 1"):
        await sandbox.start()
    assert sandbox.worker_pids == frozenset()


async def test_a_worker_has_no_socket_and_no_environment_of_the_server(
    sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "canary")
    with socket.create_server(("127.0.0.1", 0)) as listening:
        listening.set_inheritable(True)
        ours = f"socket:[{os.fstat(listening.fileno()).st_ino}]"
        theirs = await sandbox.run(victims.open_files, timeout_s=AMPLE_S)
        assert len(theirs) >= 5
        assert ours not in theirs
        # LC_CTYPE is Python's own doing where no locale is set.
        assert set(await sandbox.run(victims.environment_names, timeout_s=AMPLE_S)) <= {"PYTHONPATH", "LC_CTYPE"}


async def test_control_c_reaches_the_server_alone(sandbox: Sandbox) -> None:
    session, ignored = await sandbox.run(victims.session_and_interrupt, timeout_s=AMPLE_S)
    assert session != os.getsid(0)
    assert ignored


async def test_what_a_call_prints_goes_nowhere(sandbox: Sandbox, capfd: pytest.CaptureFixture[str]) -> None:
    await sandbox.run(victims.print_loudly, "To be or not to be", timeout_s=AMPLE_S)
    assert await sandbox.run(victims.echo, b"in step", timeout_s=AMPLE_S) == b"in step"
    assert capfd.readouterr() == ("", "")


SERVER_TO_KILL = """
import asyncio
from persistence.sandbox import Sandbox
from tests.unit.persistence import victims

async def main():
    sandbox = Sandbox(max_workers=2, preload=(victims.__name__,))
    await sandbox.start()
    hang = asyncio.create_task(sandbox.run(victims.hang_in_native_code, timeout_s=2.0))
    await sandbox.run(victims.measure, b"", timeout_s=30.0)
    print(*sandbox.worker_pids, flush=True)
    await asyncio.Event().wait()

asyncio.run(main())
"""


async def test_no_worker_outlives_a_server_that_was_killed() -> None:
    """The idle one sees its input end; the one that hangs without ever running Python again has its alarm."""
    server = await asyncio.create_subprocess_exec(sys.executable, "-c", SERVER_TO_KILL, cwd=ROOT, stdout=PIPE)
    assert server.stdout is not None
    pids = [int(pid) for pid in (await server.stdout.readline()).split()]
    try:
        assert len(pids) == 2
        server.kill()
        await until(lambda: not any(map(alive, pids)))
    finally:
        await server.wait()
        for pid in pids:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
