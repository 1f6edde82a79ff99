"""The firewall: every update and state vector from outside is checked here before the CRDT sees it.

The CRDT is fast Rust code that trusts its input: hostile bytes overflow its stack, reserve gigabytes, or make it panic
half-way, and each of these costs the process. So nothing passes that a real client does not write: bounded numbers,
counts, lengths and depths, valid text, known content, all bytes consumed. And nothing that refers to what neither the
room nor the update itself holds: it would be set aside invisibly and be missing from every checkpoint.

Pure: no I/O, no state but the room's clocks. What only the document can tell stays with the caller (a parent that is no
type, levels of nesting added by many updates), who must treat a failing CRDT as lost. Called by `rooms.replica`.

Source of the format: yjs encoding.js (`readClientsStructRefs`), DeleteSet.js (`readDeleteSet`).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from collab_server.typing_check import check_typing
from collab_server.update_format import (
    FILLERS,
    HAS_ORIGIN,
    HAS_PARENT_SUB,
    HAS_RIGHT_ORIGIN,
    MAX_ROOT_NAME_BYTES,
    READERS,
    SKIP,
    UpdateRefused,
    read_type,
    reason_against,
)
from collab_server.update_graph import Wait, can_be_ordered, nesting
from collab_server.update_trim import without_known
from collab_server.wire.lib0 import MalformedMessage, read_string, read_varuint

__all__ = ["UpdateGap", "UpdateRefused", "UpdateSummary", "check_fully", "check_state_vector", "check_update"]

END_OF_CLOCKS = 2**31  # yrs computes with 32-bit clocks and signed differences of them

# Levels of types one update may stack up. Deleting the lowest of 31,300 levels overflows the Rust stack, and so does
# reading 13,000; a long outline has a hundred.
MAX_NESTING = 1_000
_HAS_NEIGHBOUR = HAS_ORIGIN | HAS_RIGHT_ORIGIN


class UpdateGap(Exception):
    """The update builds on operations from `clock` of `client` on, which neither the room nor the update holds."""

    def __init__(self, client: int, clock: int) -> None:
        super().__init__(f"client {client} from clock {clock}")
        self.client = client
        self.clock = clock


class UpdateSummary(NamedTuple):
    """What a checked update holds.

    `clocks` has a (client, end clock) for each client with structs; `reach` maps each client to the highest end clock
    among its structs and deletes, so a document whose state vector covers it can hold all of this update. `instead` are
    the bytes to use in its place, if any (see `update_trim`).
    """

    clocks: tuple[tuple[int, int], ...]
    reach: dict[int, int]
    is_empty: bool
    instead: bytes | None = None


class _Survey:
    """What one pass over the structs of an update finds: where clients end, what waits for what, what is missing."""

    __slots__ = ("ends", "gap", "known", "overlaps", "types", "waits")

    def __init__(self, known: Mapping[int, int]) -> None:
        self.known = known
        self.ends: dict[int, int] = {}
        self.waits: list[Wait] = []
        self.types = 0
        self.overlaps = False  # a struct that names its parent is half known
        self.gap: UpdateGap | None = None  # raised at the end: invalid bytes further on are worse than a gap

    def held(self, client: int) -> int:
        """The clock up to which the room and this update together hold the client's operations."""
        return max(self.known.get(client, 0), self.ends.get(client, 0))

    def misses(self, client: int, clock: int) -> None:
        """Note that the update needs the client's operations from `clock` on."""
        if self.gap is None:
            self.gap = UpdateGap(client, clock)


def check_update(update: bytes, known: Mapping[int, int], *, max_bytes: int | None = None) -> UpdateSummary:
    """What `update` (Yjs v1) brings to a room that holds `known` (client → end clock).

    Raises `UpdateRefused` when it must not reach the CRDT, `UpdateGap` when it is sound but needs more than `known`.
    """
    if max_bytes is not None and len(update) > max_bytes:
        raise UpdateRefused("too_large")
    typed = check_typing(update, known)
    if typed is None:
        return check_fully(update, known)
    client, end, is_insertion = typed
    return UpdateSummary(((client, end),) if is_insertion else (), {client: end}, False)


def check_fully(update: bytes, known: Mapping[int, int]) -> UpdateSummary:
    """The whole check, without the shortcut for typing: same arguments, verdicts and errors as `check_update`."""
    survey = _Survey(known)
    try:
        at = _survey_structs(update, survey)
        reach, at = _survey_deletes(update, at, survey)
    except IndexError:
        raise UpdateRefused("truncated") from None
    except MalformedMessage as malformed:
        raise UpdateRefused(malformed.reason) from None
    if at != len(update):
        raise UpdateRefused("trailing")
    if survey.waits:
        _judge_waits(survey)
    if survey.gap is not None:
        raise survey.gap
    if survey.types > MAX_NESTING and nesting(update, known) > MAX_NESTING:
        raise UpdateRefused("nesting")
    instead = without_known(update, known) if survey.overlaps else None
    return UpdateSummary(tuple(survey.ends.items()), reach, not reach, instead)


def _judge_waits(survey: _Survey) -> None:
    """Tell references to what the update brings itself from a gap, and refuse references in a circle."""
    for _client, _clock, needed_client, needed_clock in survey.waits:
        held = survey.held(needed_client)
        if needed_clock >= held:
            survey.misses(needed_client, held)
            return
    if not can_be_ordered(survey.waits, survey.ends):
        raise UpdateRefused("circular_reference")


