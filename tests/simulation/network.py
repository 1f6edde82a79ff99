"""What lies between the parties: a bus that loses, doubles, delays and reorders, and connections that keep their order.

The bus is the memory adapter with its own bytes and receivers; only the way between two of them is bad. It keeps the
promise of the port that matters: after a loss somebody is told to compare states (`on_reconnect`), if late.
"""

from __future__ import annotations

import asyncio
import random
from collections import deque
from collections.abc import Callable
from contextvars import Context
from uuid import UUID

from collab_server.bus import Receive
from collab_server.bus_memory import MemoryBus, MemoryNetwork
from tests.simulation.loop import Process, SimulatedLoop

Deliver = Callable[[bytes], None]


class LossyNetwork(MemoryNetwork):
    """Carries each envelope to each bus in its own time, or not, or twice."""

    def __init__(self, loop: SimulatedLoop, chance: random.Random, loss: float) -> None:
        super().__init__()
        self.loss = loss
        self.lost = 0
        self.loop = loop
        self._chance = chance

    def carry(self, batch: list[bytes]) -> None:
        for bus in list(self._buses):
            if not self.reaches(bus):
                continue
            assert isinstance(bus, SimulatedBus)
            for envelope in batch:
                if self._chance.random() < self.loss:
                    self.lost += 1
                    self._later(bus, 0.05 + 2 * self._chance.random(), bus.back_online)
                else:
                    bus.way.send(envelope)
                if self._chance.random() < self.loss:  # a copy, or one that is late
                    self._later(bus, self._chance.random(), bus.hear, envelope)

    def _later(self, bus: MemoryBus, delay_s: float, call: Callable[..., None], *args: object) -> None:
        assert isinstance(bus, SimulatedBus)
        self.loop.call_at(self.loop.now + delay_s, call, *args, context=bus.context)

    def compare_all(self) -> None:
        """Tell everyone that envelopes may have been lost."""
        for bus in list(self._buses):
            self._later(bus, 0.0, bus.back_online)


class SimulatedBus(MemoryBus):
    """One task's end. A subscription takes its time, as over Redis."""

    def __init__(self, task_id: str, network: LossyNetwork, process: Process, chance: random.Random) -> None:
        super().__init__(task_id, network)
        loop = network.loop
        self.context: Context = process.context()
        self.way = Wire(loop, chance, self.context, self.hear)
        self._chance = chance

    async def subscribe(self, document_id: UUID | None, receive: Receive) -> None:
        await super().subscribe(document_id, receive)
        if self._chance.random() < 0.5:
            await asyncio.sleep(self._chance.random() * 0.01)


class Wire:
    """One direction of a connection: what is sent arrives in order, each piece after a seeded time, or never."""

    def __init__(self, loop: SimulatedLoop, chance: random.Random, context: Context, deliver: Deliver) -> None:
        self._loop = loop
        self._chance = chance
        self._context = context
        self._deliver = deliver
        self._under_way: deque[bytes] = deque()

    def send(self, piece: bytes) -> None:
        self._under_way.append(piece)
        share = self._chance.random()
        self._loop.call_at(self._loop.now + share * share * 0.05, self._arrive, context=self._context)

    def cut(self) -> None:
        """What is under way is lost."""
        self._under_way.clear()

    def _arrive(self) -> None:
        if self._under_way:
            self._deliver(self._under_way.popleft())
