"""Cuts one update into smaller ones that can be applied one after the other, so that no step takes long.

Applied in their order to a document that holds `known` they give what the whole gives, and none of them leaves a gap:
what a struct refers to is known, in an earlier piece, or in the same one. Deletes come last, when all they name is
there. The bytes of a struct are copied, never written anew; a struct is never cut, however long (20 MB of text in one
struct are applied in 25 ms, and cutting them would cost more). What `known` holds already is left out.

The update must have passed the firewall: other bytes may raise anything. Pure. Called in worker processes only, by
`big_work`: it costs 2 µs a struct.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from operator import itemgetter
from typing import NamedTuple

from collab_server.surrogates import may_hold_a_pair, second_halves
from collab_server.update_format import HAS_PARENT_SUB, READERS
from collab_server.update_reading import STRING, Id
from collab_server.wire.lib0 import read_string, read_varuint, varuint

Clocks = tuple[tuple[int, int], ...]
"""Client ids, each with an end clock."""

_STRING_READER = READERS[STRING]
NO_STRUCTS = NO_DELETES = b"\x00"


class Piece(NamedTuple):
    """A part of an update, an update itself: `ends` are the clocks its structs end at, `reach` that of deletes too.

    `pairs` are the second halves of its surrogate pairs (see `surrogates`).
    """

    update: bytes
    ends: Clocks
    reach: Clocks
    pairs: tuple[Id, ...] = ()


class Bounds(NamedTuple):
    """How large a piece may be: in bytes (a longer struct is a piece of its own), in structs, in deleted ranges."""

    max_bytes: int
    max_structs: int
    max_deletes: int


@dataclass(slots=True)
class _Run:
    """One client's structs: where each begins, as clock and as position, and with one more entry the end."""

    client: int
    clocks: list[int] = field(default_factory=list)
    places: list[int] = field(default_factory=list)
    pairs: list[tuple[int, int]] = field(default_factory=list)  # clocks of second halves, each with its struct's index
    waits: list[tuple[int, int, int]] = field(default_factory=list)  # index of a struct, client and clock it needs
    index: int = 0  # of the next struct to be handed out
    wait: int = 0  # of the next entry of `waits`

    @property
    def end(self) -> int:
        """How many structs there are."""
        return len(self.clocks) - 1


def split_update(update: bytes, known: Mapping[int, int], bounds: Bounds) -> Iterator[Piece]:
    """The pieces of `update` in the order in which they must be applied; none when it brings no struct or delete."""
    runs, at = _read_runs(update, known)
    yield from _structs(update, runs, bounds)
    yield from _deletes(update, at, bounds)


# Reading


def _read_runs(update: bytes, known: Mapping[int, int]) -> tuple[dict[int, _Run], int]:
    runs = {}
    clients, at = read_varuint(update, 0)
    for _ in range(clients):
        count, at = read_varuint(update, at)
        client, at = read_varuint(update, at)
        clock, at = read_varuint(update, at)
        run, at = _read_run(update, at, count, _Run(client), clock, known)
        runs[client] = run
    return {client: run for client, run in runs.items() if run.end > 0}, at


def _read_run(update: bytes, at: int, count: int, run: _Run, clock: int, known: Mapping[int, int]) -> tuple[_Run, int]:
    clocks, places, waits = run.clocks, run.places, run.waits
    may_hold_pairs = may_hold_a_pair(update, at) is not None
    held = known.get(run.client, 0)
    for _ in range(count):
        start, first_wait = at, len(waits)
        info = update[at]
        reader = READERS[info]
        if reader is None:
            length, at = read_varuint(update, at + 1)
        else:
            content = at = _read_place(update, at + 1, info, run, known)
            length, at = reader(update, at)
            if may_hold_pairs and reader is _STRING_READER and may_hold_a_pair(update, content, at):
                index = len(clocks)
                run.pairs += [(found, index) for found in second_halves(read_string(update, content)[0], clock)]
        clock += length
        if clock > held:
            clocks.append(clock - length)
            places.append(start)
        else:  # known, and so is all it needs
            del waits[first_wait:]
            while run.pairs and run.pairs[-1][1] == len(clocks):
                run.pairs.pop()
    clocks.append(clock)
    places.append(at)
    return run, at


def _read_place(update: bytes, at: int, info: int, run: _Run, known: Mapping[int, int]) -> int:
    """Note what the next struct of `run` needs of other clients that is not known; return where its content begins."""
    references = (info >> 7) + (info >> 6 & 1)
    parent_sub = 0
    if not references:
        parent_sub = info & HAS_PARENT_SUB
        if update[at]:
            size, at = read_varuint(update, at + 1)
            at += size
        else:
            references = 1
            at += 1
    for _ in range(references):
        client, at = read_varuint(update, at)
        clock, at = read_varuint(update, at)
        if client != run.client and clock >= known.get(client, 0):
            run.waits.append((len(run.clocks), client, clock))
    if parent_sub:
        size, at = read_varuint(update, at)
        at += size
    return at