def check_state_vector(state_vector: bytes) -> dict[int, int]:
    """The clocks in an encoded state vector (client → end clock). Raises `UpdateRefused`."""
    try:
        count, at = read_varuint(state_vector, 0)
        if count * 2 > len(state_vector) - at:
            raise UpdateRefused("count")
        clocks: dict[int, int] = {}
        for _ in range(count):
            client, at = read_varuint(state_vector, at)
            clock, at = read_varuint(state_vector, at)
            if clock >= END_OF_CLOCKS:
                raise UpdateRefused("clock")
            clocks[client] = clock
    except MalformedMessage as malformed:
        raise UpdateRefused(malformed.reason) from None
    if len(clocks) != count:
        raise UpdateRefused("duplicate_client")
    if at != len(state_vector):
        raise UpdateRefused("trailing")
    return clocks


def _survey_structs(update: bytes, survey: _Survey) -> int:
    """Check the structs of every client; return the position after them."""
    clients, at = read_varuint(update, 0)
    if clients > len(update) - at:
        raise UpdateRefused("count")
    ends = survey.ends
    for _ in range(clients):
        structs, at = read_varuint(update, at)
        client, at = read_varuint(update, at)
        clock, at = read_varuint(update, at)
        if structs == 0:
            raise UpdateRefused("empty_client")
        if structs > len(update) - at:
            raise UpdateRefused("count")
        if client in ends:
            raise UpdateRefused("duplicate_client")
        if clock > survey.known.get(client, 0):
            survey.misses(client, survey.known.get(client, 0))
        ends[client], at = _survey_client(update, at, structs, client, clock, survey)
    return at


def _survey_client(update: bytes, at: int, structs: int, client: int, clock: int, survey: _Survey) -> tuple[int, int]:
    """Check one client's structs from `clock` on; return the clock and the position after them."""
    readers, known, types = READERS, survey.known, 0
    held = known.get(client, 0)
    for _ in range(structs):
        info = update[at]
        at += 1
        reader = readers[info]
        if reader is not None:
            at = _survey_place(update, at, info, client, clock, survey)
            length, at = reader(update, at)
            types += reader is read_type
        elif info in FILLERS:
            length, at = read_varuint(update, at)
            if info == SKIP and clock + length > held:
                survey.misses(client, held)
        else:
            raise UpdateRefused(reason_against(info))
        if length == 0:
            raise UpdateRefused("empty_struct")
        if clock < held < clock + length and not info & _HAS_NEIGHBOUR:
            survey.overlaps = True
        clock += length
        if clock >= END_OF_CLOCKS:
            raise UpdateRefused("clock")
    survey.types += types
    return clock, at


def _survey_place(update: bytes, at: int, info: int, client: int, clock: int, survey: _Survey) -> int:
    """Check where a struct stands: after or before its neighbours or, if it has none, in its parent."""
    if info & _HAS_NEIGHBOUR:
        if info & HAS_ORIGIN:
            at = _survey_reference(update, at, client, clock, survey)
        if info & HAS_RIGHT_ORIGIN:
            at = _survey_reference(update, at, client, clock, survey)
        return at  # its parent, and key, are those of the neighbour
    if update[at] == 1:
        at = _skip_root_name(update, at + 1)
    elif update[at] == 0:
        at = _survey_reference(update, at + 1, client, clock, survey)
    else:
        raise UpdateRefused("parent")
    if info & HAS_PARENT_SUB:
        _key, at = read_string(update, at)
    return at


def _skip_root_name(update: bytes, at: int) -> int:
    length, _start = read_varuint(update, at)
    if length > MAX_ROOT_NAME_BYTES:
        raise UpdateRefused("root_name")
    return read_string(update, at)[1]


def _survey_reference(update: bytes, at: int, client: int, clock: int, survey: _Survey) -> int:
    """Check that what is referred to comes before the struct at (`client`, `clock`)."""
    needed_client, at = read_varuint(update, at)
    needed_clock, at = read_varuint(update, at)
    if needed_client == client:
        if needed_clock >= clock:
            raise UpdateRefused("forward_reference")
    elif needed_clock >= survey.known.get(needed_client, 0):
        survey.waits.append((client, clock, needed_client, needed_clock))
    return at


def _survey_deletes(update: bytes, at: int, survey: _Survey) -> tuple[dict[int, int], int]:
    """Check the delete set; return how far structs and deletes reach, and the position after it."""
    reach = survey.ends.copy()
    clients, at = read_varuint(update, at)
    if clients == 0:
        return reach, at
    if clients > len(update) - at:
        raise UpdateRefused("count")
    seen = set()
    for _ in range(clients):
        client, at = read_varuint(update, at)
        end, at = _survey_client_deletes(update, at)
        if client in seen:
            raise UpdateRefused("duplicate_client")
        seen.add(client)
        held = survey.held(client)
        if end > held:
            survey.misses(client, held)
        if end > reach.get(client, 0):
            reach[client] = end
    return reach, at


def _survey_client_deletes(update: bytes, at: int) -> tuple[int, int]:
    """Check one client's deleted ranges; return the highest clock they reach and the position after them."""
    ranges, at = read_varuint(update, at)
    if ranges == 0:
        raise UpdateRefused("empty_client")
    if ranges > len(update) - at:
        raise UpdateRefused("count")
    end = 0
    for _ in range(ranges):
        clock, at = read_varuint(update, at)
        length, at = read_varuint(update, at)
        if length == 0:
            raise UpdateRefused("empty_range")
        if clock + length >= END_OF_CLOCKS:
            raise UpdateRefused("clock")
        end = max(end, clock + length)
    return end, at
