"""The bus of a server that is alone, and of several servers in one process (development, tests of two tasks).

A real adapter with the semantics of the Redis one: same bytes, same bounds, same order, delivery on a later turn of
the loop. `MemoryNetwork.cut` is a partition: what is published meanwhile waits within the queue's bound. It must never
call a receiver inside `publish`. Named by `assembly`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from uuid import UUID

from collab_server.bus import BusUnavailable, Envelope, Receive, check_task_id
from collab_server.bus_gate import BusTallies, Gate, Gated
from collab_server.bus_parts import OutgoingQueue, Receivers, call_each
from collab_server.envelopes import came_from

DEFAULT_QUEUE_BYTES = 32 * 1024 * 1024
"""Room for what a partition holds back; the same as the Redis adapter's."""


class MemoryNetwork:
    """Joins buses of one process and one loop. A cut bus neither sends nor hears until it is mended."""

    def __init__(self) -> None:
        self._buses: list[MemoryBus] = []
        self._cut: set[str] = set()

    def join(self, bus: MemoryBus) -> None:
        self._buses.append(bus)
        self._count_heads()

    def leave(self, bus: MemoryBus) -> None:
        if bus in self._buses:
            self._buses.remove(bus)
            self._count_heads()

    def reaches(self, bus: MemoryBus) -> bool:
        return bus in self._buses and bus.task_id not in self._cut

    def _count_heads(self) -> None:
        for bus in self._buses:
            bus.is_alone = len(self._buses) == 1

    def carry(self, batch: list[bytes]) -> None:
        """Deliver to every bus that is reachable now, the sender included: it drops its own like any other bus."""
        for bus in list(self._buses):
            if self.reaches(bus):
                for wire in batch:
                    bus.hear(wire)

    def cut(self, task_id: str) -> None:
        self._cut.add(task_id)

    def mend(self, task_id: str) -> None:
        """End a partition: held-back envelopes go out, then the task is told that it may have missed some."""
        if task_id not in self._cut:
            return
        self._cut.remove(task_id)
        for bus in self._buses:
            if bus.task_id == task_id:
                bus.back_online()


class MemoryBus(Gated):
    """A `Bus` inside one process. Without a network it has nobody to talk to, and publishing costs next to nothing."""

    def __init__(
        self,
        task_id: str,
        network: MemoryNetwork | None = None,
        *,
        max_queued_bytes: int = DEFAULT_QUEUE_BYTES,
        tallies: BusTallies | None = None,
    ) -> None:
        check_task_id(task_id)
        self.task_id = task_id
        self.is_alone = False
        self.on_reconnect: list[Callable[[], None]] = []
        self._own = task_id.encode()
        self._network = network or MemoryNetwork()
        self._receivers = Receivers()
        self._gate = Gate(task_id, _now_ms, tallies=tallies)
        self._outgoing = OutgoingQueue(max_queued_bytes)
        self._max_queued_bytes = max_queued_bytes
        self._reported = 0
        self._flush_due: asyncio.Handle | None = None

    @property
    def dropped(self) -> int:
        return self._outgoing.dropped

    async def start(self) -> None:
        self._network.join(self)
        self._schedule_flush()

    async def subscribe(self, document_id: UUID | None, receive: Receive) -> None:
        self._receivers.add(document_id, receive)

    async def unsubscribe(self, document_id: UUID | None, receive: Receive) -> None:
        self._receivers.remove(document_id, receive)

    def publish(self, envelope: Envelope) -> None:
        if self.is_alone:
            return
        self._outgoing.put(envelope)
        self._schedule_flush()

    async def ping(self) -> None:
        if not self._network.reaches(self):
            raise BusUnavailable("this bus is cut off or not started")

    async def close(self) -> None:
        self._flush()
        self._network.leave(self)

    def hear(self, wire: bytes) -> None:
        """One message from the network."""
        if not came_from(wire, self._own) and (parcel := self._gate.admit(wire)) is not None:
            for envelope in parcel.envelopes:
                self._receivers.deliver(envelope)

    def back_online(self) -> None:
        """The partition is over: flush on the next turn, then say so."""
        self._schedule_flush()
        asyncio.get_running_loop().call_soon(self._tell_reconnected)

    def _schedule_flush(self) -> None:
        if self._flush_due is None and self._outgoing and self._network.reaches(self):
            self._flush_due = asyncio.get_running_loop().call_soon(self._flush)

    def _flush(self) -> None:
        if self._flush_due is not None:
            self._flush_due.cancel()
            self._flush_due = None
        if self._network.reaches(self):
            self._network.carry([wire for wire, _ in self._gate.seal(self._outgoing.take(self._max_queued_bytes))])
            if self.dropped > self._reported:
                self._reported = self.dropped
                asyncio.get_running_loop().call_soon(self._tell_reconnected)

    def _tell_reconnected(self) -> None:
        call_each(self.on_reconnect)


def _now_ms() -> int:
    """The clock all buses of one network share."""
    return int(asyncio.get_running_loop().time() * 1_000)
