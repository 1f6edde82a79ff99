"""Awareness of one room: the clock rule, whose client id it is, and that nothing stays of those who left."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from presence.state import (
    ECHO_S,
    LONGEST_CLOCK_STEP,
    MOST_REMEMBERED,
    RENEWED_S,
    Applied,
    AwarenessStates,
    RefusedBecause,
    StateEntry,
)

X, Y, Z = 1001, 1002, 1003
FOREIGN, TOO_MANY, CLOCK = RefusedBecause


class Seat:
    """A member, as far as awareness knows one: equal to itself only."""


def state(user: str, cursor: int = 0) -> bytes:
    return json.dumps({"user": {"id": user}, "cursor": cursor}).encode()


@pytest.fixture
def states() -> AwarenessStates:
    return AwarenessStates()


def say(states: AwarenessStates, owner: object, *entries: tuple[int, int, bytes | None], now: float = 0.0) -> Applied:
    return states.apply(owner, entries, now=now)


def test_news_is_accepted_and_shown(states: AwarenessStates) -> None:
    alice = Seat()
    assert say(states, alice, (X, 1, b"one")) == ([(X, 1, b"one")], [])
    assert say(states, alice, (X, 2, b"two")).accepted == [StateEntry(X, 2, b"two")]
    assert states.snapshot() == [(X, 2, b"two")]


@pytest.mark.parametrize(
    ("clock", "said", "accepted"),
    [
        (6, b"newer", True),
        (6, None, True),
        (5, None, True),  # a null at the known clock takes a present state away
        (5, b"same clock", False),
        (4, b"older", False),
        (4, None, False),
    ],
)
def test_the_clock_rule_of_y_protocols(states: AwarenessStates, clock: int, said: bytes | None, accepted: bool) -> None:
    alice = Seat()
    say(states, alice, (X, 5, b"known"))
    outcome = say(states, alice, (X, clock, said))
    assert outcome == ([(X, clock, said)] if accepted else [], [])
    assert states.snapshot() == ([(X, 5, b"known")] if not accepted else [(X, clock, said)] if said else [])


def test_a_second_null_at_the_same_clock_is_no_news(states: AwarenessStates) -> None:
    alice = Seat()
    say(states, alice, (X, 5, b"known"), (X, 5, None))
    assert say(states, alice, (X, 5, None)) == ([], [])


@pytest.mark.parametrize("clock", [0, 1, 12_345])
def test_a_client_seen_first_may_have_any_clock(states: AwarenessStates, clock: int) -> None:
    assert say(states, Seat(), (X, clock, b"hello")).accepted == [(X, clock, b"hello")]


def test_a_null_of_someone_unknown_is_no_news(states: AwarenessStates) -> None:
    assert say(states, Seat(), (X, 9, None)) == ([], [])
    assert len(states) == 0


def test_nobody_speaks_for_the_id_of_another_member(states: AwarenessStates) -> None:
    alice, mallory = Seat(), Seat()
    say(states, alice, (X, 5, state("alice")))
    say(states, mallory, (Y, 1, state("mallory")))
    assert say(states, mallory, (X, 6, state("mallory"))) == ([], [FOREIGN])
    assert say(states, mallory, (X, 5, None)) == ([], [FOREIGN])
    assert say(states, Seat(), (X, 6, state("mallory"))) == ([], [FOREIGN])
    assert say(states, Seat(), (X, 6, None)) == ([], [FOREIGN])
    assert states.owner_of(X) is alice


def test_an_id_stays_its_owners_while_it_shows_nothing(states: AwarenessStates) -> None:
    alice = Seat()
    say(states, alice, (X, 5, state("alice")), (X, 6, None))
    assert say(states, Seat(), (X, 7, state("mallory"))) == ([], [FOREIGN])
    assert say(states, alice, (X, 7, state("alice"))).accepted == [(X, 7, state("alice"))]


def test_repeating_what_another_said_is_no_offence(states: AwarenessStates) -> None:
    """y-websocket sends every awareness change it sees back to the server."""
    alice, bob = Seat(), Seat()
    say(states, alice, (X, 5, state("alice")))
    say(states, bob, (Y, 1, state("bob")))
    assert say(states, bob, (X, 5, state("alice")), (X, 4, state("alice"))) == ([], [])


def test_a_member_speaks_for_a_bounded_number_of_ids(states: AwarenessStates) -> None:
    alice = Seat()
    outcome = say(states, alice, *((client, 1, b"x") for client in range(6)))
    assert [entry.client_id for entry in outcome.accepted] == [0, 1, 2, 3]
    assert outcome.refused == [TOO_MANY, TOO_MANY]
    say(states, alice, (0, 2, None))
    assert say(states, alice, (9, 1, b"x")).refused == [TOO_MANY]
    assert say(states, Seat(), (9, 1, b"x")).refused == []


def test_one_bad_entry_does_not_cost_the_others(states: AwarenessStates) -> None:
    say(states, Seat(), (X, 1, state("alice")))
    outcome = say(states, Seat(), (Y, 1, b"y"), (X, 2, b"x"), (Z, 1, b"z"))
    assert ([entry.client_id for entry in outcome.accepted], outcome.refused) == ([Y, Z], [FOREIGN])


def test_a_clock_cannot_be_poisoned(states: AwarenessStates) -> None:
    alice = Seat()
    assert say(states, alice, (X, LONGEST_CLOCK_STEP, b"far")).refused == [CLOCK]
    assert say(states, alice, (X, LONGEST_CLOCK_STEP - 1, b"near")).refused == []
    assert say(states, alice, (X, 2 * LONGEST_CLOCK_STEP, b"far")).refused == [CLOCK]
    assert say(states, alice, (X, 2 * LONGEST_CLOCK_STEP - 1, b"near")).refused == []
    assert say(states, "task-2", (Y, 2**53, b"far")).refused == [CLOCK]


def test_who_leaves_is_announced_with_the_clock_it_had(states: AwarenessStates) -> None:
    alice, bob = Seat(), Seat()
    say(states, alice, (X, 5, b"x"), (Y, 7, b"y"), (Z, 1, b"z"), (Z, 2, None))
    say(states, bob, (2000, 1, b"bob"))
    assert states.remove_owner(alice) == [(X, 5), (Y, 7)]
    assert states.remove_owner(alice) == []
    assert states.snapshot() == [(2000, 1, b"bob")]


def test_who_left_may_come_back_with_the_same_clock_or_the_next(states: AwarenessStates) -> None:
    for clock in (5, 6):
        alice = Seat()
        assert say(states, alice, (X, clock, b"x")).accepted == [(X, clock, b"x")]
        states.remove_owner(alice)


def test_a_late_repetition_does_not_bring_back_who_left(states: AwarenessStates) -> None:
    alice, bob = Seat(), Seat()
    say(states, bob, (Y, 1, state("bob")))
    say(states, alice, (X, 5, state("alice")))
    states.remove_owner(alice)
    assert say(states, bob, (X, 5, state("alice")), now=1.0) == ([], [FOREIGN])
    assert say(states, bob, (X, 4, state("alice")), now=ECHO_S - 1).refused == [FOREIGN]
    assert say(states, bob, (X, 6, state("bob")), now=1.0).refused == []


def test_nothing_stays_of_those_who_left(states: AwarenessStates) -> None:
    for client in range(3 * MOST_REMEMBERED):
        seat = Seat()
        say(states, seat, (client, 1, b"x"), now=client / 1_000)
        say(states, "task-2", (10**6 + client, 1, b"x"), (10**6 + client, 2, None), now=client / 1_000)
        states.remove_owner(seat)
    assert (len(states), states.snapshot()) == (0, [])
    assert len(states._left) <= MOST_REMEMBERED
    assert states._ids == {}
    say(states, Seat(), now=10 * ECHO_S)
    assert states._left == {}


def test_a_person_who_reconnects_gets_its_cursor_before_the_dead_connection_is_noticed(
    states: AwarenessStates,
) -> None:
    dead, alive = Seat(), Seat()
    say(states, dead, (X, 5, state("alice")))
    assert say(states, alive, (X, 5, state("alice"))).accepted == [(X, 5, state("alice"))]
    assert states.owner_of(X) is alive
    assert states.remove_owner(dead) == []
    assert states.snapshot() == [(X, 5, state("alice"))]


def test_another_tab_that_repeats_it_first_does_not_take_a_new_tabs_id(states: AwarenessStates) -> None:
    """Tabs of one browser talk to each other: the first sends the second's state before that one is connected."""
    first, second = Seat(), Seat()
    say(states, first, (X, 3, state("first")))
    assert say(states, first, (Y, 1, state("first"))).accepted
    assert say(states, second, (Y, 1, state("second"))).accepted == [(Y, 1, state("second"))]
    assert say(states, first, (Y, 2, state("first"))) == ([], [FOREIGN])
    assert say(states, second, (Y, 2, state("second"))).accepted
    assert states.remove_owner(first) == [(X, 3)]


