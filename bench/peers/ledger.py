"""Who saw which edit when: the latency of an edit is from its sending to its arrival at a probe other than the sender.

A server may hand on an update as it came, or several merged in one: the first is looked up by its bytes, the second
by the clocks it carries. A cursor is seen when it or a later one of the same client arrives, since a server may skip
what is outdated. Pure: it is told the time. Called by `load`.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from bench.peers.dialects import awareness_clocks
from bench.peers.edits import CURSOR, DELETED, TYPED, Edit
from collab_server.update_reading import read_update


class Delay(NamedTuple):
    """How one edit fared with one probe. `seconds` is a lower bound where it was not seen."""

    sent_at: float
    seconds: float
    seen: bool


class Ledger:
    """The edits of one run, when they were sent, and when each probe saw them."""

    def __init__(self, edits: Sequence[Edit], rooms: Sequence[str], probes: Iterable[int]) -> None:
        self.edits = edits
        self._rooms = rooms
        self.sent_at: list[float] = [0.0] * len(edits)
        self.seen_at: dict[int, dict[int, float]] = {probe: {} for probe in probes}
        self._by_body = {edit.body: number for number, edit in enumerate(edits)}
        self._by_clock = {(edit.client, edit.clock, edit.kind): number for number, edit in enumerate(edits)}
        self._clocks: dict[tuple[int, str], list[int]] = {}
        for client, clock, kind in sorted(self._by_clock):
            self._clocks.setdefault((client, kind), []).append(clock)
        self._next_cursor: dict[tuple[int, int], int] = {}

    def sent(self, number: int, now: float) -> None:
        """Edit `number` is on its way."""
        self.sent_at[number] = now

    def heard_update(self, probe: int, update: bytes, now: float) -> None:
        """An update has come to `probe`."""
        seen = self.seen_at[probe]
        number = self._by_body.get(update)
        if number is not None:
            seen.setdefault(number, now)
            return
        structs, deletes = read_update(update)
        for struct in structs:
            self._note_all(seen, struct.client, struct.clock, struct.clock + struct.length, TYPED, now)
        for gone in deletes:
            self._note_all(seen, gone.client, gone.clock, gone.end, DELETED, now)

    def heard_awareness(self, probe: int, entries: bytes, now: float) -> None:
        """Cursors have come to `probe`."""
        seen = self.seen_at[probe]
        for client, clock in awareness_clocks(entries):
            first = self._next_cursor.get((probe, client), 1)
            for missed in range(first, clock + 1):
                self._note(seen, (client, missed, CURSOR), now)
            self._next_cursor[probe, client] = max(first, clock + 1)

    def _note_all(self, seen: dict[int, float], client: int, start: int, end: int, kind: str, now: float) -> None:
        """What begins from `start` until `end`: a long piece of text is one edit, not one for each character."""
        clocks = self._clocks.get((client, kind), [])
        for clock in clocks[bisect_left(clocks, start) : bisect_left(clocks, end)]:
            self._note(seen, (client, clock, kind), now)

    def _note(self, seen: dict[int, float], key: tuple[int, int, str], now: float) -> None:
        number = self._by_clock.get(key)
        if number is not None:
            seen.setdefault(number, now)

    def expected(self) -> list[tuple[int, int]]:
        """Every (probe, edit) where the probe is in the edit's room and did not make it."""
        by_room: dict[str, list[int]] = {}
        for probe in self.seen_at:
            by_room.setdefault(self._rooms[probe], []).append(probe)
        return [
            (probe, number)
            for number, edit in enumerate(self.edits)
            for probe in by_room.get(self._rooms[edit.member], ())
            if probe != edit.member
        ]

    def is_settled(self) -> bool:
        """Whether every probe has seen everything that was sent."""
        return all(self.sent_at[number] == 0.0 or number in self.seen_at[probe] for probe, number in self.expected())

    def delays(self, start: float, end: float, now: float) -> list[Delay]:
        """How the edits sent from `start` until `end` fared, looked at `now`."""
        found = []
        for probe, number in self.expected():
            sent_at = self.sent_at[number]
            if start <= sent_at < end:
                seen_at = self.seen_at[probe].get(number)
                found.append(Delay(sent_at, (seen_at or now) - sent_at, seen_at is not None))
        return found

    def seen_share(self, start: float, end: float) -> float:
        """Of what came to probes from `start` until `end`, relative to what was sent in that time: 1 if it keeps up."""
        expected = self.expected()
        sent = sum(start <= self.sent_at[number] < end for _probe, number in expected)
        seen = sum(start <= self.seen_at[probe].get(number, 0.0) < end for probe, number in expected)
        return seen / sent if sent else 0.0


def percentile(ordered: Sequence[float], share: float) -> float:
    """The value below which `share` of the ordered values lie."""
    return ordered[min(int(len(ordered) * share), len(ordered) - 1)] if ordered else 0.0
