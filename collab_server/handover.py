"""Rooms go over to the other tasks warm: a draining task names those with members, and its neighbours open them.

The members come back to any of the others within moments, all to rooms that are open by then; without this each room
would be opened while its people wait. Names are said a little before their members are moved. It is a courtesy: words
may be lost, and whoever comes to a room that is not open opens it, as ever. Must never hold up a drain, nor open more
than the bound on rooms allows. Built by `assembly`, told by `drain`.
"""

from __future__ import annotations

from collections.abc import Sequence

import structlog

from collab_server.admission import DOCUMENT_NAME
from collab_server.control import Body, Control
from collab_server.errors import Refused
from collab_server.neighbours import Neighbours
from collab_server.rooms.registry import Registry
from collab_server.tasks import Tasks
from collab_server.telemetry import Metrics
from persistence.catalog import Catalog
from persistence.errors import StorageUnavailable

log = structlog.get_logger(__name__)

HANDING_OVER = "handing_over"
NAMES_A_WORD = 100
OPEN_AT_ONCE = 4  # a load waits for storage most of the time, but those who are here already come first
MOST_WAITING = 20_000


class Handover:
    """See the module. `give` is the draining task's side; what others give is acted on from the start."""

    def __init__(
        self, control: Control, neighbours: Neighbours, registry: Registry, catalog: Catalog, metrics: Metrics
    ) -> None:
        self._control = control
        self._neighbours = neighbours
        self._registry = registry
        self._catalog = catalog
        self._metrics = metrics
        self._waiting: dict[str, None] = {}  # names in the order in which they were said
        self._opening = Tasks()
        control.on(HANDING_OVER, self._heard)

    def give(self, names: Sequence[str]) -> bool:
        """Tell the others that the members of these documents are about to come; whether there are others.

        From the first time on this task opens nothing for others. Never waits, never fails.
        """
        if not self._neighbours.draining:
            self._neighbours.draining = True
            self._neighbours.say_alive()
        for start in range(0, len(names), NAMES_A_WORD):
            self._control.tell(HANDING_OVER, {"documents": list(names[start : start + NAMES_A_WORD])})
        return bool(self._neighbours.living)

    async def close(self) -> None:
        """Open no more."""
        self._waiting.clear()
        await self._opening.close()

    def _heard(self, origin: str, body: Body) -> None:
        names = body["documents"]
        if not isinstance(names, list) or len(names) > NAMES_A_WORD:
            raise ValueError("no list of names")
        if not all(isinstance(name, str) and DOCUMENT_NAME.fullmatch(name) for name in names):
            raise ValueError("no name of a document")
        if origin == self._control.task_id or self._neighbours.draining:
            return
        for name in names:
            if name not in self._registry.rooms and len(self._waiting) < MOST_WAITING:
                self._waiting[name] = None
        for _ in range(min(OPEN_AT_ONCE - len(self._opening), len(self._waiting))):
            self._opening.start(self._open_those_that_wait(), "handover")

    async def _open_those_that_wait(self) -> None:
        while self._waiting and not self._neighbours.draining:
            name = next(iter(self._waiting))
            del self._waiting[name]
            if name in self._registry.rooms:
                continue  # its members were faster
            try:
                document = await self._catalog.find(name)
                if self._registry.is_full:  # to be refused would cost an empty room its place
                    self._waiting.clear()
                elif document is not None:
                    self._registry.release(await self._registry.open(document))
                    self._metrics.rooms_handed_over.inc()
            except Refused as refusal:
                log.info("handover_refused", reason=refusal.reason.slug)
            except StorageUnavailable as error:
                log.warning("handover_given_up", waiting=len(self._waiting), exc_info=error)
                self._waiting.clear()