def test_a_newcomer_takes_over_with_a_state_only(states: AwarenessStates) -> None:
    first = Seat()
    say(states, first, (X, 1, state("alice")), (Y, 1, state("alice")))
    assert say(states, Seat(), (Y, 2, None)) == ([], [FOREIGN])


def test_only_a_newcomer_takes_over_an_id(states: AwarenessStates) -> None:
    one_tab, other_tab = Seat(), Seat()
    say(states, one_tab, (X, 1, state("alice")))
    say(states, other_tab, (Y, 1, state("alice")))
    assert say(states, other_tab, (X, 2, state("alice"))) == ([], [FOREIGN])


def test_another_task_speaks_for_any_number_of_ids(states: AwarenessStates) -> None:
    outcome = say(states, "task-2", *((client, 1, b"x") for client in range(100)))
    assert len(outcome.accepted) == 100
    assert say(states, "task-2", (0, 1, None)).accepted == [(0, 1, None)]
    assert len(states) == 99
    assert states.remove_owner("task-2") == [(client, 1) for client in range(1, 100)]


def test_another_task_does_not_speak_for_our_members(states: AwarenessStates) -> None:
    say(states, Seat(), (X, 5, state("alice")))
    assert say(states, "task-2", (X, 6, state("mallory"))).refused == [FOREIGN]
    assert say(states, "task-2", (X, 5, None)).refused == [FOREIGN]


