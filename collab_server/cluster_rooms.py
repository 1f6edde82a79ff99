"""The rooms of the whole cluster, as any task tells them: it asks those that live, and waits no longer than allowed.

Each task answers with its own largest or next rooms only, so that ten thousand rooms on each of them cost neither the
bus nor the loop much: names first, then the numbers of the rooms that are shown. Who was silent is named, and the
answer marked partial. Must never take silence for absence. Asked by `admin_rooms` and `cluster_acts`.
"""

from __future__ import annotations

import asyncio
import heapq
import time
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Any

from collab_server.control import Body, Control
from collab_server.neighbours import Neighbours
from collab_server.room_merge import merged, merged_whole
from collab_server.room_report import numbers, whole
from collab_server.rooms.registry import Registry

LARGEST_PAGE, MOST_SEATS = 500, 1_000
NAMES, NUMBERS, WHOLE = "rooms.names", "rooms.numbers", "rooms.whole"
BREATH_S = 0.005  # of work, after which others in the loop have a turn


@dataclass(frozen=True, slots=True)
class Heard:
    """What the tasks answered, without those that had nothing to say; and what may be missing."""

    by_task: Mapping[str, Body]
    silent: frozenset[str]
    cut_off: bool

    @property
    def is_partial(self) -> bool:
        """Whether there may be more than this."""
        return bool(self.silent) or self.cut_off

    def gaps(self) -> dict[str, object]:
        """What every answer says of what may be missing."""
        return {"partial": self.is_partial, "silent": sorted(self.silent), "cut_off": self.cut_off}


class Cluster:
    """The tasks that live, this one included. `reaches_others` tells whether the bus answers."""

    def __init__(
        self, control: Control, neighbours: Neighbours, timeout_s: float, reaches_others: Callable[[], bool]
    ) -> None:
        self.control = control
        self.neighbours = neighbours
        self.timeout_s = timeout_s
        self._reaches_others = reaches_others

    @property
    def task_id(self) -> str:
        """This task."""
        return self.control.task_id

    async def ask(
        self, word: str, body: Body, *, of: Collection[str] | None = None, here: bool = False, longer_s: float = 0.0
    ) -> Heard:
        """Ask everyone, or the tasks `of` (and this one), or with `here` this task alone. `longer_s` is added to the
        deadline. Raises what this task's own answer raises.
        """
        asked = [] if here else self.neighbours.living if of is None else of
        answers = await self.control.ask(word, body, of=list(asked), timeout_s=self.timeout_s + longer_s)
        told = {task: body for task, body in answers.by_task.items() if body}
        return Heard(told, answers.silent, cut_off=not here and not self._reaches_others())


class ClusterRooms:
    """Answers what other tasks ask about this one's rooms, and asks them."""

    def __init__(self, cluster: Cluster, registry: Registry) -> None:
        self._cluster = cluster
        self._registry = registry
        cluster.control.on_question(NAMES, self._names)
        cluster.control.on_question(NUMBERS, self._numbers)
        cluster.control.on_question(WHOLE, self._whole)

    async def page(self, limit: int, after: str | None, *, here: bool = False) -> dict[str, Any]:
        """The `limit` rooms with most members; or those that come next by name behind `after`."""
        heard = await self._cluster.ask(NAMES, {"limit": limit, "after": after}, here=here)
        members: dict[str, int] = {}
        for told in heard.by_task.values():
            for name, here_now in told["rooms"]:
                members[name] = members.get(name, 0) + here_now
        names = sorted(members)[:limit] if after is not None else _largest(members, limit)
        more = len(members) > limit or any(told["more"] for told in heard.by_task.values())
        rooms, silent = await self._numbers_of(names, heard, here=here)
        heard = Heard(heard.by_task, heard.silent | silent, heard.cut_off)
        page: dict[str, Any] = {"rooms": rooms, **heard.gaps()}
        page["rooms_open"] = sum(told["open"] for told in heard.by_task.values())
        page["after"] = names[-1] if after is not None and more and names else None
        return page

    async def _numbers_of(
        self, names: list[str], heard: Heard, *, here: bool
    ) -> tuple[list[dict[str, Any]], frozenset[str]]:
        if not names:
            return [], frozenset()
        found = await self._cluster.ask(NUMBERS, {"names": names}, of=heard.by_task.keys(), here=here)
        by_name: dict[str, dict[str, Body]] = {}
        for task, told in found.by_task.items():
            for report in told["rooms"]:
                by_name.setdefault(report["document"], {})[task] = report
        return [merged(by_name[name]) for name in names if name in by_name], found.silent

    async def holders(self, document: str) -> tuple[dict[str, Body], Heard]:
        """Each task that holds the room, with its numbers."""
        heard = await self._cluster.ask(NUMBERS, {"names": [document]})
        return {task: told["rooms"][0] for task, told in heard.by_task.items() if told["rooms"]}, heard

    async def one(self, document: str, seats: int, *, here: bool = False) -> tuple[dict[str, Any] | None, Heard]:
        """All about one room, with at most `seats` of each task; None when nobody who answered holds it."""
        heard = await self._cluster.ask(WHOLE, {"document": document, "seats": seats}, here=here)
        return (merged_whole(heard.by_task) if heard.by_task else None), heard

    # What this task answers

    async def _names(self, body: Body) -> Body:
        limit, after = min(int(body["limit"]), LARGEST_PAGE), body["after"]
        members = {name: len(room.members) for name, room in self._registry.rooms.items()}
        if after is None:
            names = _largest(members, limit)
            more = len(members) > limit
        else:
            names = heapq.nsmallest(limit + 1, (name for name in members if name > after))
            more = len(names) > limit
        rooms = [(name, members[name]) for name in names[:limit]]
        return {"open": len(members), "rooms": rooms, "more": more}

    async def _numbers(self, body: Body) -> Body:
        rooms = []
        began = time.monotonic()
        for name in body["names"][:LARGEST_PAGE]:
            if (room := self._registry.rooms.get(name)) is not None:
                rooms.append(numbers(room))
            if time.monotonic() - began > BREATH_S:
                await asyncio.sleep(0)
                began = time.monotonic()
        return {"rooms": rooms}

    async def _whole(self, body: Body) -> Body:
        room = self._registry.rooms.get(body["document"])
        now = asyncio.get_running_loop().time()
        return {} if room is None else whole(room, now, min(int(body["seats"]), MOST_SEATS))


def _largest(members: Mapping[str, int], limit: int) -> list[str]:
    """Most members first, by name among equals."""
    return heapq.nsmallest(limit, members, key=lambda name: (-members[name], name))
