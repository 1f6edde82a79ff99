"""Keeps emoji whole: where in a document a character takes two clocks, and which updates would cut one in its middle.

Yjs counts UTF-16 code units, so an emoji has two clocks, and a careless or hostile client can delete one of them or
insert between them. Yjs then makes U+FFFD of both halves. yrs (0.28) keeps the character on one side and miscounts: its
next encoding of the document shifts clocks, loses text, or cannot be loaded again. Such an update must not reach it.

Pure; belongs to one document. Called by `rooms.replica`, which must let it `learn` all it loads and applies.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

from collab_server.update_format import UpdateRefused
from collab_server.update_reading import STRING, Id, Struct, read_update
from collab_server.wire.lib0 import read_string

# Four bytes of UTF-8 are what becomes two code units. Integers may look like it: then the update is read for nothing.
may_hold_a_pair = re.compile(rb"[\xf0-\xf4][\x80-\xbf]{3}").search


class SurrogatePairs:
    """The second halves of all surrogate pairs of a document: about 150 bytes of memory an emoji."""

    __slots__ = ("_second_halves",)

    def __init__(self) -> None:
        self._second_halves: set[Id] = set()

    @property
    def second_halves(self) -> frozenset[Id]:
        """All that are known."""
        return frozenset(self._second_halves)

    def __bool__(self) -> bool:
        return bool(self._second_halves)

    def add(self, second_halves: Iterable[Id]) -> None:
        """Note pairs that were found elsewhere."""
        self._second_halves.update(second_halves)

    def learn(self, update: bytes) -> None:
        """Note the pairs in `update`, which has passed `check` or comes from storage."""
        if may_hold_a_pair(update):
            structs, _deletes = read_update(update)
            self._second_halves |= _second_halves(structs)

    def check(self, update: bytes, known: Mapping[int, int]) -> bool:
        """Raise `UpdateRefused` if `update`, which has passed the firewall, cuts a pair of the document or its own.

        Returns whether it may hold pairs, to be learnt once it is applied.

        Where `known` (client → end clock) ends inside a struct, that is cut too: its first part is left out. Costs
        nothing to speak of while there is no pair.
        """
        if not self._second_halves and not may_hold_a_pair(update):
            return False
        structs, deletes = read_update(update)
        added = _second_halves(structs)
        if not self._second_halves and not added:
            return False
        cuts = set(known.items())  # where something begins: no second half may be there
        for struct in structs:
            cuts.add((struct.client, struct.clock))
            if struct.origin:
                cuts.add((struct.origin[0], struct.origin[1] + 1))
            if struct.right_origin:
                cuts.add(struct.right_origin)
        for client, clock, end in deletes:
            cuts.add((client, clock))
            cuts.add((client, end))
        if not cuts.isdisjoint(self._second_halves) or not cuts.isdisjoint(added):
            raise UpdateRefused("cut_character")
        return bool(added)


def second_halves(text: str, clock: int) -> list[int]:
    """The clocks of the second halves in `text`, which begins at `clock`."""
    found = []
    for character in text:
        clock += 1
        if character > "\uffff":
            found.append(clock)
            clock += 1
    return found


def _second_halves(structs: list[Struct]) -> set[Id]:
    found: set[Id] = set()
    for struct in structs:
        if struct.kind == STRING:
            text, _end = read_string(struct.content, 0)
            if len(text) != struct.length:
                found.update((struct.client, clock) for clock in second_halves(text, struct.clock))
    return found
