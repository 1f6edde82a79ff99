"""The other tasks of the cluster that live, as this one hears them on the control channel.

Every task says "alive" every few seconds, at once when it hears a stranger, and "leaving" when it stops in good order;
one that was silent for `GONE_AFTER_S` counts as gone. Silence of the bus looks the same: who cannot be heard cannot be
seen. Must never be asked who owns a document: nobody does. Built by `assembly`.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

import structlog

from collab_server.control import Body, Control
from collab_server.telemetry import Metrics

log = structlog.get_logger(__name__)

ALIVE_EVERY_S = 2.0
GONE_AFTER_S = 8.0
"""Four words lost in a row, or a dead task: its members are to be off everyone's screen within 15 s."""
MOST_NEIGHBOURS = 1_000

ALIVE, LEAVING = "alive", "leaving"
Gone = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Neighbour:
    """Another task: `speaks` are the envelope versions it reads, `heard_at` is on this task's monotonic clock."""

    task_id: str
    speaks: frozenset[int]
    draining: bool
    heard_at: float


class Neighbours:
    """See the module. `living` maps task ids to what was heard last; `on_gone` are told of each id that is no more."""

    def __init__(
        self,
        control: Control,
        metrics: Metrics,
        *,
        speaks: frozenset[int],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.on_gone: list[Gone] = []
        self.on_come: list[Gone] = []
        self.on_silent: list[Gone] = []  # of those that are no more, who never said that it leaves
        self.draining = False
        self._control = control
        self._metrics = metrics
        self._speaks = speaks
        self._clock = clock
        self._living: dict[str, Neighbour] = {}
        self._has_left = False
        control.on(ALIVE, self._heard)
        control.on(LEAVING, self._left)

    @property
    def living(self) -> Mapping[str, Neighbour]:
        """The other tasks by id."""
        return self._living

    def common_versions(self) -> frozenset[int]:
        """The envelope versions that this task and every living neighbour read."""
        return self._speaks.intersection(*(each.speaks for each in self._living.values()))

    async def watch(self) -> None:
        """Say "alive" and look for who went silent, until this task leaves."""
        while not self._has_left:
            self.say_alive()
            slept_from = self._clock()
            await asyncio.sleep(ALIVE_EVERY_S)
            self.look(late_s=self._clock() - slept_from - ALIVE_EVERY_S)

    def say_alive(self) -> None:
        """Tell the others that this task lives; also whenever something about it changes, until it has left."""
        if self._has_left:
            return
        body = {"speaks": sorted(self._speaks), "draining": self.draining}
        self._control.tell(ALIVE, body)

    def say_leaving(self) -> None:
        """Tell the others that this task is no more, so that they need not wait for its silence."""
        self._has_left = True
        self._control.tell(LEAVING, {})

    def look(self, *, late_s: float = 0.0) -> None:
        """Count as gone who was silent too long. A loop that came `late_s` itself heard nobody in that time."""
        now = self._clock()
        for each in list(self._living.values()):
            if late_s > ALIVE_EVERY_S:
                self._living[each.task_id] = replace(each, heard_at=min(now, each.heard_at + late_s))
            elif now - each.heard_at > GONE_AFTER_S:
                log.warning("neighbour_silent", task=each.task_id)
                self._gone(each.task_id)
                for silent in self.on_silent:
                    silent(each.task_id)

    def _heard(self, origin: str, body: Body) -> None:
        if origin == self._control.task_id or self._has_left:
            return
        is_new = origin not in self._living
        if is_new and len(self._living) >= MOST_NEIGHBOURS:
            raise ValueError("more tasks than a cluster has")
        speaks = frozenset(int(version) for version in body["speaks"])
        self._living[origin] = Neighbour(origin, speaks, bool(body["draining"]), self._clock())
        if is_new:
            log.info("neighbour_heard", task=origin)
            self._metrics.neighbours.set(len(self._living))
            self.say_alive()
            for come in self.on_come:
                come(origin)

    def _left(self, origin: str, _body: Body) -> None:
        if origin in self._living:
            log.info("neighbour_left", task=origin)
            self._gone(origin)

    def _gone(self, task_id: str) -> None:
        del self._living[task_id]
        self._metrics.neighbours.set(len(self._living))
        for gone in self.on_gone:
            gone(task_id)
