"""One person on several tasks is one entry, and what strangers write into Redis is nobody."""

from __future__ import annotations

from collections.abc import Sequence

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


class Answers:
    """What Redis answers: the fields of every hash, and what each page's key says."""

    def __init__(self, fields: dict[bytes, bytes], pages: dict[bytes, bytes]) -> None:
        self.fields = fields
        self.pages = pages
        self.asked: list[tuple[bytes, ...]] = []

    async def __call__(self, commands: Sequence[tuple[bytes, ...]]) -> list[object]:
        self.asked += commands
        return [self.answer(*command) for command in commands]

    def answer(self, verb: bytes, *words: bytes) -> object:
        if verb == b"HGETALL":
            return [part for field in self.fields.items() for part in field]
        if verb == b"MGET":
            return [self.pages.get(word.removeprefix(b"collab:{presence}:task:")) for word in words]
        return len(words) - 1


def row(subject: str) -> bytes:
    return b'[1,[["%s","N","editor","active",1,1.0,1.0]]]' % subject.encode()


async def test_of_two_pages_of_a_task_the_later_one_counts_and_what_no_page_stands_behind_is_removed() -> None:
    """Between showing a new page and dropping the old one both are there; after a kill a field outlives its page."""
    fields = {b"a/10": row("new"), b"a/9": row("old"), b"b/1": row("dead"), b"c/1": row("bob"), b"d/2": row("early")}
    answers = Answers(fields, {b"a/9": b"shown", b"a/10": b"shown", b"c/1": b"shown", b"d/2": b"writing"})
    found = await RedisDirectory("task-1", answers).at("document:demo")
    assert ([each.person.subject for each in found.people], found.tasks) == (["bob", "new"], {"a", "c"})
    assert answers.asked[2:] == [(b"HDEL", b"collab:{presence}:at:document:demo", b"b/1")]


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
    directory = RedisDirectory("task-1", Answers({b"task-2/1": written}, {b"task-2/1": b"shown"}))
    found = await directory.at("document:demo")
    assert (found.people, found.tasks) == ((), {"task-2"})
    assert await directory.places_of("ada") == ()


async def test_a_page_with_a_number_that_nobody_counts_to_is_the_oldest() -> None:
    """T21: Python refuses to read a number of so many digits; presence must not be out of order for that."""
    endless = b"a/" + b"9" * 5_000
    answers = Answers({endless: row("forged"), b"a/1": row("ada")}, {endless: b"shown", b"a/1": b"shown"})
    found = await RedisDirectory("task-1", answers).at("document:demo")
    assert [each.person.subject for each in found.people] == ["ada"]
