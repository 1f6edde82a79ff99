"""What the structs of one update need of each other: that all can be integrated, and how deep they nest.

Yjs and yrs set aside what they cannot integrate yet, invisibly and without a bound: an update that passes here leaves
nothing aside. Linear in the number of structs (times a logarithm), whatever their order. Pure. Called by `firewall`.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from heapq import heappop, heappush

from collab_server.update_format import HAS_ORIGIN, HAS_PARENT_SUB, HAS_RIGHT_ORIGIN, READERS
from collab_server.wire.lib0 import read_bytes, read_varuint

Wait = tuple[int, int, int, int]  # the struct at (client, clock) needs the one at (client, clock)


# What a struct is placed by: client and clock of another, and 1 if that is its parent, 0 if a neighbour. `None`: none.
Place = tuple[int, int, int] | None


@dataclass(frozen=True, slots=True)
class _Structs:
    """One client's structs in the order of their clocks: where each starts and what it is placed by."""

    starts: list[int]
    places: list[Place]


def can_be_ordered(waits: Iterable[Wait], ends: Mapping[int, int]) -> bool:
    """Whether the structs can be integrated in some order that keeps each client's own order.

    `waits` holds, in order for each client, what is needed of other clients in the same update, and `ends` the clock at
    which each client's structs end. False means that some need each other in a circle.
    """
    queues: dict[int, deque[tuple[int, int, int]]] = {}
    for client, clock, needed_client, needed_clock in waits:
        queues.setdefault(client, deque()).append((clock, needed_client, needed_clock))
    sleepers: dict[int, list[tuple[int, int]]] = {}  # client → heap of (clock it must pass, who waits for that)
    ready = list(queues)
    while ready:
        client = ready.pop()
        queue = queues[client]
        while queue:
            _, needed_client, needed_clock = queue[0]
            if needed_clock >= _progress(needed_client, queues, ends):
                heappush(sleepers.setdefault(needed_client, []), (needed_clock, client))
                break
            queue.popleft()
        asleep = sleepers.get(client, [])
        progress = _progress(client, queues, ends)
        while asleep and asleep[0][0] < progress:
            ready.append(heappop(asleep)[1])
    return not any(queues.values())


def _progress(client: int, queues: Mapping[int, deque[tuple[int, int, int]]], ends: Mapping[int, int]) -> int:
    """The clock up to which the client's structs can be integrated so far."""
    queue = queues.get(client)
    return queue[0][0] if queue else ends[client]


def nesting(update: bytes, known: Mapping[int, int]) -> int:
    """How many levels of types an update stacks up by itself; what was `known` before counts as the ground.

    The update has passed every other check: its references go backwards, so following them ends.
    """
    structs = _read_structs(update)
    depths: dict[tuple[int, int], int] = {}
    for client, own in structs.items():
        for index in range(len(own.starts)):
            _note_depth(client, index, structs, known, depths)
    return max(depths.values(), default=0)


def _note_depth(
    client: int,
    index: int,
    structs: Mapping[int, _Structs],
    known: Mapping[int, int],
    depths: dict[tuple[int, int], int],
) -> None:
    """Note the depth of one struct and of all it rests on. A loop, for the chain may be as long as the update."""
    chain: list[tuple[tuple[int, int], int]] = []
    depth = 0
    while True:
        here = client, index
        if here in depths:
            depth = depths[here]
            break
        place = structs[client].places[index]
        if place is None:
            chain.append((here, 0))
            break
        client, clock, step = place
        chain.append((here, step))
        if clock < known.get(client, 0):
            break
        index = bisect_right(structs[client].starts, clock) - 1
    for here, step in reversed(chain):
        depth += step
        depths[here] = depth


def _read_structs(update: bytes) -> dict[int, _Structs]:
    structs = {}
    clients, at = read_varuint(update, 0)
    for _ in range(clients):
        count, at = read_varuint(update, at)
        client, at = read_varuint(update, at)
        clock, at = read_varuint(update, at)
        own = structs[client] = _Structs([], [])
        for _ in range(count):
            place, length, at = _read_struct(update, at)
            own.starts.append(clock)
            own.places.append(place)
            clock += length
    return structs


def _read_struct(update: bytes, at: int) -> tuple[Place, int, int]:
    info = update[at]
    reader = READERS[info]
    if reader is None:
        length, at = read_varuint(update, at + 1)
        return None, length, at
    place, at = _read_place(update, at + 1, info)
    length, at = reader(update, at)
    return place, length, at


def _read_place(update: bytes, at: int, info: int) -> tuple[Place, int]:
    place: Place = None
    if info & (HAS_ORIGIN | HAS_RIGHT_ORIGIN):
        place, at = _read_reference(update, at, 0)
        if info & HAS_ORIGIN and info & HAS_RIGHT_ORIGIN:
            _right_origin, at = _read_reference(update, at, 0)
        return place, at
    if update[at]:
        _root_name, at = read_bytes(update, at + 1)
    else:
        place, at = _read_reference(update, at + 1, 1)
    if info & HAS_PARENT_SUB:
        _key, at = read_bytes(update, at)
    return place, at


def _read_reference(update: bytes, at: int, step: int) -> tuple[Place, int]:
    client, at = read_varuint(update, at)
    clock, at = read_varuint(update, at)
    return (client, clock, step), at
