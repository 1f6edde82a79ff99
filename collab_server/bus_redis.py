"""The bus between tasks over Redis pub/sub: channels `{prefix}room:{document id}` and `{prefix}control`.

Redis keeps nothing and anyone who reaches it can publish: what arrives is checked (`envelopes`), and what is not ours
is counted and dropped; what gets lost is healed by the rooms. One connection and one task send, one connection and one
task listen; no call on either is ever shared. It must never block the loop, nor stop local work because Redis is away.
Named by `assembly`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from uuid import UUID

import structlog

from collab_server.bus import BusUnavailable, Envelope, Receive, check_task_id
from collab_server.bus_parts import Receivers, call_each
from collab_server.bus_redis_publisher import Publisher
from collab_server.bus_redis_subscriber import Subscriber
from collab_server.envelopes import MalformedEnvelope, came_from, decode, encode
from collab_server.redis_link import LinkTimes

log = structlog.get_logger(__name__)

DEFAULT_QUEUE_BYTES = 32 * 1024 * 1024
"""What an outage may hold back: minutes of typing, or the whole state of one large document."""


class RedisBus:
    """A `Bus` over one Redis (or compatible) server. Make it inside a running loop.

    `hmac_key` signs every envelope and refuses all others; every task of a cluster needs the same one.
    """

    def __init__(
        self,
        url: str,
        task_id: str,
        key_prefix: str = "collab:",
        *,
        hmac_key: bytes | None = None,
        max_queued_bytes: int = DEFAULT_QUEUE_BYTES,
        times: LinkTimes | None = None,
    ) -> None:
        check_task_id(task_id)
        times = times or LinkTimes()
        self.task_id = task_id
        self.is_alone = False  # whoever listens is not known here
        self.on_reconnect: list[Callable[[], None]] = []
        self.malformed = 0
        self._own = task_id.encode()
        self._prefix = key_prefix
        self._key = hmac_key
        self._receivers = Receivers()
        self._channels: dict[UUID | None, bytes] = {}
        self._publisher = Publisher(url, times, max_queued_bytes, self._tell_reconnected)
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
            self._subscriber.want(channel)
        await self._subscriber.confirmed(channel)

    async def unsubscribe(self, document_id: UUID | None, receive: Receive) -> None:
        if self._receivers.remove(document_id, receive):
            self._subscriber.forget(self._channels.pop(document_id))

    def publish(self, envelope: Envelope) -> None:
        self._publisher.send(self._channel(envelope.document_id), encode(envelope, self._key))

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
        name = "control" if document_id is None else f"room:{document_id}"
        return f"{self._prefix}{name}".encode()

    def _hear(self, channel: bytes, wire: bytes) -> None:
        if came_from(wire, self._own):
            return
        try:
            envelope = decode(wire, self._key)
            if self._channel(envelope.document_id) != channel:
                raise MalformedEnvelope("channel")  # one room's envelope published into another's channel (T21)
        except MalformedEnvelope as refused:
            self.malformed += 1
            log.debug("bus_envelope_refused", reason=refused.reason)
            return
        self._receivers.deliver(envelope)

    def _tell_reconnected(self) -> None:
        call_each(self.on_reconnect)