def test_our_members_do_not_take_ids_of_another_task(states: AwarenessStates) -> None:
    say(states, "task-2", (Y, 1, state("bob")), (X, 5, state("alice")))
    assert say(states, Seat(), (X, 6, state("mallory"))).refused == [FOREIGN]


@pytest.mark.parametrize(("here", "there"), [("seat", "task-2"), ("task-2", "seat"), ("task-2", "task-3")])
def test_a_client_that_moves_between_tasks_keeps_its_cursor(states: AwarenessStates, here: str, there: str) -> None:
    former, latter = (Seat() if name == "seat" else name for name in (here, there))
    say(states, former, (X, 5, state("alice")))
    assert say(states, latter, (X, 5, state("alice"))).accepted == [(X, 5, state("alice"))]
    # Only now the former owner notices that the connection it had is dead.
    if isinstance(former, str):
        assert say(states, former, (X, 5, None)).accepted == []
    assert states.remove_owner(former) == []
    assert states.snapshot() == [(X, 5, state("alice"))]


def test_another_task_is_told_of_our_members_only(states: AwarenessStates) -> None:
    say(states, "task-2", (X, 1, b"theirs"))
    say(states, Seat(), (Y, 1, b"ours"))
    assert states.snapshot(local_only=True) == [(Y, 1, b"ours")]
    assert states.snapshot() == [(X, 1, b"theirs"), (Y, 1, b"ours")]


