"""A few worker processes for calls that hostile content may crash, hang or blow up.

Each worker has its own pipes, a memory limit, an empty environment and no open socket, and is ended at the first sign
of trouble; the next call gets a fresh one. It must never run a call in the server's own process, nor unpickle anything
but plain values and the called module's own dataclasses from a worker: what hostile bytes went through is not trusted.
Called by the checkpointer, and by whoever reads document content.
"""

import asyncio
import io
import os
import pickle  # nosec B403
import signal
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import is_dataclass
from pathlib import Path
from typing import Any, TypeVar, TypeVarTuple, cast

from persistence import sandbox_worker
from persistence.sandbox_worker import Parts, pickled

T = TypeVar("T")
Ts = TypeVarTuple("Ts")

MEMORY_BYTES = 1024 * 1024 * 1024  # a 20 MB document of 600,000 structs takes 0.7 GB to fold
MAX_WORKERS = 2
START_TIMEOUT_S = 30.0  # 0.2 s on an idle machine
# The worker's own alarm comes first; this much later it is killed from outside (seconds).
KILL_AFTER_S = 1.0
# A worker is replaced after this many calls, so that heap fragmentation never nears the memory limit.
CALLS_A_WORKER = 500
MAX_ANSWER_BYTES = 512 * 1024 * 1024
MAX_ANSWER_PARTS = 100_000
CHUNK_BYTES = 256 * 1024  # what is copied at once while the loop waits: well under 1 ms
# More costs more: asyncio's buffer is moved about as it fills and empties. Less would be many wake-ups.
READ_AHEAD_BYTES = 256 * 1024
# Joining the chunks of so much takes the loop milliseconds; in a thread, `join` lets go of the interpreter.
JOIN_IN_THREAD_BYTES = 2 * 1024 * 1024


class SandboxFailed(Exception):
    """The call did not return a value. `reason` is one of timeout, died, panicked, raised, closed (a metric label)."""

    def __init__(self, reason: str, detail: str = "") -> None:
        super().__init__(f"{reason}: {detail}" if detail else reason)
        self.reason = reason


class Sandbox:
    """Runs functions in worker processes. Belongs to one event loop; `close` ends every process it began."""

    def __init__(
        self,
        *,
        max_workers: int = MAX_WORKERS,
        memory_bytes: int = MEMORY_BYTES,
        preload: tuple[str, ...] = ("persistence.fold",),
    ) -> None:
        """`memory_bytes` bounds each worker's address space (Linux only); `preload` are modules it imports at once."""
        self._arguments = (str(memory_bytes), *preload)
        self._max_workers = max_workers
        self._free = asyncio.Semaphore(max_workers)
        self._idle: list[_Worker] = []
        self._workers: set[_Worker] = set()
        self._closed = False

    async def start(self) -> None:
        """Begin the workers now, so that the first call does not wait for one. Optional. Raises SandboxFailed."""
        self._idle += await asyncio.gather(*(self._begin() for _ in range(self._max_workers - len(self._workers))))

    async def run(self, function: Callable[[*Ts], T], *args: *Ts, timeout_s: float) -> T:
        """`function(*args)` in a worker, given `timeout_s` once it has one; calls beyond the workers wait their turn.

        `function` is a module's own; arguments are pickled. The answer is made of plain values and dataclasses of
        that module. Raises SandboxFailed, also for an exception of `function`; the worker is then replaced.
        """
        request = pickled((timeout_s, function, args))
        async with self._free:
            worker = self._idle.pop() if self._idle else await self._begin()
            try:
                answer = _value(await worker.ask(request, timeout_s + KILL_AFTER_S), function.__module__)
            except BaseException:
                await self._end(worker)
                if self._closed:
                    raise SandboxFailed("closed") from None
                raise
            if worker.calls < CALLS_A_WORKER and not self._closed:
                self._idle.append(worker)
            else:
                await self._end(worker)
            return answer  # type: ignore[no-any-return]  # the function's own, by pickle

    async def close(self) -> None:
        """End every worker, calls under way included (they raise SandboxFailed), and wait until they are gone."""
        self._closed = True
        for worker in self._workers:
            worker.kill()
        await asyncio.gather(*(self._end(worker) for worker in self._idle))
        self._idle.clear()
        for _ in range(self._max_workers):  # every call under way ends its own worker and then gives way
            await self._free.acquire()
        for _ in range(self._max_workers):
            self._free.release()

    @property
    def worker_pids(self) -> frozenset[int]:
        """The processes that exist now."""
        return frozenset(worker.pid for worker in self._workers)

    async def _begin(self) -> "_Worker":
        if self._closed:
            raise SandboxFailed("closed")
        worker = await _Worker.spawn(self._arguments)
        self._workers.add(worker)
        try:
            await worker.ready()
        except BaseException:
            await self._end(worker)
            raise
        return worker

    async def _end(self, worker: "_Worker") -> None:
        worker.kill()
        await worker.gone()
        self._workers.discard(worker)


