"""The directory of a server that is alone, and of several tasks in one process (development, tests).

A real adapter with the semantics of the Redis one: what is written shows with the next beat, silence ends a task, and
`Board.away` is an outage, `Board.lose` what a restart of Redis does. Must never be shared by processes. Named by
`assembly`.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from presence.directory import ALIVE_S, Attendee, DirectoryUnavailable, Occupancy, merged


@dataclass(slots=True)
class _Page:
    """What one task wrote."""

    places: dict[str, tuple[Attendee, ...]] = field(default_factory=dict)
    paths: dict[str, tuple[str, ...]] = field(default_factory=dict)


class Board:
    """What all tasks of one process see. While `away` every call fails; `clock` gives seconds."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self.away = False
        self.clock = clock
        self._shown: dict[str, tuple[_Page, float]] = {}

    def lose(self) -> None:
        """Forget everything, as a server that keeps nothing does when it starts again."""
        self._shown.clear()

    def show(self, task_id: str, page: _Page) -> None:
        self._shown[task_id] = page, self.clock() + ALIVE_S

    def remove(self, task_id: str) -> None:
        self._shown.pop(task_id, None)

    def living(self) -> dict[str, _Page]:
        """Pages by the ids of tasks that were not silent for too long; the others are forgotten."""
        now = self.clock()
        self._shown = {task_id: shown for task_id, shown in self._shown.items() if shown[1] > now}
        return {task_id: page for task_id, (page, _until) in self._shown.items()}


class MemoryDirectory:
    """A `Directory` for the task `task_id`; those of several tasks share a board."""

    def __init__(self, task_id: str, board: Board | None = None) -> None:
        self._task_id = task_id
        self._board = board or Board()
        self._page = _Page()
        self._is_new = True

    async def begin(self) -> None:
        self._reach()
        self._page, self._is_new = _Page(), True

    async def write(self, places: Mapping[str, Sequence[Attendee] | None], paths: Mapping[str, Sequence[str]]) -> None:
        self._reach()
        for place, people in places.items():
            if people is None:
                self._page.places.pop(place, None)
            else:
                self._page.places[place] = tuple(people)
        for subject, where in paths.items():
            if where:
                self._page.paths[subject] = tuple(where)
            else:
                self._page.paths.pop(subject, None)

    async def beat(self) -> bool:
        self._reach()
        if not self._is_new and self._task_id not in self._board.living():
            return False
        self._board.show(self._task_id, self._page)
        self._is_new = False
        return True

    async def leave(self) -> None:
        self._reach()
        self._board.remove(self._task_id)
        self._is_new = False

    async def at(self, place: str) -> Occupancy:
        self._reach()
        pages = {task_id: page for task_id, page in self._board.living().items() if place in page.places}
        people = merged(each for page in pages.values() for each in page.places[place])
        return Occupancy(people, frozenset(pages))

    async def places_of(self, subject: str) -> tuple[str, ...]:
        self._reach()
        return tuple(sorted({place for page in self._board.living().values() for place in page.paths.get(subject, ())}))

    def _reach(self) -> None:
        if self._board.away:
            raise DirectoryUnavailable("the directory is away")
