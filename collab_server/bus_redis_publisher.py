"""The sending half of the Redis bus: one queue, one connection, one task that writes it.

Everything published in one turn of the loop goes out as one pipeline, and everything published while its answers are
awaited is the next one. `send` must never wait. A batch whose outcome is unknown is sent again: receivers bear doubles,
and a revocation must not get lost. Called by `bus_redis`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import structlog
from redis.exceptions import ResponseError

from collab_server.bus import BusUnavailable
from collab_server.bus_parts import OutgoingQueue
from collab_server.redis_link import Connection, LinkTimes, RedisLink, command

log = structlog.get_logger(__name__)

BATCH_BYTES = 1024 * 1024
"""One pipeline. Bounded so that a backlog is no burst: by default Redis cuts off a subscriber that is 32 MiB behind."""

_PING = command(b"PING")


class Publisher:
    """Sends queued PUBLISH commands. `on_loss` is called once the link works again and envelopes had been dropped."""

    def __init__(self, url: str, times: LinkTimes, max_queued_bytes: int, on_loss: Callable[[], None]) -> None:
        self._link = RedisLink(url, "publisher", times)
        self._times = times
        self._on_loss = on_loss
        self._queue = OutgoingQueue(max_queued_bytes)
        self._pings: list[asyncio.Future[None]] = []
        self._wake = asyncio.Event()
        self._idle = asyncio.Event()
        self._idle.set()
        self._refused = 0
        self._reported = 0

    @property
    def dropped(self) -> int:
        """Envelopes given up: no room in the queue, or refused by Redis (access rules, memory)."""
        return self._queue.dropped + self._refused

    def send(self, channel: bytes, wire: bytes) -> None:
        """Queue one message; the writer wakes on the next turn of the loop."""
        self._queue.put(command(b"PUBLISH", channel, wire))
        self._idle.clear()
        self._wake.set()

    async def ping(self) -> None:
        """Wait until Redis has answered on this very connection. Raises BusUnavailable after `call_s` at the latest."""
        answer = asyncio.get_running_loop().create_future()
        self._pings.append(answer)
        self._idle.clear()
        self._wake.set()
        try:
            async with asyncio.timeout(self._times.call_s):
                await answer
        except TimeoutError:
            raise BusUnavailable("Redis does not answer") from None
        finally:
            if answer in self._pings:  # never sent: an outage must not gather them
                self._pings.remove(answer)

    async def flush(self) -> None:
        """Wait until nothing is queued or on its way, for `call_s` at most."""
        try:
            async with asyncio.timeout(self._times.call_s):
                await self._idle.wait()
        except TimeoutError:
            log.warning("bus_closed_with_unsent_envelopes", queued_bytes=self._queue.queued_bytes)

    async def run(self) -> None:
        await self._link.run(self._write)

    async def _write(self, connection: Connection) -> None:
        while True:
            while self._queue or self._pings:
                await self._round_trip(connection, self._queue.take(BATCH_BYTES))
            self._idle.set()
            self._report_loss()
            self._wake.clear()
            await self._wake.wait()

    async def _round_trip(self, connection: Connection, batch: list[bytes]) -> None:
        pings, self._pings = self._pings, []
        answered = 0
        try:
            async with asyncio.timeout(self._times.call_s):
                await connection.send_packed_command([*batch, *(_PING for _ in pings)])
                for answered in range(len(batch) + len(pings)):  # noqa: B007 - read below when a read fails
                    await self._read_answer(connection)
        except BaseException:
            self._queue.put_back(batch[answered:])
            _settle(pings, BusUnavailable("the connection to Redis was lost"))
            raise
        _settle(pings, None)

    async def _read_answer(self, connection: Connection) -> None:
        try:
            await connection.read_response()
        except ResponseError as error:  # this one command was refused, and would be again: the connection is fine
            if not self._refused:
                log.error("bus_publish_refused", error=str(error))
            self._refused += 1

    def _report_loss(self) -> None:
        if self._queue.dropped > self._reported:
            self._reported = self._queue.dropped
            self._on_loss()


def _settle(pings: list[asyncio.Future[None]], error: Exception | None) -> None:
    for ping in pings:
        if ping.done():  # its caller was cancelled
            continue
        if error is None:
            ping.set_result(None)
        else:
            ping.set_exception(error)
