"""Seats, and words on their way to a peer."""

import pytest

from loadtests.rooms import LOST_AFTER_S, Room, Seating


def watched_pair() -> Room:
    room = Room("r", seats=2, taken=2)
    room.watch(0)
    room.watch(1)
    return room


def test_rooms_are_filled_one_after_the_other() -> None:
    seating = Seating("run", seats_per_room=2)
    seats = [seating.take() for _ in range(5)]
    assert [(room.name, seat) for room, seat in seats] == [
        ("load-run-0", 0),
        ("load-run-0", 1),
        ("load-run-1", 0),
        ("load-run-1", 1),
        ("load-run-2", 0),
    ]


@pytest.mark.parametrize("seats", [2, 3, 30])
def test_every_author_is_watched_by_exactly_one_other(seats: int) -> None:
    room = Room("r", seats)
    watched = [room.watched_by(seat) for seat in range(seats)]
    assert sorted(watched) == list(range(seats))
    assert all(author != seat for seat, author in enumerate(watched))


def test_a_word_is_timed_from_author_to_watcher() -> None:
    room = watched_pair()
    room.wrote(0, 1, now=10.0)
    assert room.saw(0, 1, now=10.25) == [0.25]
    assert room.saw(0, 1, now=11.0) == []


def test_words_that_arrive_together_are_each_timed() -> None:
    room = watched_pair()
    for number, now in ((1, 10.0), (2, 10.5), (3, 11.0)):
        room.wrote(0, number, now)
    assert room.saw(0, 2, now=12.0) == [2.0, 1.5]
    assert room.saw(0, 3, now=12.0) == [1.0]


def test_a_word_written_before_anybody_watched_is_not_timed() -> None:
    room = Room("r", seats=2, taken=1)
    room.wrote(0, 1, now=10.0)
    room.watch(1)
    assert room.saw(0, 1, now=60.0) == []
    assert room.lost(0, now=60.0) == 0


def test_a_word_nobody_saw_is_lost_once() -> None:
    room = watched_pair()
    room.wrote(0, 1, now=0.0)
    room.wrote(0, 2, now=5.0)
    assert room.lost(0, now=LOST_AFTER_S) == 0
    assert room.lost(0, now=LOST_AFTER_S + 1) == 1
    assert room.lost(0, now=LOST_AFTER_S + 1) == 0
    assert room.saw(0, 2, now=LOST_AFTER_S + 1) == [LOST_AFTER_S - 4]


def test_a_room_agrees_when_all_texts_are_equal() -> None:
    room = watched_pair()
    room.texts.update({0: lambda: "same", 1: lambda: "same"})
    assert room.in_agreement
    room.texts[1] = lambda: "other"
    assert not room.in_agreement
