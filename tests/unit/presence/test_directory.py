"""One person on several tasks is one entry, and what strangers write into Redis is nobody."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from presence.directory import Attendee, merged
from presence.directory_redis import RedisDirectory
from presence.roster import Person, Status

ATTENDEES = st.lists(
    st.builds(
        Attendee,
        st.builds(Person, st.sampled_from("abc"), st.sampled_from(["A", "B"]), st.sampled_from(["editor", "viewer"])),
        st.sampled_from(list(Status)),
        st.integers(1, 3),
        st.integers(0, 3).map(float),
        st.integers(0, 3).map(float),
    ),
    max_size=8,
)


@given(ATTENDEES, st.randoms())
def test_the_order_in_which_tasks_are_read_makes_no_difference(attendees: list[Attendee], chance: object) -> None:
    found = merged(attendees)
    shuffled = [*attendees]
    chance.shuffle(shuffled)  # type: ignore[attr-defined]
    assert merged(shuffled) == found
    assert sum(each.devices for each in found) == sum(each.devices for each in attendees)
    assert len({each.person.subject for each in found}) == len(found)


@pytest.mark.parametrize(
    "written",
    [
        b"",
        b"\xff",
        b"1",
        b"{}",
        b"null",
        b"[1,5]",
        b"[2,[]]",
        b'[1,[["ada"]]]',
        b'[1,[["a","A","editor","away",1,1,1]]]',
        b'[1,[["a","A","editor","idle","x",1,1]]]',
        b'[2,[["a","A","editor","idle",1,1,1]]]',
    ],
)
async def test_what_is_not_ours_is_nobody_but_its_task_holds_the_place(written: bytes) -> None:
    async def call(commands: object) -> list[object]:
        (command,) = commands  # type: ignore[misc]
        return [[b"task-2/1", written]] if command[0] == b"HGETALL" else [[b"shown"]]

    directory = RedisDirectory("task-1", call)  # type: ignore[arg-type]
    found = await directory.at("document:demo")
    assert (found.people, found.tasks) == ((), {"task-2"})
    assert await directory.places_of("ada") == ()
