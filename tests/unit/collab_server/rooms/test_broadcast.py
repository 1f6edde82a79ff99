"""A busy room: several updates in one frame, nobody's own among them, cursors last writer wins, nothing lost."""

from __future__ import annotations

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from pycrdt import Doc, Text

from collab_server.rooms.broadcast import merge
from collab_server.wire.awareness import AwarenessEntry
from collab_server.wire.messages import Awareness, Update
from tests.unit.collab_server.rooms.parts import House, Person, house, until


class Typist:
    """A client with a document of its own that types and takes in what it is sent."""

    def __init__(self, person: Person, client_id: int) -> None:
        self.person = person
        self.doc: Doc[Any] = Doc(client_id=client_id)
        self.text = self.doc.get("content", type=Text)
        self.heard: list[bytes] = []

    def type(self, word: str) -> bytes:
        before = self.doc.get_state()
        self.text.insert(len(self.text), word)
        update: bytes = self.doc.get_update(before)
        self.person.send(Update(update))
        return update

    def listen(self) -> None:
        """Take in everything sent so far."""
        for message in self.person.messages:
            if isinstance(message, Update):
                self.heard.append(message.update)
                self.doc.apply_update(message.update)


async def crowd(here: House, size: int = 12) -> list[Typist]:
    room = await here.room()
    return [Typist(here.join(room), 1_000 + number) for number in range(size)]


async def test_a_busy_room_gathers_updates_and_everyone_has_all_of_them() -> None:
    async with house() as here:
        typists = await crowd(here)
        for turn in range(40):
            for typist in typists:
                typist.type(f"{turn}-{typist.doc.client_id} ")
        await until(lambda: here.metrics.coalesced_updates.count > 300)
        for typist in typists:
            typist.listen()
        words = {f"{turn}-{typist.doc.client_id}" for turn in range(40) for typist in typists}
        assert all(set(str(typist.text).split()) == words for typist in typists)
        assert len({str(typist.text) for typist in typists}) == 1


async def test_who_only_reads_gets_one_frame_for_many_updates() -> None:
    async with house() as here:
        *typists, reader = await crowd(here)
        for turn in range(40):
            for typist in typists:
                typist.type(f"{turn} ")
        await until(lambda: here.metrics.coalesced_updates.count > 300)
        reader.listen()
        assert len(reader.heard) < 40 * len(typists) / 2


async def test_nobody_is_sent_its_own_update_which_would_look_like_an_acknowledgement() -> None:
    async with house() as here:
        typists = await crowd(here)
        own: dict[int, list[bytes]] = {}
        for turn in range(40):
            for typist in typists:
                own.setdefault(typist.doc.client_id, []).append(typist.type(f"{turn} "))
        await until(lambda: here.metrics.coalesced_updates.count > 300)
        for typist in typists:
            stranger: Doc[Any] = Doc()
            typist.listen()
            for update in typist.heard:
                stranger.apply_update(update)
            assert typist.heard
            assert typist.doc.client_id not in clients_of(stranger)


def clients_of(doc: Doc[Any]) -> set[int]:
    from collab_server.firewall import check_state_vector

    return set(check_state_vector(doc.get_state()))


async def test_two_people_never_wait_for_a_tick() -> None:
    async with house() as here:
        ada, bob = await crowd(here, 2)
        for turn in range(500):
            ada.type(f"{turn} ")
            assert len(bob.person.transport.frames) >= turn
        bob.listen()
        assert len(bob.heard) == 500
        assert here.metrics.coalesced_updates.count == 0


async def test_of_many_moves_of_one_cursor_a_busy_room_shows_the_last() -> None:
    async with house() as here:
        typists = await crowd(here, 40)
        for clock in range(1, 60):
            for number, typist in enumerate(typists):
                state = b'{"at": %d}' % clock
                typist.person.send(Awareness((AwarenessEntry(number, clock, state),)))
        reader = typists[0].person
        before = 59 * len(typists)

        def shown() -> dict[int, int]:
            entries = [entry for each in reader.messages if isinstance(each, Awareness) for entry in each.entries]
            return {entry.client_id: entry.clock for entry in entries}

        await until(lambda: set(shown().values()) == {59})
        assert len(shown()) == len(typists)
        assert len(reader.transport.frames) < before / 4


async def test_what_was_gathered_is_sent_before_a_room_closes() -> None:
    async with house() as here:
        *typists, reader = await crowd(here)
        for turn in range(20):
            for typist in typists:
                typist.type(f"{turn}-{typist.doc.client_id} ")
        reader.person.member.room.reload()
        reader.listen()
        assert len(str(reader.text).split()) == 20 * len(typists)


@given(
    edits=st.lists(
        st.tuples(st.integers(0, 3), st.integers(0, 40), st.text("ab", min_size=0, max_size=4)), max_size=150
    )
)
@settings(max_examples=60, deadline=None)
def test_merged_updates_bring_what_they_brought_one_by_one(edits: list[tuple[int, int, str]]) -> None:
    docs = [Doc[Any](client_id=number + 1) for number in range(4)]
    texts = [doc.get("content", type=Text) for doc in docs]
    updates: list[bytes] = []
    for who, at, word in edits:
        doc, text = docs[who], texts[who]
        before = doc.get_state()
        if word:
            text.insert(min(at, len(text)), word)
        elif len(text):
            del text[0:1]
        update = doc.get_update(before)
        updates.append(update)
        for other in docs:
            if other is not doc:
                other.apply_update(update)
    merged: Doc[Any] = Doc()
    for update in merge(updates):
        merged.apply_update(update)
    assert str(merged.get("content", type=Text)) == str(texts[0])
    assert merged.get_update() == docs[0].get_update()
