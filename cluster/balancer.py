"""A TCP balancer for trials on one machine: connections go round the tasks that are ready, and stay where they are.

It reads nothing of what it carries. It must never cut a connection because its task drains: the task closes it. A task
that takes none is passed over at once, and tried again when `readiness` finds it ready. Called by `deployment`
and `balance`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import cast

CONNECT_TIMEOUT_S = 2.0
BACKLOG = 4096


@dataclass(eq=False, slots=True)
class Target:
    """One task as the balancer sees it. `connections` are those it has now."""

    port: int
    host: str = "127.0.0.1"
    ready: bool = False
    connections: int = field(default=0, init=False)


class Balancer:
    """Listens on `host`:`port` (0: a free one, then in `port`) and carries to the `targets` in turn."""

    def __init__(self, targets: Sequence[Target], host: str, port: int) -> None:
        self._targets = tuple(targets)
        self._host = host
        self._next = 0
        self._listener: asyncio.Server | None = None
        self._clients: set[_Client] = set()
        self.port = port

    async def start(self) -> None:
        """Begin to listen. Raises OSError when the port is taken."""
        loop = asyncio.get_running_loop()
        self._listener = await loop.create_server(lambda: _Client(self), self._host, self.port, backlog=BACKLOG)
        self.port = self._listener.sockets[0].getsockname()[1]

    def refuse_new(self) -> None:
        """Take no further connection; those that are there go on."""
        if self._listener is not None:
            self._listener.close()

    async def close(self) -> None:
        """Cut what is left. Idempotent."""
        self.refuse_new()
        connecting = [client.connecting for client in self._clients if client.connecting is not None]
        for client in list(self._clients):
            client.cut()
        await asyncio.gather(*connecting, return_exceptions=True)

    def opened(self, client: _Client) -> None:
        """Somebody has connected."""
        self._clients.add(client)

    def ended(self, client: _Client) -> None:
        """A connection is gone."""
        self._clients.discard(client)
        if client.target is not None:
            client.target.connections -= 1

    async def reach_task(self, client: _Client) -> None:
        """Connect `client` to the next task that takes it; without one, hang up."""
        loop = asyncio.get_running_loop()
        for target in self._in_turn():
            try:
                async with asyncio.timeout(CONNECT_TIMEOUT_S):
                    await loop.create_connection(lambda: _Task(client), target.host, target.port)
            except (OSError, TimeoutError):
                target.ready = False
                continue
            target.connections += 1
            client.target = target
            return
        client.cut()

    def _in_turn(self) -> list[Target]:
        """Those that are ready, beginning behind the one that was last."""
        start = self._next
        self._next = (start + 1) % len(self._targets)
        return [target for target in (*self._targets[start:], *self._targets[:start]) if target.ready]


class _Side(asyncio.Protocol):
    """One end of what is carried: what comes goes to `other`, which says when it is too much."""

    has_said_all = False
    other: _Side | None = None
    transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        if self.other is not None and self.other.transport is not None:
            self.other.transport.write(data)

    def eof_received(self) -> bool:
        """One side has said all: the other may have more to say. Returns whether to stay open for it."""
        self.has_said_all = True
        other = self.other
        if other is None or other.transport is None:
            return False
        with suppress(OSError, RuntimeError):  # it is closing
            other.transport.write_eof()
        return not other.has_said_all

    def pause_writing(self) -> None:
        if self.other is not None and self.other.transport is not None:
            self.other.transport.pause_reading()

    def resume_writing(self) -> None:
        if self.other is not None and self.other.transport is not None:
            self.other.transport.resume_reading()

    def connection_lost(self, exc: Exception | None) -> None:
        other, self.other, self.transport = self.other, None, None
        if other is None or other.transport is None:
            return
        if exc is None:
            other.transport.close()  # sends what is left
        else:
            other.transport.abort()


class _Client(_Side):
    """The end that connected to us."""

    def __init__(self, balancer: Balancer) -> None:
        self._balancer = balancer
        self.target: Target | None = None
        self.connecting: asyncio.Task[None] | None = None
        self._early = b""  # what came while the task was being reached

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        if self.transport is not None:
            self.transport.pause_reading()  # until there is somebody to tell; some loops read once nevertheless
        self._balancer.opened(self)
        self.connecting = asyncio.get_running_loop().create_task(self._balancer.reach_task(self))

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        self._balancer.ended(self)

    def data_received(self, data: bytes) -> None:
        if self.other is None:
            self._early += data
        super().data_received(data)

    def reached(self, task: _Task) -> None:
        """There is somebody to tell."""
        self.other = task
        if self.transport is not None and task.transport is not None:
            task.transport.write(self._early)
            self._early = b""
            self.transport.resume_reading()

    def cut(self) -> None:
        """End both sides without waiting for what is unsent."""
        for side in (self.other, self):
            if side is not None and side.transport is not None:
                side.transport.abort()


class _Task(_Side):
    """The end that we connected to a task for `client`."""

    def __init__(self, client: _Client) -> None:
        self._for = client

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        if self._for.transport is None:
            transport.close()  # it left meanwhile
            return
        self.other = self._for
        self._for.reached(self)
