"""One connection to Redis that belongs to one task and is opened again whenever it breaks.

redis-py does the address, TLS, sign-in and parsing; who uses the connection, and when it is given up, is decided here.
The rule (CVE-2023-28858: a cancelled call leaves its answer to the next caller): a connection has one owner, and after
a timeout, a cancellation or any error it is closed, never used again. An outage of Redis must never end a link.
Called by `bus_redis_publisher` and `bus_redis_subscriber`.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, Protocol, cast

import hiredis
import structlog
from redis._parsers.hiredis import NOT_ENOUGH_DATA
from redis.asyncio import ConnectionPool
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import ResponseError

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class LinkTimes:
    """How patient a link is, in seconds."""

    call_s: float = 1.0
    """Longest wait for an answer: Redis answers in under a millisecond, so a second means that it hangs."""
    heartbeat_s: float = 2.0
    """Silence after which a listening connection is probed; as long again without an answer and it is given up."""
    first_backoff_s: float = 0.05
    longest_backoff_s: float = 1.0
    """Short, for rooms must agree again 5 s after a partition ends; jitter keeps tasks from coming back together."""


class Connection(Protocol):
    """The part of `redis.asyncio.Connection` that is used, with types (redis-py declares none)."""

    _parser: Any

    async def connect(self) -> None: ...
    async def send_packed_command(self, command: Iterable[bytes], check_health: bool = ...) -> None: ...
    async def read_response(self) -> Any: ...
    async def disconnect(self, nowait: bool = ...) -> None: ...


class RedisLink:
    """Keeps one connection open for `use`, which ends only by raising: then the connection is closed and replaced.

    `is_up`: connected now. `is_away`: not connected, and at least one attempt has failed.
    """

    def __init__(self, url: str, name: str, times: LinkTimes) -> None:
        self._pool: ConnectionPool = ConnectionPool.from_url(url)
        self._pool.connection_kwargs.update(
            protocol=2,  # as RESP3 pushes redis-py formats every message for its own log
            decode_responses=False,
            retry=Retry(NoBackoff(), 0),
            socket_timeout=None,  # its per-read timers cost more than the read: every wait here has its own bound
            socket_connect_timeout=times.call_s,
            health_check_interval=0,
        )
        self._name = name
        self._times = times
        self._failures = 0
        self.is_up = False

    @property
    def is_away(self) -> bool:
        return not self.is_up and self._failures > 0

    async def run(self, use: Callable[[Connection], Awaitable[None]]) -> None:
        """Connect, hand the connection to `use`, and again with a growing random pause, until it is cancelled."""
        clock = asyncio.get_running_loop().time
        while True:
            up_since = clock()
            try:
                async with self._connected() as connection:
                    up_since = clock()
                    await use(connection)
            except Exception as error:
                # A connection that breaks at once (access rules, a proxy without a server) counts as a failed attempt.
                if clock() - up_since > self._times.longest_backoff_s + self._times.call_s:
                    self._failures = 0
                if not self._failures:  # once an outage, not once an attempt
                    log.warning("redis_link_lost", link=self._name, error=f"{type(error).__name__}: {error}")
            self._failures += 1
            await asyncio.sleep(self._pause_s())

    @asynccontextmanager
    async def _connected(self) -> AsyncIterator[Connection]:
        connection = cast(Connection, self._pool.make_connection())  # type: ignore[no-untyped-call]
        try:
            async with asyncio.timeout(self._times.call_s):
                await connection.connect()
            self.is_up = True
            if self._failures:
                log.info("redis_link_restored", link=self._name, attempts=self._failures)
            yield connection
        finally:
            self.is_up = False
            await connection.disconnect(nowait=True)

    def _pause_s(self) -> float:
        exponent = min(self._failures - 1, 10)
        longest = min(self._times.longest_backoff_s, self._times.first_backoff_s * 2**exponent)
        return random.uniform(0, longest)  # noqa: S311 - jitter, no secret


async def some_answers(connection: Connection) -> list[Any]:
    """The next answer, and those that came with it; an answer that is an error is returned, not raised.

    One call a packet instead of one an answer, which would cost more than to act on it. redis-py has no name for this.
    """
    try:
        answers = [await connection.read_response()]
    except ResponseError as error:
        answers = [error]
    reader = connection._parser._reader
    while (answer := reader.gets()) is not NOT_ENOUGH_DATA:
        answers.append(answer)
    return answers


def command(*parts: bytes) -> bytes:
    """One Redis command, encoded."""
    packed: bytes = hiredis.pack_command(parts)  # type: ignore[arg-type]  # its stub allows tuples of one only
    return packed
