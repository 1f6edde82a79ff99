"""An event loop in which nothing happens by chance: virtual time, and a seeded choice of who goes on next.

It runs the unchanged code of several server processes and of the world around them in one thread. Every callback
belongs to a `Process` (told by its context); within one process callbacks run in the order asyncio promises, between
processes in any order. A process can be frozen, as SIGSTOP does, or killed between any two callbacks: what it held in
memory is never run again. Nothing here waits on real time or threads; work given to an executor is done in the loop,
later.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
from asyncio import events
from collections import deque
from collections.abc import Callable, Coroutine
from contextvars import Context, ContextVar, copy_context
from heapq import heappop, heappush
from typing import Any, TypeVar

T = TypeVar("T")

STEP_S = 0.000_05  # what one callback takes of virtual time, so that timers of others fire between two of a chain
TIMER_JITTER_S = 0.001  # no two clocks agree: timers due together fire in a seeded order
EXECUTOR_S = 0.004  # the longest that work on a thread takes
MOST_STEPS = 400_000  # a world that takes more does not come to rest

OWNER: ContextVar[Process | None] = ContextVar("owner", default=None)


class RanAway(Exception):
    """The world made no end, or nothing is left that could end it."""


class Process:
    """What one process wants to run next. `tasks` are kept, so that a killed process is never cleaned up mid-world."""

    __slots__ = ("alive", "frozen", "name", "ready", "tasks")

    def __init__(self, name: str) -> None:
        self.name = name
        self.ready: deque[Step] = deque()
        self.tasks: list[Task] = []
        self.alive = True
        self.frozen = False

    def context(self) -> Context:
        """A context whose callbacks belong to this process."""
        context = copy_context()
        context.run(OWNER.set, self)
        return context


class Step:
    """A callback that is due: the handle that asyncio's code gets."""

    __slots__ = ("_when", "args", "callback", "context", "owner")

    def __init__(
        self, owner: Process, callback: Callable[..., object], args: tuple[Any, ...], context: Context, when: float
    ) -> None:
        self.owner = owner
        self.callback: Callable[..., object] | None = callback
        self.args = args
        self.context = context
        self._when = when

    def cancel(self) -> None:
        self.callback, self.args = None, ()

    def cancelled(self) -> bool:
        return self.callback is None

    def when(self) -> float:
        return self._when


class Task(asyncio.Task[Any]):
    """A task that sets walk in the order of birth, not of memory addresses."""

    def __init__(self, serial: int, coroutine: Coroutine[Any, Any, Any], **options: Any) -> None:
        self.serial = serial
        super().__init__(coroutine, **options)
        self._log_destroy_pending = False

    def __hash__(self) -> int:
        return self.serial