# Structs


class _Parts:
    """The piece being filled: which structs of which client."""

    __slots__ = ("_bounds", "_bytes", "_ranges", "_structs", "_update")

    def __init__(self, update: bytes, bounds: Bounds) -> None:
        self._update = update
        self._bounds = bounds
        self._clear()

    def _clear(self) -> None:
        self._bytes = self._structs = 0
        self._ranges: dict[int, tuple[_Run, int, int]] = {}

    def add(self, run: _Run, stop: int) -> Iterator[Piece]:
        """Take structs of `run` up to `stop`; give the pieces that are full."""
        while run.index < stop:
            start = run.index
            room = bisect_right(run.places, run.places[start] + self._bounds.max_bytes - self._bytes) - 1
            upto = min(stop, room, start + self._bounds.max_structs - self._structs)
            if upto <= start:
                if self._ranges:
                    yield self.take()
                    continue
                upto = start + 1  # a struct of its own
            first = self._ranges[run.client][1] if run.client in self._ranges else start
            self._ranges[run.client] = run, first, upto
            self._bytes += run.places[upto] - run.places[start]
            self._structs += upto - start
            run.index = upto

    def take(self) -> Piece:
        """The piece as it is; the next one begins."""
        written = [varuint(len(self._ranges))]
        ends = []
        pairs: list[Id] = []
        for client, (run, start, stop) in self._ranges.items():
            if run.pairs:
                first, last = (bisect_left(run.pairs, place, key=itemgetter(1)) for place in (start, stop))
                pairs += [(client, clock) for clock, _index in run.pairs[first:last]]
            written += varuint(stop - start), varuint(client), varuint(run.clocks[start])
            written.append(self._update[run.places[start] : run.places[stop]])
            ends.append((client, run.clocks[stop]))
        written.append(NO_DELETES)
        self._clear()
        return Piece(b"".join(written), tuple(ends), tuple(ends), tuple(pairs))

    def __bool__(self) -> bool:
        return bool(self._ranges)


def _structs(update: bytes, runs: dict[int, _Run], bounds: Bounds) -> Iterator[Piece]:
    """Hand out every client's structs, each after those of other clients that it needs.

    Like Yjs does it (encoding.js, `integrateStructs`), with a stack of who is waited for. That it comes to an end is
    what `can_be_ordered` has found out.
    """
    parts = _Parts(update, bounds)
    for run in runs.values():
        stack = [(run, run.end)]
        while stack:
            current, goal = stack[-1]
            needed = _advance(current, goal, runs)
            stop = goal if needed is None else current.waits[current.wait][0]
            yield from parts.add(current, stop)
            if needed is None:
                stack.pop()
            else:
                other, clock = needed
                # The struct that holds `clock`, and all before it.
                stack.append((other, bisect_right(other.clocks, clock, hi=other.end)))
                if len(stack) > 2 * len(runs) + 1:
                    raise ValueError("references in a circle")
    if parts:
        yield parts.take()


def _advance(run: _Run, goal: int, runs: dict[int, _Run]) -> tuple[_Run, int] | None:
    """Pass over what `run` waited for and has; return what the first struct before `goal` still needs, if any does."""
    waits = run.waits
    while run.wait < len(waits):
        index, client, clock = waits[run.wait]
        if index >= goal:
            return None
        other = runs[client]
        if clock >= other.clocks[other.index]:
            return other, clock
        run.wait += 1
    return None


# Deletes


def _deletes(update: bytes, at: int, bounds: Bounds) -> Iterator[Piece]:
    ranges: dict[int, list[bytes]] = {}
    reach: dict[int, int] = {}
    count = 0
    clients, at = read_varuint(update, at)
    for _ in range(clients):
        client, at = read_varuint(update, at)
        number, at = read_varuint(update, at)
        for _ in range(number):
            start = at
            clock, at = read_varuint(update, at)
            length, at = read_varuint(update, at)
            ranges.setdefault(client, []).append(update[start:at])
            reach[client] = max(reach.get(client, 0), clock + length)
            count += 1
            if count == bounds.max_deletes:
                yield _delete_piece(ranges, reach)
                ranges, reach, count = {}, {}, 0
    if ranges:
        yield _delete_piece(ranges, reach)


def _delete_piece(ranges: dict[int, list[bytes]], reach: dict[int, int]) -> Piece:
    written = [NO_STRUCTS, varuint(len(ranges))]
    for client, encoded in ranges.items():
        written += varuint(client), varuint(len(encoded)), *encoded
    return Piece(b"".join(written), (), tuple(reach.items()))