class _Worker:
    """One worker process. Answers one request at a time; useless after any failure."""

    def __init__(self, process: Process) -> None:
        self._process = process
        self._requests = cast(asyncio.StreamWriter, process.stdin)
        self._answers = cast(asyncio.StreamReader, process.stdout)
        self.calls = 0
        self.pid = process.pid

    @classmethod
    async def spawn(cls, arguments: tuple[str, ...]) -> "_Worker":
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-P",  # nothing is imported from the working folder
            "-m",
            sandbox_worker.__name__,
            *arguments,
            stdin=PIPE,
            stdout=PIPE,
            env=_environment(),
            start_new_session=True,  # Ctrl-C is for the server, which lets a call end before it closes
            limit=READ_AHEAD_BYTES,
        )
        return cls(process)

    async def ready(self) -> None:
        await self._bounded(self._read(), START_TIMEOUT_S)

    async def ask(self, request: Parts, timeout_s: float) -> Parts:
        self.calls += 1
        return await self._bounded(self._exchange(request), timeout_s)

    def kill(self) -> None:
        with suppress(ProcessLookupError):
            self._process.kill()

    async def gone(self) -> None:
        """Wait for the end of a killed worker. Unread output must be drained first, or its pipe would stay open."""
        self._requests.close()
        with suppress(ConnectionError):
            await self._answers.read()
        await self._process.wait()

    async def _exchange(self, request: Parts) -> Parts:
        self._requests.write(sandbox_worker.size_of_parts(request))
        for part in request:
            for start in range(0, len(part), CHUNK_BYTES):
                self._requests.write(memoryview(part)[start : start + CHUNK_BYTES])
                await self._requests.drain()
        return await self._read()

    async def _read(self) -> Parts:
        count = await self._read_size()
        if count > MAX_ANSWER_PARTS:
            raise SandboxFailed("died", f"an answer of {count} parts")
        sizes = [await self._read_size() for _ in range(count)]
        if sum(sizes) > MAX_ANSWER_BYTES:
            raise SandboxFailed("died", f"an answer of {sum(sizes)} bytes")
        return [await self._read_part(size) for size in sizes]

    async def _read_size(self) -> int:
        return int.from_bytes(await self._answers.readexactly(sandbox_worker.SIZE_BYTES), "big")

    async def _read_part(self, size: int) -> bytes:
        chunks = [await self._answers.readexactly(min(CHUNK_BYTES, size - at)) for at in range(0, size, CHUNK_BYTES)]
        if len(chunks) == 1:
            return chunks[0]
        return await asyncio.to_thread(b"".join, chunks) if size > JOIN_IN_THREAD_BYTES else b"".join(chunks)

    async def _bounded(self, exchange: Awaitable[Parts], timeout_s: float) -> Parts:
        try:
            async with asyncio.timeout(timeout_s):
                return await exchange
        except TimeoutError:
            raise SandboxFailed("timeout") from None
        except (asyncio.IncompleteReadError, ConnectionError):
            raise _obituary(await self._process.wait()) from None


def _environment() -> dict[str, str]:
    """The same modules as here, and no credential of ours."""
    return {"PYTHONPATH": os.pathsep.join(str(Path(entry).absolute()) for entry in sys.path)}


def _obituary(status: int) -> SandboxFailed:
    """Why a worker is gone, from its exit status (negative: the signal that ended it)."""
    if status == -signal.SIGALRM:
        return SandboxFailed("timeout")
    if status == sandbox_worker.PANICKED:
        return SandboxFailed("panicked")
    return SandboxFailed("died", f"signal {-status}" if status < 0 else f"exit status {status}")


def _value(answer: Parts, module: str) -> Any:
    if not answer:
        raise SandboxFailed("died", "an answer without parts")
    stream = io.BytesIO(answer[0])
    if stream.read(1) == sandbox_worker.RAISED:
        raise SandboxFailed("raised", stream.read().decode(errors="replace"))
    try:
        return _PlainUnpickler(stream, module, answer[1:]).load()
    except Exception as error:
        raise SandboxFailed("died", f"an answer that cannot be read: {type(error).__name__}") from error


class _PlainUnpickler(pickle.Unpickler):
    """Builds plain values, and dataclasses of one module by their own name; nothing a worker could abuse."""

    def __init__(self, stream: io.BytesIO, module: str, large: Parts) -> None:
        super().__init__(stream, buffers=large)
        self._module = module

    def find_class(self, module: str, name: str) -> Any:
        found = getattr(sys.modules[self._module], name, None) if module == self._module else None
        if not (isinstance(found, type) and is_dataclass(found)):
            raise pickle.UnpicklingError("only the called module's dataclasses may come back")
        return found
