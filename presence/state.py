"""Awareness of one room: the last known state of every client, and who may speak for which client id. Pure.

States are opaque bytes, None stands for "removed". The clock rule is y-protocols awareness.js `applyAwarenessUpdate`;
on top of it a client id belongs to one owner, clocks may not jump out of reach, and nothing stays behind of those who
left (T11, T13). An owner is a member of this task, or a string: the id of another task. Must never decide who someone
is: states come here stamped (`identity_state`). Called by the room.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable
from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple

from presence.identity_state import same_user

LONGEST_CLOCK_STEP = 2**31
"""Clients count up by one. A clock from far ahead would freeze a cursor: everything its owner says later is older."""

ECHO_S = 60.0
"""How long an id that left is remembered. y-websocket clients send every awareness change they see back to the server,
so an entry of someone who has just left can still arrive from a peer; slow peers are closed before a minute is over."""

RENEWED_S = 40.0
"""Clients renew their state every 15 s, and forget one that was not for 30 s. So does a task, with what others say."""

MOST_REMEMBERED = 1024
"""Bound of that memory in ids (T13), some 100 kB at most; when it is full the oldest are forgotten first."""


class StateEntry(NamedTuple):
    """What one client says: its id, its own count of what it has said, its state (None: it is gone)."""

    client_id: int
    clock: int
    state: bytes | None


class RefusedBecause(StrEnum):
    """Why an entry was refused; also metric labels. Stale entries are no offence: they are ignored without a word."""

    FOREIGN = "foreign_id"  # another live owner speaks for this id, or its owner has just left
    TOO_MANY = "too_many_ids"
    CLOCK = "clock_jump"


class Applied(NamedTuple):
    """`accepted` is news for everyone in the room; each of `refused` changed nothing.

    FOREIGN ones are normal in small numbers: stock y-websocket clients repeat what they hear, also from other tabs of
    the same browser.
    """

    accepted: list[StateEntry]
    refused: list[RefusedBecause]


@dataclass(slots=True)
class _Held:
    clock: int
    state: bytes | None
    owner: Hashable
    at: float


class AwarenessStates:
    """The states of one room. `max_ids` bounds the client ids of one member; `same_user(a, b)` compares two states."""

    def __init__(self, *, max_ids: int = 4, same_user: Callable[[bytes, bytes], bool] = same_user) -> None:
        self._max_ids = max_ids
        self._same_user = same_user
        self._held: dict[int, _Held] = {}
        # In the order of their first claim: the first id of a member is its own, for any other it speaks on behalf.
        self._ids: dict[Hashable, dict[int, None]] = {}
        self._left: dict[int, tuple[int, float]] = {}
        self._now = 0.0

    def apply(self, owner: Hashable, entries: Iterable[tuple[int, int, bytes | None]], *, now: float) -> Applied:
        """Take in what an owner says. `now` is in seconds of a monotonic clock.

        A task (string owner) has checked its members' ids itself and has no bound on them; the other rules hold for it.
        """
        self._now = now
        self._forget_echoes()
        outcome = Applied([], [])
        for entry in map(StateEntry._make, entries):
            held = self._held.get(entry.client_id)
            takes_over = held is not None and held.owner != owner and self._may_take_over(owner, held, entry)
            if not _is_news(held, entry, takes_over):
                continue
            refusal = _clock_jump(held, entry) or self._claim(owner, held, entry, takes_over)
            if refusal is not None:
                outcome.refused.append(refusal)
                continue
            self._hold(owner, held, entry)
            outcome.accepted.append(entry)
            if entry.state is None and isinstance(owner, str):  # members keep their ids until they leave, tasks do not
                self._forget(entry.client_id)
        return outcome

    def remove_owner(self, owner: Hashable) -> list[tuple[int, int]]:
        """Forget everything of an owner that left. Returns (client id, clock) of the states that were still shown.

        Announce them as null with this same clock: peers take a null at the clock they know, and the client may come
        back with its next one (protocol.md, "Disconnect removal").
        """
        shown = []
        for client_id in list(self._ids.get(owner, ())):
            held = self._held[client_id]
            if held.state is not None:
                shown.append((client_id, held.clock))
            self._forget(client_id)
        return shown

    def snapshot(self, *, local_only: bool = False) -> list[StateEntry]:
        """Every state there is, which is what a newcomer needs; or those of this task's members, for another task."""
        return [
            StateEntry(client_id, held.clock, held.state)
            for client_id, held in self._held.items()
            if held.state is not None and not (local_only and isinstance(held.owner, str))
        ]

    def remove_unrenewed(self, *, now: float) -> list[tuple[int, int]]:
        """The same for states of other tasks that nobody has renewed for `RENEWED_S`: their task never said it left."""
        old = [
            client_id
            for owner, ids in self._ids.items()
            if isinstance(owner, str)
            for client_id in ids
            if now - self._held[client_id].at > RENEWED_S
        ]
        shown = [(client_id, self._held[client_id].clock) for client_id in old]  # tasks hold nothing that is not shown
        for client_id in old:
            self._forget(client_id)
        return shown

    def told_gone(self, entries: Iterable[tuple[int, int, bytes | None]]) -> list[tuple[int, int]]:
        """Those of `entries` that peers will not take although they are news: (client id, the clock they took as gone).

        Peers that were told of a null at some clock ignore states up to that clock. Ask before `apply`.
        """
        gone = self._left
        return [
            (client_id, gone[client_id][0])
            for client_id, clock, state in entries
            if client_id in gone and state is not None and clock <= gone[client_id][0]
        ]

    def denies(self, client_id: int, clock: int) -> Hashable | None:
        """The member of this task that shows itself as `client_id`, although somebody took it for gone at `clock`."""
        held = self._held.get(client_id)
        if held is None or held.state is None or isinstance(held.owner, str) or clock < held.clock:
            return None
        return held.owner

    def state_of(self, owner: Hashable) -> bytes | None:
        """What an owner shows as its own."""
        own = self.own_id(owner)
        return None if own is None else self._held[own].state

    def said_by(self, owner: Hashable) -> list[StateEntry]:
        """What an owner said last, under each of its ids."""
        return [StateEntry(each, self._held[each].clock, self._held[each].state) for each in self._ids.get(owner, ())]

    def owner_of(self, client_id: int) -> Hashable | None:
        held = self._held.get(client_id)
        return None if held is None else held.owner

    def own_id(self, owner: Hashable) -> int | None:
        """The first id of an owner, which is its own."""
        return next(iter(self._ids.get(owner, ())), None)

    def shown(self, client_id: int) -> bytes | None:
        """The state of an id."""
        held = self._held.get(client_id)
        return None if held is None else held.state

    def __len__(self) -> int:
        """Ids that someone speaks for, with a state or without."""
        return len(self._held)

    def _may_take_over(self, owner: Hashable, held: _Held, entry: StateEntry) -> bool:
        """Whether the client is known to have moved to `owner`, although its former owner has not said that it left.

        The same person on another connection or task: the former one is dead and nobody has noticed. For members only
        their first id counts, which is their own, and it also wins from another browser tab that repeated it.
        """
        if entry.state is None or (not isinstance(owner, str) and owner in self._ids):
            return False
        if held.state is not None and self._same_user(held.state, entry.state):
            return True
        held_on_behalf = next(iter(self._ids[held.owner])) != entry.client_id
        return held_on_behalf and not isinstance(owner, str) and not isinstance(held.owner, str)

    def _claim(self, owner: Hashable, held: _Held | None, entry: StateEntry, takes_over: bool) -> RefusedBecause | None:
        """Why `owner` may not speak for this id, or None."""
        if held is not None:
            return None if held.owner == owner or takes_over else RefusedBecause.FOREIGN
        own = self._ids.get(owner)
        if own is None or isinstance(owner, str):
            return None
        if entry.clock <= self._left.get(entry.client_id, (-1, 0.0))[0]:
            return RefusedBecause.FOREIGN  # an echo: the client itself would come back on a new connection
        return RefusedBecause.TOO_MANY if len(own) >= self._max_ids else None

    def _hold(self, owner: Hashable, held: _Held | None, entry: StateEntry) -> None:
        if held is not None and held.owner == owner:
            held.clock, held.state, held.at = entry.clock, entry.state, self._now
            return
        if held is not None:
            self._release(entry.client_id, held.owner)
        self._held[entry.client_id] = _Held(entry.clock, entry.state, owner, self._now)
        self._ids.setdefault(owner, {})[entry.client_id] = None
        self._left.pop(entry.client_id, None)

    def _release(self, client_id: int, owner: Hashable) -> None:
        ids = self._ids[owner]
        del ids[client_id]
        if not ids:
            del self._ids[owner]

    def _forget(self, client_id: int) -> None:
        held = self._held.pop(client_id)
        self._release(client_id, held.owner)
        self._left[client_id] = (held.clock, self._now)  # the time of what was said last: only that can be repeated
        if len(self._left) > MOST_REMEMBERED:
            del self._left[next(iter(self._left))]

    def _forget_echoes(self) -> None:
        while self._left:
            client_id, (_, left_at) = next(iter(self._left.items()))
            if self._now - left_at < ECHO_S:
                return
            del self._left[client_id]


def _is_news(held: _Held | None, entry: StateEntry, takes_over: bool) -> bool:
    """The clock rule of awareness.js. A client that moved repeats what it said last: that is news of its new owner."""
    if held is None:
        return entry.state is not None
    if entry.clock == held.clock:
        return takes_over or (entry.state is None and held.state is not None)
    return entry.clock > held.clock


def _clock_jump(held: _Held | None, entry: StateEntry) -> RefusedBecause | None:
    known = held.clock if held is not None else -1
    return RefusedBecause.CLOCK if entry.clock - known > LONGEST_CLOCK_STEP else None