ENTRIES = st.tuples(st.integers(0, 6), st.integers(0, 5), st.none() | st.sampled_from([state("a"), state("b"), b"{}"]))
STEPS = st.lists(st.tuples(st.integers(0, 5), st.none() | st.lists(ENTRIES, max_size=3)), max_size=60)


@given(STEPS)
def test_whatever_is_said_every_id_has_one_owner_and_peers_end_with_the_same_states(
    steps: list[tuple[int, list[tuple[int, int, bytes | None]] | None]],
) -> None:
    states = AwarenessStates()
    owners = [Seat(), Seat(), Seat(), Seat(), "task-2", "task-3"]
    shown: dict[int, bytes] = {}
    for now, (number, entries) in enumerate(steps):
        owner = owners[number]
        if entries is None:
            for client, _ in states.remove_owner(owner):
                del shown[client]
            assert all(states.owner_of(client) is not owner for client in range(7))
            continue
        last = {client: said for client, _, said in states.apply(owner, entries, now=now).accepted}
        for client, said in last.items():
            assert states.owner_of(client) is (None if said is None and isinstance(owner, str) else owner)
            shown.pop(client, None)
            if said is not None:
                shown[client] = said
        assert {client: said for client, _, said in states.snapshot()} == shown
        for seat in owners[:4]:
            assert sum(states.owner_of(client) is seat for client in range(7)) <= 4


def test_what_another_task_says_goes_when_nobody_renews_it(states: AwarenessStates) -> None:
    alice = Seat()
    say(states, alice, (X, 5, state("alice")))
    say(states, "task-2", (Y, 7, state("bob")), (Z, 1, state("eve")))
    say(states, "task-2", (Z, 2, state("eve")), now=RENEWED_S)
    assert states.remove_unrenewed(now=RENEWED_S) == []
    assert states.remove_unrenewed(now=RENEWED_S + 1) == [(Y, 7)]
    assert [entry.client_id for entry in states.snapshot()] == [X, Z]
    assert states.remove_unrenewed(now=3 * RENEWED_S) == [(Z, 2)]
    assert states._ids == {alice: {X: None}}


def test_peers_do_not_take_a_state_up_to_the_clock_at_which_they_were_told_that_it_is_gone(
    states: AwarenessStates,
) -> None:
    say(states, "task-2", (X, 5, state("alice")))
    states.remove_owner("task-2")
    entries = [(X, 4, state("alice")), (X, 5, state("alice")), (X, 6, state("alice")), (X, 5, None), (Y, 1, b"{}")]
    assert states.told_gone(entries) == [(X, 5), (X, 5)]
    say(states, "task-2", (X, 6, state("alice")))
    assert states.told_gone(entries) == []


def test_who_shows_itself_denies_that_it_is_gone(states: AwarenessStates) -> None:
    alice = Seat()
    say(states, alice, (X, 5, state("alice")), (Y, 1, b"{}"), (Y, 2, None))
    say(states, "task-2", (Z, 5, state("bob")))
    assert states.denies(X, 5) is alice
    assert states.denies(X, 9) is alice
    assert states.denies(X, 4) is None  # its peers know better
    assert states.denies(Y, 2) is states.denies(Z, 5) is states.denies(2000, 1) is None


def test_what_an_owner_shows_is_that_of_its_own_id(states: AwarenessStates) -> None:
    alice = Seat()
    assert states.state_of(alice) is None
    say(states, alice, (X, 5, state("alice")), (Y, 1, b"{}"))
    assert states.state_of(alice) == state("alice")
    say(states, alice, (X, 6, None))
    assert states.state_of(alice) is None
