"""The sending half of the Redis bus: one queue, one connection, one task that writes it.

Everything published in one turn of the loop goes out as one pipeline, and everything published while its answers are
awaited is the next one. `send` must never wait. A batch whose outcome is unknown is sent again, byte for byte:
receivers know it then, and a revocation must not get lost. Keeps the bus's clock: the time of the server, asked for
with every probe, so that all tasks stamp alike whatever the clocks on their walls say. Called by `bus_redis`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import structlog
from redis.exceptions import ResponseError

from collab_server.bus import BusUnavailable, Envelope
from collab_server.bus_parts import OutgoingQueue
from collab_server.redis_link import Connection, LinkTimes, RedisLink, command, some_answers

log = structlog.get_logger(__name__)

BATCH_BYTES = 1024 * 1024
"""One pipeline. Bounded so that a backlog is no burst: by default Redis cuts off a subscriber that is 32 MiB behind."""

SEND_AGAIN_WITHIN_S = 20.0
"""Later what is sent again is sealed anew: receivers would take the old stamp for a replay."""

_TIME = command(b"TIME")


@dataclass(frozen=True, slots=True)
class Packed:
    """A PUBLISH command, and what it carries."""

    command: bytes
    envelopes: Sequence[Envelope]


Pack = Callable[[Sequence[Envelope]], Iterable[Packed]]


class Publisher:
    """Sends queued envelopes, as `pack` makes commands of them.

    `on_loss` is called once the link works again and envelopes had been dropped.
    """

    def __init__(
        self, url: str, times: LinkTimes, max_queued_bytes: int, pack: Pack, on_loss: Callable[[], None]
    ) -> None:
        self._link = RedisLink(url, "publisher", times)
        self._times = times
        self._pack = pack
        self._on_loss = on_loss
        self._unsettled: list[Packed] = []  # sent, with what outcome is unknown
        self._unsettled_since = 0.0
        self._clock = asyncio.get_running_loop().time
        self._ahead_s: float | None = None  # of the server's clock before the loop's
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

    def now_ms(self) -> int:
        """The server's clock in ms since 1970; 0 before it was read for the first time."""
        return 0 if self._ahead_s is None else int((self._clock() + self._ahead_s) * 1_000)

    def send(self, envelope: Envelope) -> None:
        """Queue one envelope; the writer wakes on the next turn of the loop."""
        self._queue.put(envelope)
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
        await self._round_trip(connection, [], probe=True)  # nothing is stamped before the clock is known
        while True:
            while self._unsettled or self._queue or self._pings:
                await self._round_trip(connection, self._next_batch(), probe=bool(self._pings))
            self._idle.set()
            self._report_loss()
            self._wake.clear()
            await self._wake.wait()

    def _next_batch(self) -> list[Packed]:
        """What may have been lost before anything new."""
        again, self._unsettled = self._unsettled, []
        if again and self._clock() - self._unsettled_since > SEND_AGAIN_WITHIN_S:
            self._queue.put_back([envelope for packed in again for envelope in packed.envelopes])
            again = []
        if again:
            return again
        self._unsettled_since = self._clock()
        return list(self._pack(self._queue.take(BATCH_BYTES)))

    async def _round_trip(self, connection: Connection, batch: list[Packed], *, probe: bool) -> None:
        pings, self._pings = self._pings, []
        answered = 0
        try:
            async with asyncio.timeout(self._times.call_s):
                commands = [packed.command for packed in batch]
                await connection.send_packed_command([*commands, _TIME] if probe else commands)
                while answered < len(batch) + probe:
                    for answer in await some_answers(connection):
                        if answered < len(batch):
                            self._count(answer, batch[answered])
                        else:
                            self._read_time(answer)
                        answered += 1
        except BaseException:
            self._unsettled = batch[answered:] or self._unsettled  # those of before, when only the probe failed
            _settle(pings, BusUnavailable("the connection to Redis was lost"))
            raise
        _settle(pings, None)

    def _count(self, answer: object, packed: Packed) -> None:
        if isinstance(answer, ResponseError):  # this one was refused, and would be again: the connection is fine
            if not self._refused:
                log.error("bus_publish_refused", error=str(answer))
            self._refused += len(packed.envelopes)

    def _read_time(self, answer: Any) -> None:
        if isinstance(answer, ResponseError):
            if self._ahead_s is None:
                log.error("bus_clock_refused", error=str(answer))  # envelopes go unstamped, their age cannot be judged
            return
        seconds, micros = answer
        self._ahead_s = int(seconds) + int(micros) / 1e6 - self._clock()

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