class SimulatedLoop(asyncio.AbstractEventLoop):
    """See the module. `run` drives one world to its end."""

    def __init__(self, chance: random.Random) -> None:
        self.now = 0.0
        self.steps = 0
        self.failures: list[BaseException] = []
        self.world = Process("world")
        self.processes = [self.world]
        self._chance = chance
        self._timers: list[tuple[float, int, Step]] = []
        self._serial = 0
        self._interrupts: list[tuple[int, int, Callable[[], None]]] = []
        self._ended = False
        self._killed: list[Process] = []
        self.world_context = self.world.context()

    # What drives it

    def run(self, main: Coroutine[Any, Any, T]) -> T:
        """Run until `main` has ended. Raises what it raises, the first of `failures`, and RanAway."""
        events._set_running_loop(self)
        try:
            task = self.create_task(main)
            while not task.done():
                self._step()
                if self.failures:
                    raise self.failures[0]
            return task.result()  # type: ignore[no-any-return]
        finally:
            self._end()
            events._set_running_loop(None)

    def _step(self) -> None:
        timers = self._timers
        while timers and timers[0][0] <= self.now:
            step = heappop(timers)[2]
            if step.owner.alive:
                step.owner.ready.append(step)
        ready = [process for process in self.processes if process.ready and not process.frozen]
        if not ready:
            self._skip_to_next_timer()
            return
        owner = ready[0] if len(ready) == 1 else ready[int(self._chance.random() * len(ready))]
        step = owner.ready.popleft()
        if step.callback is None:
            return
        self.steps += 1
        self.now += STEP_S
        try:
            step.context.run(step.callback, *step.args)
        except (KeyboardInterrupt, SystemExit):
            raise
        except BaseException as error:
            self.failures.append(error)
        while self._interrupts and self._interrupts[0][0] <= self.steps:
            heappop(self._interrupts)[2]()
        if self.steps > MOST_STEPS:
            raise RanAway(f"{self.steps} steps, {self.now:.1f} s, and no end")

    def _skip_to_next_timer(self) -> None:
        timers = self._timers
        while timers and (timers[0][2].callback is None or not timers[0][2].owner.alive):
            heappop(timers)
        if not timers:
            raise RanAway("everyone waits for something that will never happen")
        self.now = max(self.now, timers[0][0])

    def _end(self) -> None:
        """Let go of everything in a fixed order, while nothing can be scheduled any more."""
        self._ended = True
        for process in (*self._killed, *self.processes):
            process.alive = False
            for task in process.tasks:
                if not task.done():
                    with contextlib.suppress(BaseException):
                        task.get_coro().close()  # type: ignore[union-attr]
            process.ready.clear()
        self._timers.clear()

    # What the world does with it

    def add(self, name: str) -> Process:
        """A new process."""
        process = Process(name)
        self.processes.append(process)
        return process

    def kill(self, process: Process) -> None:
        """kill -9: nothing of it ever runs again."""
        process.alive = False
        process.ready.clear()
        self.processes.remove(process)
        self._killed.append(process)

    def interrupt(self, after_steps: int, action: Callable[[], None]) -> None:
        """Do `action` so many callbacks from now, whoever they belong to."""
        self._serial += 1
        heappush(self._interrupts, (self.steps + after_steps, self._serial, action))

    def outside(self, delay_s: float, callback: Callable[..., object], *args: Any) -> None:
        """Call back later, whatever becomes of the process that asks."""
        self.call_at(self.now + delay_s, callback, *args, context=self.world_context)

    # What asyncio asks of a loop

    def time(self) -> float:
        return self.now

    def get_debug(self) -> bool:
        return False

    def is_running(self) -> bool:
        return True

    def is_closed(self) -> bool:
        return self._ended

    def call_soon(self, callback: Callable[..., object], *args: Any, context: Context | None = None) -> Any:
        if context is None:
            context = copy_context()
        owner = context.get(OWNER) or self.world
        step = Step(owner, callback, args, context, self.now)
        if owner.alive:
            owner.ready.append(step)
        return step

    def call_soon_threadsafe(self, callback: Callable[..., object], *args: Any, context: Context | None = None) -> Any:
        return self.call_soon(callback, *args, context=context)

    def call_later(
        self, delay: float, callback: Callable[..., object], *args: Any, context: Context | None = None
    ) -> Any:
        return self.call_at(self.now + delay, callback, *args, context=context)

    def call_at(self, when: float, callback: Callable[..., object], *args: Any, context: Context | None = None) -> Any:
        if context is None:
            context = copy_context()
        step = Step(context.get(OWNER) or self.world, callback, args, context, when)
        self._serial += 1
        heappush(self._timers, (when + self._chance.random() * TIMER_JITTER_S, self._serial, step))
        return step

    def create_future(self) -> asyncio.Future[Any]:
        return asyncio.Future(loop=self)

    def create_task(self, coro: Any, *, name: str | None = None, context: Context | None = None) -> Any:
        if self._ended:
            coro.close()
            return self.create_future()
        self._serial += 1
        task = Task(self._serial, coro, loop=self, name=name, context=context)
        ((context or copy_context()).get(OWNER) or self.world).tasks.append(task)
        return task

    def run_in_executor(self, executor: Any, func: Callable[..., Any], *args: Any) -> Any:
        done = self.create_future()
        self.call_later(self._chance.random() * EXECUTOR_S, _work, done, func, args)
        return done

    def call_exception_handler(self, context: dict[str, Any]) -> None:
        """Failures nobody looked at: those of our own code are logged by `collab_server.tasks`."""


def _work(done: asyncio.Future[Any], func: Callable[..., Any], args: tuple[Any, ...]) -> None:
    if done.cancelled():
        return
    try:
        done.set_result(func(*args))
    except Exception as error:
        done.set_exception(error)


def at_once(coroutine: Coroutine[Any, Any, T]) -> T:
    """The result of a coroutine that never waits, as those of the memory adapters."""
    try:
        coroutine.send(None)
    except StopIteration as end:
        return end.value  # type: ignore[no-any-return]
    coroutine.close()
    raise AssertionError("a memory adapter waited")
