"""The listening half of the Redis bus: one pub/sub connection, read by one task, its commands written by a twin.

Nobody else may touch the connection: `want` and `forget` only note what is to be asked. After every reconnect all
channels are asked for again, and when the last one is confirmed `on_loss` is called once. Called by `bus_redis`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress

from redis.exceptions import ResponseError

from collab_server.redis_link import Connection, LinkTimes, RedisLink, command, some_answers

TURN_MESSAGES = 128
"""Messages delivered before other work gets its turn: at some 20 µs each, well below the 50 ms the loop may be held."""

_PING = command(b"PING")


class SilentConnection(Exception):
    """A probe was not answered: the peer hangs or the network lost it without a word."""


class Subscriber:
    """Hears channels. `receive(channel, message)` is called in the reader for each message and must not raise."""

    def __init__(
        self, url: str, times: LinkTimes, receive: Callable[[bytes, bytes], None], on_loss: Callable[[], None]
    ) -> None:
        self._link = RedisLink(url, "subscriber", times)
        self._times = times
        self._receive = receive
        self._on_loss = on_loss
        self._channels: set[bytes] = set()
        self._commands: list[bytes] = []
        self._wake = asyncio.Event()
        # How many SUBSCRIBE answers a channel still awaits: leaving and coming back at once makes it more than one.
        self._unconfirmed: dict[bytes, int] = {}
        self._waiters: dict[bytes, asyncio.Future[None]] = {}
        self._heard_at = 0.0
        self._owes_resync = False

    @property
    def is_up(self) -> bool:
        return self._link.is_up

    def want(self, channel: bytes) -> None:
        self._channels.add(channel)
        self._unconfirmed[channel] = self._unconfirmed.get(channel, 0) + 1
        self._ask(b"SUBSCRIBE", channel)

    def forget(self, channel: bytes) -> None:
        self._channels.discard(channel)
        self._ask(b"UNSUBSCRIBE", channel)

    async def confirmed(self, channel: bytes) -> None:
        """Wait until the server has confirmed the channel; while it is away or slow, promise an `on_loss` instead."""
        if channel not in self._unconfirmed:
            return
        if not self._link.is_away:
            waiter = self._waiters.get(channel)
            if waiter is None:
                waiter = self._waiters[channel] = asyncio.get_running_loop().create_future()
            # `wait` and not `await`: neither a timeout nor a cancelled caller may end the future that others share.
            await asyncio.wait([waiter], timeout=self._times.call_s)
        if channel in self._unconfirmed:
            self._owes_resync = True

    async def run(self) -> None:
        await self._link.run(self._listen)

    async def _listen(self, connection: Connection) -> None:
        self._ask_for_everything()
        # No TaskGroup: until Python 3.12.4 it loses a cancellation that comes as one of its tasks fails (gh-116720).
        twins = [
            asyncio.create_task(self._read(connection), name="bus-subscriber-read"),
            asyncio.create_task(self._write(connection), name="bus-subscriber-write"),
        ]
        try:
            ended, _ = await asyncio.wait(twins, return_when=asyncio.FIRST_COMPLETED)
            await ended.pop()
        finally:
            self._lost()
            for twin in twins:
                twin.cancel()
            await asyncio.gather(*twins, return_exceptions=True)

    def _ask_for_everything(self) -> None:
        self._commands = [command(b"SUBSCRIBE", *self._channels)] if self._channels else []
        self._unconfirmed = dict.fromkeys(self._channels, 1)
        self._wake.set()
        self._resync_if_owed()

    def _lost(self) -> None:
        self._owes_resync = True
        self._unconfirmed = dict.fromkeys(self._channels, 1)
        for channel in list(self._waiters):
            self._release(channel)

    async def _read(self, connection: Connection) -> None:
        clock = asyncio.get_running_loop().time
        taken = 0
        while True:
            answers = await some_answers(connection)
            self._heard_at = clock()
            for answer in answers:
                if isinstance(answer, ResponseError):
                    raise answer
                if type(answer) is list:  # not so the bare PONG of a connection without subscriptions
                    self._take(answer)
                taken += 1
                if taken >= TURN_MESSAGES:
                    taken = 0
                    await asyncio.sleep(0)

    async def _write(self, connection: Connection) -> None:
        """Send what is asked for; in silence probe, and give the connection up when the probe goes unanswered."""
        clock = asyncio.get_running_loop().time
        probed_at = -1.0
        self._heard_at = clock()
        while True:
            with suppress(TimeoutError):
                async with asyncio.timeout(self._times.heartbeat_s):
                    await self._wake.wait()
            self._wake.clear()
            commands, self._commands = self._commands, []
            if self._heard_at < probed_at <= clock() - self._times.heartbeat_s:
                raise SilentConnection("a probe was not answered")
            if probed_at <= self._heard_at <= clock() - self._times.heartbeat_s:
                commands.append(_PING)
                probed_at = clock()
            if commands:
                async with asyncio.timeout(self._times.call_s):
                    await connection.send_packed_command(commands)

    def _take(self, answer: list[bytes]) -> None:
        """[b"message", channel, message] | [b"subscribe" or b"unsubscribe", channel, count] | [b"pong", b""]."""
        kind = answer[0]
        if kind == b"message":
            self._receive(answer[1], answer[2])
        elif kind == b"subscribe":
            self._confirm(answer[1])

    def _confirm(self, channel: bytes) -> None:
        left = self._unconfirmed.get(channel, 0) - 1
        if left > 0:
            self._unconfirmed[channel] = left
            return
        self._unconfirmed.pop(channel, None)
        self._release(channel)
        self._resync_if_owed()

    def _release(self, channel: bytes) -> None:
        waiter = self._waiters.pop(channel, None)
        if waiter is not None and not waiter.done():
            waiter.set_result(None)

    def _resync_if_owed(self) -> None:
        if self._owes_resync and not self._unconfirmed:
            self._owes_resync = False
            self._on_loss()

    def _ask(self, name: bytes, channel: bytes) -> None:
        if self._link.is_up:  # otherwise the next connection asks for everything
            self._commands.append(command(name, channel))
            self._wake.set()
