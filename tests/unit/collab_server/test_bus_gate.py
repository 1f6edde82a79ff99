"""What a task lets in from the bus: each parcel once, whatever was recorded, doubled or reordered (T21, F09)."""

import random
from itertools import pairwise
from uuid import UUID, uuid4

import pytest

from collab_server import bus_gate
from collab_server.bus import Envelope, EnvelopeKind
from collab_server.bus_gate import DOUBLED_WITHIN_MS, TOLERANCE_MS, WINDOW, BusTallies, Gate
from collab_server.envelopes import FIRST_VERSION, VERSION

ROOM = UUID("01234567-89ab-cdef-0123-456789abcdef")
START_MS = 1_700_000_000_000


class Clock:
    def __init__(self) -> None:
        self.ms = START_MS

    def __call__(self) -> int:
        return self.ms


class Task:
    """A gate, and what it has counted."""

    def __init__(self, clock: Clock, task_id: str = "one", *keys: bytes) -> None:
        self.tallies = BusTallies()
        self.id = task_id
        self.gate = Gate(task_id, clock, keys, self.tallies)

    def seal(self, body: bytes = b"x", kind: EnvelopeKind = EnvelopeKind.UPDATE, room: UUID | None = ROOM) -> bytes:
        [(wire, _envelopes)] = self.gate.seal([Envelope(kind, room, self.id, body)])
        return wire

    def bodies(self, wire: bytes) -> list[bytes] | None:
        parcel = self.gate.admit(wire)
        return None if parcel is None else [envelope.body for envelope in parcel.envelopes]

    @property
    def refused(self) -> dict[str, int]:
        return {reason: tally.count for reason, tally in self.tallies.refused.items()}


@pytest.fixture
def clock() -> Clock:
    return Clock()


def test_envelopes_of_one_turn_for_one_document_are_one_message_in_their_order(clock: Clock) -> None:
    one, two, other = Task(clock), Task(clock, "two"), uuid4()
    rooms = [ROOM, other, ROOM, ROOM]
    turn = [Envelope(EnvelopeKind.UPDATE, room, "one", b"%d" % number) for number, room in enumerate(rooms)]
    heard = [two.bodies(wire) for wire, _envelopes in one.gate.seal(turn)]
    assert heard == [[b"0", b"2", b"3"], [b"1"]]


def test_a_double_is_dropped_and_counted_apart(clock: Clock) -> None:
    one, two = Task(clock), Task(clock, "two")
    wire = one.seal()
    assert two.bodies(wire) == [b"x"]
    clock.ms += DOUBLED_WITHIN_MS
    assert two.bodies(wire) is None
    assert (two.tallies.doubled.count, two.refused, two.gate.malformed) == (1, {}, 0)


def test_a_recorded_parcel_is_a_replay(clock: Clock) -> None:
    one, two = Task(clock), Task(clock, "two")
    wire = one.seal()
    assert two.bodies(wire) == [b"x"]
    for later_ms in (DOUBLED_WITHIN_MS + 1, TOLERANCE_MS):
        clock.ms += later_ms
        assert two.bodies(wire) is None
    assert two.refused == {"replayed": 2}


def test_what_was_recorded_of_a_task_that_is_long_dead_is_stale(clock: Clock) -> None:
    wires = [Task(clock).seal() for _life in range(3)]
    clock.ms += TOLERANCE_MS + 1
    two = Task(clock, "two")
    assert [two.bodies(wire) for wire in wires] == [None] * 3
    assert two.refused == {"stale": 3}


def test_a_parcel_from_the_future_is_stale(clock: Clock) -> None:
    ahead = Clock()
    ahead.ms += TOLERANCE_MS + 1
    two = Task(clock, "two")
    assert two.bodies(Task(ahead).seal()) is None
    assert two.refused == {"stale": 1}


def test_a_parcel_on_another_channel_is_refused(clock: Clock) -> None:
    one, two = Task(clock), Task(clock, "two")
    assert two.gate.admit(one.seal(), uuid4()) is None
    assert two.gate.admit(one.seal(), None) is None
    assert two.refused == {"channel": 2}


def test_reordered_parcels_are_all_heard_and_each_once(clock: Clock) -> None:
    one, two, chance = Task(clock), Task(clock, "two"), random.Random(9)
    wires = [one.seal(b"%d" % number) for number in range(WINDOW)]
    chance.shuffle(wires)
    heard = [two.bodies(wire) for wire in wires]
    assert sorted(heard) == sorted([b"%d" % number] for number in range(WINDOW))
    assert [two.bodies(wire) for wire in wires] == [None] * WINDOW
    assert two.tallies.doubled.count == WINDOW


def test_a_parcel_overtaken_by_more_than_the_window_is_refused(clock: Clock) -> None:
    one, two = Task(clock), Task(clock, "two")
    late = one.seal()
    for _ in range(WINDOW):
        newest = one.seal()
    assert two.bodies(newest) == [b"x"]
    assert two.bodies(late) is None
    assert two.refused == {"replayed": 1}


