"""Keeps values of keys apart from lists: which operations of a document are one, and which updates mix the two.

Yjs keeps the values of a key in a chain of which the last counts. It writes each alone and none before another. yrs
(0.28) relies on it: a forged value of several characters can be cut in two, or a list joined to a chain, and then
deleting the parent leaves a part alive whose parent is freed memory. The process dies then, or at some later time.
What the neighbours in an update are it does not say, so this remembers the values, a few bytes a run of them.

Pure; belongs to one document. Called by `rooms.replica`, which must let it `learn` all it loads and `add` what it
applies.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Iterable, Mapping, Sequence

from collab_server.typing_check import typed_between
from collab_server.update_format import FILLERS, MAX_ROOT_NAME_BYTES, UpdateRefused
from collab_server.update_reading import DELETED, STRING, Deleted, Id, Struct, read_update
from collab_server.wire.lib0 import MalformedMessage, read_string, read_varuint

# The first value of a key says so: an info byte without neighbours but with a key, then how its parent is named.
_looks_like_a_key = re.compile(rb"[\x21-\x28][\x00\x01]").search


def may_hold_a_key(update: bytes) -> bool:
    """Whether some place in `update` reads as the head of a key's first value.

    Other bytes may: then the update is read for nothing, which takes 40 ms for a document of 60,000 edits. So what
    looks like one must go on like one, with a parent and a key. Never more than a root's name is decoded for that: an
    update may be made of nothing but places that look like one.
    """
    found = _looks_like_a_key(update)
    while found is not None:
        if _reads_as_key(update, found.start() + 1):
            return True
        found = _looks_like_a_key(update, found.start() + 1)
    return False


def _reads_as_key(update: bytes, at: int) -> bool:
    try:
        if update[at]:
            length, _start = read_varuint(update, at + 1)
            if length > MAX_ROOT_NAME_BYTES:
                return False
            _root, at = read_string(update, at + 1)
        else:
            _client, at = read_varuint(update, at + 1)
            _clock, at = read_varuint(update, at)
        length, at = read_varuint(update, at)
    except (MalformedMessage, IndexError):
        return False
    return at + length <= len(update)


Run = tuple[int, int, int]
"""Client, first clock, end clock."""

_NEVER_VALUES = frozenset({STRING, 5, 6})  # text, embeds and formats stand in lists only


class KeyedValues:
    """The clocks of a document that are values of keys, in runs."""

    __slots__ = ("_runs",)

    def __init__(self) -> None:
        self._runs: dict[int, tuple[list[int], list[int]]] = {}  # client → starts and ends, in order

    def __bool__(self) -> bool:
        return bool(self._runs)

    def __contains__(self, place: Id) -> bool:
        runs = self._runs.get(place[0])
        if runs is None:
            return False
        index = bisect_right(runs[0], place[1]) - 1
        return index >= 0 and place[1] < runs[1][index]

    def add(self, found: Iterable[Run]) -> None:
        """Note what `check` found, once it is applied."""
        for client, start, end in found:
            starts, ends = self._runs.setdefault(client, ([], []))
            index = bisect_right(starts, start)
            if index and start <= ends[index - 1]:
                ends[index - 1] = max(end, ends[index - 1])
            else:
                starts.insert(index, start)
                ends.insert(index, end)

    def learn(self, update: bytes) -> None:
        """Note the values in `update`, which has passed `check` or comes from storage."""
        if self._runs or may_hold_a_key(update):
            structs, _deletes = read_update(update)
            self.add((struct.client, start, _end(struct)) for struct, start in self._values(structs, {}))

    def check(self, update: bytes, known: Mapping[int, int]) -> Sequence[Run]:
        """Raise `UpdateRefused` if `update`, which has passed the firewall, mixes values and lists; else its values.

        Costs nothing to speak of in a document without keys.
        """
        if not self._runs and not may_hold_a_key(update):
            return ()
        if (neighbours := typed_between(update)) is not None:
            if any(neighbour in self for neighbour in neighbours):
                raise UpdateRefused("key")
            return ()
        structs, deletes = read_update(update)
        values = self._values(structs, known)
        found = [(struct.client, start, _end(struct)) for struct, start in values]
        own = KeyedValues()
        own.add(found)
        for struct in structs:
            right = struct.right_origin
            if right and (right in self or right in own) and _end(struct) > known.get(struct.client, 0):
                raise UpdateRefused("key")  # nothing is written before a value
        for struct, start in values:
            if struct.right_origin or struct.kind in _NEVER_VALUES:
                raise UpdateRefused("key")
            # Copies that keep what was deleted merge values, of which the last is deleted too.
            if _end(struct) - start > 1 and struct.kind != DELETED and not _is_deleted(struct, start, deletes):
                raise UpdateRefused("key")
        return found

    def _values(self, structs: list[Struct], known: Mapping[int, int]) -> list[tuple[Struct, int]]:
        """The structs that are new and values of a key, each with the clock from which it is new.

        A struct belongs where its neighbour does, which may come later in the update.
        """
        values: list[tuple[Struct, int]] = []
        behind: dict[int, dict[int, list[tuple[Struct, int]]]] = {}  # client → clock → who stands next to it
        for struct in structs:
            held = known.get(struct.client, 0)
            if struct.kind in FILLERS or _end(struct) <= held:
                continue
            new = struct, max(struct.clock, held)
            place = (struct.client, held - 1) if struct.clock < held else struct.origin or struct.right_origin
            if struct.has_key or (place is not None and place in self):
                values.append(new)
            elif place is not None and place[1] >= known.get(place[0], 0):
                behind.setdefault(place[0], {}).setdefault(place[1], []).append(new)
        for struct, start in values:  # which grows
            followed = behind.get(struct.client, {})
            clocks = range(start, _end(struct))
            for clock in clocks if len(clocks) <= len(followed) else [clock for clock in followed if clock in clocks]:
                values += followed.pop(clock, ())
        return values


def _end(struct: Struct) -> int:
    return struct.clock + struct.length


def _is_deleted(struct: Struct, start: int, deletes: Iterable[Deleted]) -> bool:
    """Whether `deletes` cover the struct from the clock `start` on."""
    for deleted in sorted(deletes):
        if deleted.client == struct.client and deleted.clock <= start:
            start = max(start, deleted.end)
    return start >= _end(struct)
