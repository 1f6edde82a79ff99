"""The bus between tasks over Redis pub/sub: channels `{prefix}room:{<id>}` and `{prefix}control`.

The braces around the id of document and epoch are a hash tag: in a Redis Cluster all names of a room share a slot.
Redis keeps nothing and anyone who reaches it can publish: what arrives is checked (`bus_gate`), and what is not ours is
counted and dropped; what gets lost is healed by the rooms. One connection and one task send, one connection and one
task listen; no call on either is shared. It must never block the loop, nor stop local work because Redis is away.
Named by `assembly`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Sequence
from uuid import UUID

import structlog

from collab_server.bus import BusUnavailable, Envelope, Receive, check_task_id
from collab_server.bus_gate import BusTallies, Gate, Gated
from collab_server.bus_parts import Receivers, call_each
from collab_server.bus_redis_publisher import Packed, Publisher
from collab_server.bus_redis_subscriber import Subscriber
from collab_server.envelopes import came_from
from collab_server.redis_link import LinkTimes, command

log = structlog.get_logger(__name__)

DEFAULT_QUEUE_BYTES = 32 * 1024 * 1024
"""What an outage may hold back: minutes of typing, or the whole state of one large document."""


class RedisBus(Gated):
    """A `Bus` over one Redis (or compatible) server. Make it inside a running loop.

    With `hmac_keys` the first signs every message, and what none of them signed is refused; two let a cluster change
    its key.
    """

    def __init__(
        self,
        url: str,
        task_id: str,
        key_prefix: str = "collab:",
        *,
        hmac_keys: Sequence[bytes] = (),
        tallies: BusTallies | None = None,
        max_queued_bytes: int = DEFAULT_QUEUE_BYTES,
        times: LinkTimes | None = None,
    ) -> None:
        check_task_id(task_id)
        times = times or LinkTimes()
        self.task_id = task_id
        self.is_alone = False  # who listens is known to `company`
        self.on_reconnect: list[Callable[[], None]] = []
        self._own = task_id.encode()
        self._prefix = key_prefix
        self._receivers = Receivers()
        self._channels: dict[UUID | None, bytes] = {}
        self._documents: dict[bytes, UUID | None] = {}  # the same the other way round
        self._publisher = Publisher(url, times, max_queued_bytes, self._pack, self._tell_reconnected)
        self._gate = Gate(task_id, self._publisher.now_ms, hmac_keys, tallies)
        self._subscriber = Subscriber(url, times, self._hear, self._tell_reconnected)
        self._tasks: list[asyncio.Task[None]] = []

    @property
    def dropped(self) -> int:
        return self._publisher.dropped

    async def start(self) -> None:
        if not self._tasks:
            self._tasks = [
                asyncio.create_task(self._subscriber.run(), name="bus-subscriber"),
                asyncio.create_task(self._publisher.run(), name="bus-publisher"),
            ]

    async def subscribe(self, document_id: UUID | None, receive: Receive) -> None:
        channel = self._channel(document_id)
        if self._receivers.add(document_id, receive):
            self._channels[document_id] = channel
            self._documents[channel] = document_id
            self._subscriber.want(channel)
        await self._subscriber.confirmed(channel)

    async def unsubscribe(self, document_id: UUID | None, receive: Receive) -> None:
        if self._receivers.remove(document_id, receive):
            channel = self._channels.pop(document_id)
            del self._documents[channel]
            self._subscriber.forget(channel)

    def publish(self, envelope: Envelope) -> None:
        if not self.is_alone or envelope.document_id is None:  # words are how tasks find each other
            self._publisher.send(envelope)

    async def ping(self) -> None:
        if not self._subscriber.is_up:
            raise BusUnavailable("not listening to Redis")
        await self._publisher.ping()

    async def close(self) -> None:
        if self._tasks:
            await self._publisher.flush()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._tasks.clear()

    def _channel(self, document_id: UUID | None) -> bytes:
        known = self._channels.get(document_id)
        if known is not None:
            return known
        name = "control" if document_id is None else f"room:{{{document_id}}}"
        return f"{self._prefix}{name}".encode()

    def _hear(self, channel: bytes, wire: bytes) -> None:
        if came_from(wire, self._own):
            return
        if channel not in self._documents:
            return  # left meanwhile
        parcel = self._gate.admit(wire, self._documents[channel])
        if parcel is not None:
            for envelope in parcel.envelopes:
                self._receivers.deliver(envelope)

    def _pack(self, envelopes: Sequence[Envelope]) -> Iterator[Packed]:
        for wire, sealed in self._gate.seal(envelopes):
            yield Packed(command(b"PUBLISH", self._channel(sealed[0].document_id), wire), sealed)

    def _tell_reconnected(self) -> None:
        call_each(self.on_reconnect)