def test_a_task_started_again_under_its_name_is_heard(clock: Clock) -> None:
    two = Task(clock, "two")
    assert [two.bodies(Task(clock).seal()) for _life in range(3)] == [[b"x"]] * 3


def test_strangers_cost_a_bounded_memory(clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bus_gate, "MOST_ORIGINS", 4)
    two, steady = Task(clock, "two"), Task(clock, "steady")
    for number in range(20):
        assert two.bodies(steady.seal()) == [b"x"]
        assert two.bodies(Task(clock, f"stranger-{number}").seal()) == [b"x"]
    wire = steady.seal()
    assert two.bodies(wire) == [b"x"]
    assert two.bodies(wire) is None
    assert len(two.gate._windows) == 4


def test_a_stale_stranger_costs_no_memory(clock: Clock) -> None:
    wire, two = Task(clock).seal(), Task(clock, "two")
    clock.ms += 2 * TOLERANCE_MS
    assert two.bodies(wire) is None
    assert not two.gate._windows


def test_before_the_clock_is_known_nothing_is_called_stale(clock: Clock) -> None:
    unknown = Clock()
    unknown.ms = 0
    assert Task(unknown, "two").bodies(Task(clock).seal()) == [b"x"]
    assert Task(clock, "three").bodies(Task(unknown).seal()) == [b"x"]


def test_a_forged_parcel_does_not_move_the_window(clock: Clock) -> None:
    two = Task(clock, "two", b"key")
    honest, forger = Task(clock, "one", b"key"), Task(clock, "one", b"guess")
    forger.gate._boot = honest.gate._boot
    forger.gate._sequence = 2**40
    assert two.bodies(forger.seal()) is None
    assert two.bodies(honest.seal()) == [b"x"]
    assert two.refused == {"signature": 1}


def test_a_key_changes_without_a_lost_parcel(clock: Clock) -> None:
    """Every task gets the new key as its second, then as its first with the old one second, then alone."""
    steps = [(b"old",), (b"old", b"new"), (b"new", b"old"), (b"new",)]
    for before, after in pairwise(steps):
        for speaker, hearer in ((before, after), (after, before)):
            hears = Task(clock, "two", *hearer)
            assert hears.bodies(Task(clock, "one", *speaker).seal()) == [b"x"]


# Versions


def test_beside_a_task_that_reads_version_1_only_that_is_spoken_and_heard(clock: Clock) -> None:
    one, two = Task(clock), Task(clock, "two")
    one.gate.versions = two.gate.versions = lambda: {FIRST_VERSION}
    wire = one.seal()
    assert wire[0] == FIRST_VERSION
    assert two.bodies(wire) == [b"x"]


def test_beside_a_task_of_a_later_version_the_common_one_is_spoken(clock: Clock) -> None:
    one = Task(clock)
    one.gate.versions = lambda: {VERSION}
    assert one.seal()[0] == VERSION


def test_a_task_that_shares_no_version_with_another_speaks_its_newest(clock: Clock) -> None:
    one = Task(clock)
    one.gate.versions = lambda: frozenset()
    assert one.seal()[0] == VERSION


def test_once_all_speak_version_2_rooms_hear_version_1_no_more(clock: Clock) -> None:
    old, two = Task(clock, "old"), Task(clock, "two")
    old.gate.versions = lambda: {FIRST_VERSION}
    recorded = old.seal()
    assert two.bodies(recorded) is None
    assert two.bodies(old.seal(b"alive", EnvelopeKind.CONTROL, None)) == [b"alive"]
    assert two.refused == {"version": 1}


def test_a_kind_of_a_later_version_is_counted_and_harms_nothing(clock: Clock) -> None:
    one, two = Task(clock), Task(clock, "two")
    [(wire, _)] = one.gate.seal([Envelope(EnvelopeKind.UPDATE, ROOM, "one", body) for body in (b"later", b"now")])
    assert two.bodies(wire.replace(b"\x01\x00\x00\x00\x05later", b"\x63\x00\x00\x00\x05later")) == [b"now"]
    assert two.refused == {"kind": 1}


def test_an_old_parcel_does_not_make_a_gate_forget_what_it_heard_since(clock: Clock) -> None:
    """T21: an intruder without the key has only recordings; an old one must not open the door for newer ones."""
    one, two = Task(clock, "one", b"key"), Task(clock, "two", b"key")
    old = one.seal()
    two.bodies(old)
    clock.ms += TOLERANCE_MS + 1
    newer = one.seal(b"evict")
    assert two.bodies(newer) == [b"evict"]
    clock.ms += DOUBLED_WITHIN_MS + 1
    assert [two.bodies(old), two.bodies(newer)] == [None, None]
    assert two.refused == {"replayed": 2}
