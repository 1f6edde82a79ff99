"""What the structs of one update need of each other: that all can be integrated, and how deep they nest.

Yjs and yrs set aside what they cannot integrate yet, invisibly and without a bound: an update that passes here leaves
nothing aside. Linear in the number of structs (times a logarithm), whatever their order. Pure. Called by `firewall`.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import deque
from collections.abc import Iterable, Mapping
from heapq import heappop, heappush

from collab_server.update_reading import Id, Struct, read_update

Wait = tuple[int, int, int, int]  # the struct at (client, clock) needs the one at (client, clock)


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
    structs, _deletes = read_update(update)
    found = _Structs(structs, known)
    return max((found.depth(struct) for struct in structs), default=0)


class _Structs:
    """The structs of an update by client and clock, with the depths worked out so far."""

    def __init__(self, structs: Iterable[Struct], known: Mapping[int, int]) -> None:
        self._known = known
        self._depths: dict[Id, int] = {}
        self._by_client: dict[int, list[Struct]] = {}
        for struct in structs:
            self._by_client.setdefault(struct.client, []).append(struct)

    def depth(self, struct: Struct) -> int:
        """How many types of this update are above `struct`. A loop, for the chain may be as long as the update."""
        chain: list[tuple[Id, int]] = []
        here: Struct | None = struct
        depth = 0
        while here is not None:
            id_ = here.client, here.clock
            if id_ in self._depths:
                depth = self._depths[id_]
                break
            chain.append((id_, 1 if here.parent else 0))
            here = self._below(here)
        for id_, step in reversed(chain):
            depth += step
            self._depths[id_] = depth
        return depth

    def _below(self, struct: Struct) -> Struct | None:
        """The struct of this update that `struct` has its place from: a neighbour in the same parent, or the parent."""
        place = struct.origin or struct.right_origin or struct.parent
        if place is None or place[1] < self._known.get(place[0], 0):
            return None
        structs = self._by_client[place[0]]
        return structs[bisect_right(structs, place[1], key=lambda other: other.clock) - 1]
