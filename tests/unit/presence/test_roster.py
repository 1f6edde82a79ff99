"""Who is here: one entry a person, however many devices."""

import pytest

from presence.roster import IDLE_AFTER_S, Person, Roster, Status

ALICE = Person("alice", "Alice", "editor")
BOB = Person("bob", "Bob", "viewer")


@pytest.fixture
def roster() -> Roster:
    return Roster()


def test_a_person_with_two_devices_is_here_once(roster: Roster) -> None:
    assert roster.enter(1, ALICE, now=10.0)
    assert not roster.enter(2, ALICE, now=20.0)
    assert roster.enter(3, BOB, now=30.0)
    alice, bob = roster.people(now=30.0)
    assert (alice.person, alice.devices, alice.since) == (ALICE, 2, 10.0)
    assert (bob.person, bob.devices, bob.since) == (BOB, 1, 30.0)
    assert roster.devices() == 3


def test_a_person_is_gone_with_its_last_device(roster: Roster) -> None:
    roster.enter(1, ALICE, now=0.0)
    roster.enter(2, ALICE, now=1.0)
    assert not roster.leave(1)
    assert [present.devices for present in roster.people(now=2.0)] == [1]
    assert roster.leave(2)
    assert not roster.leave(2)
    assert roster.people(now=2.0) == []
    assert roster.enter(3, ALICE, now=3.0)


def test_the_newest_device_knows_the_name_and_role_best(roster: Roster) -> None:
    roster.enter(1, ALICE, now=0.0)
    renamed = Person("alice", "Alice B.", "viewer")
    roster.enter(2, renamed, now=1.0)
    assert [present.person for present in roster.people(now=1.0)] == [renamed]


def test_a_person_is_idle_when_no_device_was_active_for_a_while(roster: Roster) -> None:
    roster.enter(1, ALICE, now=0.0)
    roster.enter(2, ALICE, now=0.0)

    def status(now: float) -> Status:
        return roster.people(now=now)[0].status

    assert status(IDLE_AFTER_S - 1) is Status.ACTIVE
    assert status(IDLE_AFTER_S) is Status.IDLE
    roster.touch(2, now=IDLE_AFTER_S)
    assert status(IDLE_AFTER_S + 1) is Status.ACTIVE
    assert status(2 * IDLE_AFTER_S) is Status.IDLE


def test_a_late_touch_of_a_seat_given_back_changes_nothing(roster: Roster) -> None:
    roster.enter(1, ALICE, now=0.0)
    roster.leave(1)
    roster.touch(1, now=1.0)
    assert roster.people(now=1.0) == []


def test_a_seat_is_taken_once(roster: Roster) -> None:
    roster.enter(1, ALICE, now=0.0)
    with pytest.raises(ValueError, match="taken"):
        roster.enter(1, BOB, now=1.0)
    assert roster.leave(1)


def test_coming_going_waking_up_and_a_new_role_are_changes_and_moving_is_not(roster: Roster) -> None:
    seen = [roster.changes]

    def changed() -> bool:
        seen.append(roster.changes)
        return seen[-1] != seen[-2]

    roster.enter(1, ALICE, now=0.0)
    assert changed()
    roster.touch(1, now=IDLE_AFTER_S - 1)
    roster.people(now=10 * IDLE_AFTER_S)
    assert not changed()
    roster.touch(1, now=2 * IDLE_AFTER_S)
    assert changed()
    roster.describe(1, Person("alice", "Alice", "viewer"))
    assert changed()
    roster.leave(1)
    assert changed()
    roster.leave(1)
    roster.touch(1, now=9 * IDLE_AFTER_S)
    roster.describe(1, ALICE)
    assert not changed()


def test_word_of_earlier_activity_takes_nothing_back(roster: Roster) -> None:
    roster.enter(1, ALICE, now=0.0)
    roster.touch(1, now=100.0)
    roster.touch(1, now=50.0)
    assert roster.people(now=150.0)[0].active_at == 100.0


def test_the_idle_are_those_whose_every_device_is(roster: Roster) -> None:
    roster.enter(1, ALICE, now=0.0)
    roster.enter(2, ALICE, now=0.0)
    roster.enter(3, BOB, now=0.0)
    roster.touch(2, now=1.0)
    for now in (IDLE_AFTER_S - 1, IDLE_AFTER_S, IDLE_AFTER_S + 1):
        shown = [here.person.subject for here in roster.people(now=now) if here.status is Status.IDLE]
        assert roster.idle(now=now) == shown
    assert roster.idle(now=IDLE_AFTER_S) == ["bob"]
