"""Promise 2: replicas converge over a network that loses, doubles and reorders, and the journal is a set.

Each session is a few people and a server: everyone edits texts, maps and arrays, messages go astray, and in the end a
state-vector exchange heals what is missing. The server's side is the real replica behind the real firewall.
"""

from __future__ import annotations

import os
import random
from itertools import accumulate
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pycrdt import Array, Doc, Map, Text

from collab_server.firewall import UpdateGap
from collab_server.rooms.replica import Replica

SESSIONS = int(os.environ.get("COLLAB_TEST_SESSIONS", "10000"))
WORDS = ("a", "bc", "déf", "😀", "\n", "שלום")


class Person:
    """One client: a document, and the messages on their way to it."""

    def __init__(self, client_id: int) -> None:
        self.doc: Doc[Any] = Doc(client_id=client_id)
        self.text: Text = self.doc.get("content", type=Text)
        self.map: Map[Any] = self.doc.get("map", type=Map)
        self.array: Array[Any] = self.doc.get("array", type=Array)
        self.inbox: list[bytes] = []

    def edit(self, chance: random.Random) -> bytes:
        """One random edit, and the update that carries it."""
        before = self.doc.get_state()
        match chance.randrange(6):
            case 0 | 1:
                self.text.insert(chance.choice(self.boundaries()), chance.choice(WORDS))
            case 2 if len(self.text) > 0:
                start, end = sorted(chance.sample(self.boundaries(), 2))
                del self.text[start:end]
            case 3:
                self.map[chance.choice("xyz")] = chance.randrange(100)
            case 4 if len(self.array) > 0:
                del self.array[chance.randrange(len(self.array))]
            case _:
                self.array.append(chance.randrange(100))
        return self.doc.get_update(before)

    def boundaries(self) -> list[int]:
        """Between which bytes of the text a character ends: pycrdt counts in UTF-8."""
        return [0, *accumulate(len(character.encode()) for character in str(self.text))]

    @property
    def content(self) -> tuple[str, Any, Any]:
        return str(self.text), self.map.to_py(), self.array.to_py()


class Session:
    """People around one server, and a network that cannot be trusted."""

    def __init__(self, seed: int, people: int) -> None:
        self.chance = random.Random(seed)
        self.people = [Person(client_id) for client_id in range(1, people + 1)]
        self.server = Replica()
        self.journal: list[bytes] = []

    def run(self, edits: int) -> None:
        for _ in range(edits):
            person = self.chance.choice(self.people)
            update = person.edit(self.chance)
            for _ in range(self.chance.choice((0, 1, 1, 1, 2))):  # lost, once, twice
                self.receive(person, update)
            if self.chance.random() < 0.5:
                self.deliver(self.chance.choice(self.people))

    def receive(self, sender: Person, update: bytes) -> None:
        """What a room does with an update: a gap asks its sender for everything the room lacks."""
        try:
            summary = self.server.apply(update)
        except UpdateGap:
            update = sender.doc.get_update(self.server.state_vector())
            summary = self.server.apply(update)
        if summary is not None:
            self.journal.append(update)
            for person in self.people:
                if person is not sender:
                    person.inbox += [update] * self.chance.choice((0, 1, 1, 2))

    def deliver(self, person: Person) -> None:
        self.chance.shuffle(person.inbox)
        for update in person.inbox:
            person.doc.apply_update(update)
        person.inbox.clear()

    def heal(self) -> None:
        """What reconnecting does: each side sends what the other lacks; twice, for what came in by the first round."""
        for _ in range(2):
            for person in self.people:
                self.deliver(person)
                self.receive(person, person.doc.get_update(self.server.state_vector()))
                person.doc.apply_update(self.server.diff(person.doc.get_state()))


@settings(
    max_examples=SESSIONS, deadline=None, database=None, suppress_health_check=[HealthCheck.too_slow], derandomize=True
)
@given(seed=st.integers(0, 2**63 - 1), people=st.integers(2, 4))
def test_everyone_holds_the_same_after_loss_doubling_and_reordering(seed: int, people: int) -> None:
    session = Session(seed, people)
    session.run(edits=8)
    session.heal()
    restored = Person(99)
    session.chance.shuffle(session.journal)
    restored.doc.apply_update(Replica.load(None, session.journal).diff(b"\x00"))
    contents = [person.content for person in session.people]
    assert all(content == restored.content for content in contents), "a replica differs from what the journal holds"
