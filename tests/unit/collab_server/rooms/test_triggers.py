"""Facts about when a room is checkpointed: after so many updates, bytes or seconds, never all at once, and again."""

import dataclasses

from collab_server.rooms.triggers import RETRY_CAP_S, RoomRules, Triggers
from collab_server.wire.messages import Update
from tests.unit.collab_server.rooms.parts import house, until
from tests.unit.collab_server.rooms.test_replica import typed

RULES = RoomRules(checkpoint_after_updates=100, checkpoint_after_bytes=10_000, checkpoint_after_s=20, grace_s=30)


class StandInRoom:
    """What a room tells its triggers."""

    def __init__(self, updates: int = 1, size_bytes: int = 10) -> None:
        self.dirty_updates, self.dirty_bytes = updates, size_bytes


def triggers(*, share: float = 0.5) -> Triggers:
    """Every draw is that share of its range."""
    return Triggers(RULES, lambda low, high: low + (high - low) * share)


def room(updates: int = 1, size_bytes: int = 10):  # type: ignore[no-untyped-def]
    return StandInRoom(updates, size_bytes)


def test_a_room_is_due_some_time_after_its_first_edit() -> None:
    at, edited = triggers(), room()
    at.edited(edited, 100.0)
    at.edited(edited, 110.0)
    assert at.take(119.9) == []
    assert at.take(120.0) == [edited]
    assert at.take(999.0) == []


def test_so_many_updates_make_a_room_due_at_once() -> None:
    at, edited = triggers(share=1.0), room(updates=99)
    at.edited(edited, 0.0)
    assert at.take(0.0) == []
    edited.dirty_updates = 100
    at.edited(edited, 0.0)
    assert at.take(0.0) == [edited]


def test_so_many_bytes_make_a_room_due_at_once() -> None:
    at, edited = triggers(share=1.0), room(size_bytes=9_999)
    at.edited(edited, 0.0)
    assert at.take(0.0) == []
    edited.dirty_bytes = 10_000
    at.edited(edited, 0.0)
    assert at.take(0.0) == [edited]


def test_one_big_edit_is_enough() -> None:
    at, edited = triggers(), room(size_bytes=1_000_000)
    at.edited(edited, 0.0)
    assert at.take(0.0) == [edited]


def test_rooms_edited_together_are_not_due_together() -> None:
    at, rooms = Triggers(RULES), [room() for _ in range(200)]
    for each in rooms:
        at.edited(each, 0.0)
    due = [len(at.take(second)) for second in range(10, 31)]
    assert sum(due) == 200
    assert max(due) < 60  # twenty a second on average, over ten seconds
    assert sum(due[:5]) == 0  # none before 15 s


def test_rooms_that_grow_together_are_not_due_together() -> None:
    for field, most in (("dirty_updates", 100), ("dirty_bytes", 10_000)):
        at, rooms = Triggers(RULES), [room() for _ in range(200)]
        taken = []
        for share in (0.74, 0.80, 0.85, 0.90, 0.95, 1.0):
            for each in rooms:
                setattr(each, field, int(most * share))
                at.edited(each, 0.0)
            taken.append(len(at.take(0.0)))
            rooms = [each for each in rooms if each in at._due]
        assert taken[0] == 0
        assert sum(taken) == 200
        assert max(taken) < 100


def test_rooms_that_empty_together_are_not_dropped_together() -> None:
    graces = [Triggers(RULES).grace_s() for _ in range(100)]
    assert len(set(graces)) > 90
    assert all(30 <= grace <= 37.5 for grace in graces)
    assert Triggers(dataclasses.replace(RULES, grace_s=0)).grace_s() == 0


def test_a_failed_checkpoint_is_tried_again_after_pauses_that_double() -> None:
    at, edited = triggers(share=1.0), room()
    now, pauses = 0.0, []
    for _ in range(12):
        at.failed(edited, now)
        begun = now
        while not at.take(now):
            now += 0.5
        pauses.append(now - begun)
    assert pauses[:5] == [10, 20, 40, 80, 160]
    assert set(pauses[5:]) == {RETRY_CAP_S}


def test_a_success_makes_the_next_pause_short_again() -> None:
    at, edited = triggers(share=1.0), room()
    for _ in range(5):
        at.failed(edited, 0.0)
    at.succeeded(edited)
    at.failed(edited, 0.0)
    assert at.take(10.0) == [edited]


def test_edits_do_not_shorten_the_pause_after_a_failure() -> None:
    """F07: the journal grows past every bound while storage is away, and each edit would be a retry."""
    at, edited = triggers(share=1.0), room(updates=1_000_000, size_bytes=10**9)
    at.failed(edited, 0.0)
    at.edited(edited, 1.0)
    assert at.take(9.9) == []
    assert at.take(10.0) == [edited]


def test_rooms_whose_checkpoints_failed_together_do_not_return_together() -> None:
    at, rooms = Triggers(RULES), [room() for _ in range(100)]
    for each in rooms:
        at.failed(each, 0.0)
    due = [len(at.take(tenth / 10)) for tenth in range(101)]
    assert sum(due) == 100
    assert sum(count > 0 for count in due) > 25


def test_a_room_that_is_gone_is_not_due() -> None:
    at, edited = triggers(), room()
    at.edited(edited, 0.0)
    at.drop(edited)
    assert at.take(1_000.0) == []


async def test_the_time_a_room_has_been_dirty_makes_a_checkpoint() -> None:
    async with house(dataclasses.replace(RULES, checkpoint_after_s=0.2)) as at:
        here = await at.room()
        at.join(here).send(Update(typed("a")[0]))
        await until(lambda: here.last_checkpoint is not None, 30)


async def test_bytes_make_a_checkpoint() -> None:
    async with house(dataclasses.replace(RULES, checkpoint_after_bytes=2_000, checkpoint_after_s=600)) as at:
        here = await at.room()
        at.join(here).send(Update(typed("a" * 3_000)[0]))
        await until(lambda: here.last_checkpoint is not None, 30)
