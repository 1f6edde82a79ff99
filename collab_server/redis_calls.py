"""Commands to Redis and their answers, for whoever needs more of it than the bus: one connection with one owner.

A caller hands its commands over and waits for the answers; the owner alone writes and reads. So a caller that is
cancelled or loses patience leaves nothing behind on the connection for the next one (see `redis_link`). Must never make
anybody wait for a server that is known to be away. Built by `assembly`; adapters are given `call`.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from redis.exceptions import ResponseError

from collab_server.redis_link import Connection, LinkTimes, RedisLink, command
from collab_server.tasks import Tasks

MOST_WAITING = 1_000
"""Calls that wait for their turn: some 200 ms of a healthy Redis."""


class RedisAway(ConnectionError):
    """Redis does not answer, or refuses. What became of the commands is unknown."""


@dataclass(frozen=True, slots=True)
class _Asked:
    packed: bytes
    answers: int
    answered: asyncio.Future[list[Any]]


class RedisCalls:
    """See the module. `name` is what the log calls the connection. Make it inside a running loop."""

    def __init__(self, url: str, name: str, times: LinkTimes | None = None) -> None:
        self._times = times or LinkTimes()
        self._link = RedisLink(url, name, self._times)
        self._waiting: deque[_Asked] = deque()
        self._wake = asyncio.Event()
        self._owner = Tasks()

    async def start(self) -> None:
        """Begin connecting and return; never fails because Redis is away."""
        self._owner.start(self._link.run(self._serve), "redis-calls")

    async def close(self) -> None:
        """End; whoever still waits is told that Redis is away."""
        await self._owner.close()
        for asked in self._waiting:
            _fail(asked, "closed")
        self._waiting.clear()

    async def call(self, commands: Sequence[tuple[bytes, ...]]) -> list[Any]:
        """Send `commands` as one pipeline and return their answers. Raises `RedisAway`, within `call_s`."""
        if self._link.is_away:
            raise RedisAway("Redis is away")
        if len(self._waiting) >= MOST_WAITING:
            raise RedisAway("too much waits for Redis")
        packed = b"".join(command(*each) for each in commands)
        asked = _Asked(packed, len(commands), asyncio.get_running_loop().create_future())
        self._waiting.append(asked)
        self._wake.set()
        try:
            async with asyncio.timeout(self._times.call_s):
                return await asked.answered
        except TimeoutError:
            raise RedisAway("Redis does not answer") from None

    async def _serve(self, connection: Connection) -> None:
        while True:
            while self._waiting:
                asked = self._waiting.popleft()
                if not asked.answered.done():  # else its caller has given up
                    await self._round_trip(connection, asked)
            self._wake.clear()
            await self._wake.wait()

    async def _round_trip(self, connection: Connection, asked: _Asked) -> None:
        """One call. After anything but answers the connection is given up: what still comes would be another's."""
        refused: ResponseError | None = None
        answers: list[Any] = []
        try:
            async with asyncio.timeout(self._times.call_s):
                await connection.send_packed_command([asked.packed])
                for _ in range(asked.answers):
                    try:
                        answers.append(await connection.read_response())
                    except ResponseError as error:  # of this command only: the connection is fine
                        refused = error
        except BaseException:
            _fail(asked, "the connection to Redis was lost")
            raise
        if refused is not None:
            _fail(asked, f"Redis refuses: {refused}")
        elif not asked.answered.done():
            asked.answered.set_result(answers)


def _fail(asked: _Asked, why: str) -> None:
    if not asked.answered.done():
        asked.answered.set_exception(RedisAway(why))
