"""Honest people are never refused by the leases, whatever the network and a dying server do to them (T12).

The sessions of `test_convergence`, with the leases between the firewall and the CRDT as in a room. Halfway the server
dies and forgets its last edits and their leases; others, who have seen them, bring them back.
"""

from __future__ import annotations

import os
from functools import partial
from typing import Any
from uuid import uuid4

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from collab_server.firewall import UpdateGap
from collab_server.rooms.leases import Leases, SetAside, Writer
from collab_server.rooms.replica import Replica
from collab_server.telemetry import Metrics
from tests.properties.test_convergence import Person, Session

SESSIONS = int(os.environ.get("COLLAB_TEST_SESSIONS", "10000")) // 5
METRICS = Metrics()
Row = tuple[bytes, str, tuple[int, ...]]


class Seat:
    """What the leases see of a member: whether it has to tell what it has."""

    def __init__(self, writer: Writer) -> None:
        self.writer = writer
        self.awaiting_sync = True

    def may(self, _action: object) -> bool:
        return True

    def ask_for_sync(self) -> None:
        self.awaiting_sync = True


class Shown:
    """Those who show themselves, by client id."""

    def __init__(self) -> None:
        self.seats: dict[int, Seat] = {}

    def shown_by(self, client_id: int) -> Any:
        seat = self.seats.get(client_id)
        return None if seat is None else (seat.writer.subject, seat)

    def shows_any(self, member: object) -> bool:
        return member in self.seats.values()


class NothingFound:
    """Looks into a storage that holds no more than the room."""

    def begin(self) -> int:
        return 1

    def is_over(self, number: int) -> bool:
        return number > 0


class LeasedSession(Session):
    """Everyone is somebody else; half of them show themselves."""

    def __init__(self, seed: int, people: int) -> None:
        super().__init__(seed, people)
        self.rows: list[Row] = []
        self.bold = [person for person in self.people if self.chance.random() < 0.5]
        self.open({})

    def open(self, held: dict[str, list[int]]) -> None:
        self.shown = Shown()
        self.seats: dict[Person, Seat] = {}
        ignore = partial(int, 0)
        self.leases = Leases(uuid4(), METRICS, self.seats.values(), self.shown, NothingFound(), ignore)  # type: ignore[arg-type]
        self.leases.learn(held)

    def sit(self, person: Person) -> None:
        """Come back, and tell the server what it lacks."""
        client_id = person.doc.client_id
        seat = self.seats[person] = Seat(self.leases.writer(f"person {client_id}"))
        if person in self.bold:
            self.shown.seats[client_id] = seat
        self.sync(person)

    def sync(self, person: Person) -> None:
        for _ in range(3):
            seat = self.seats[person]
            seat.awaiting_sync = False
            update = person.doc.get_update(self.server.state_vector())
            try:
                self.take(person, update, is_sync=True)
                return
            except SetAside:
                for other, asked in list(self.seats.items()):
                    if asked.awaiting_sync and other is not person:
                        self.sync(other)
        raise AssertionError("still set aside after its holder has answered")

    def receive(self, sender: Person, update: bytes) -> None:
        if sender not in self.seats:
            self.sit(sender)
        try:
            self.take(sender, update, is_sync=False)
        except (UpdateGap, SetAside):
            self.sync(sender)

    def take(self, sender: Person, update: bytes, *, is_sync: bool) -> None:
        writer = self.seats[sender].writer
        if self.server.apply(update, writer.judge(is_sync)) is not None:
            self.rows.append((update, writer.subject, writer.take_new()))
            self.journal.append(update)
            for person in self.people:
                if person is not sender:
                    person.inbox += [update] * self.chance.choice((0, 1, 1, 2))

    def die(self) -> None:
        """Lose what was not committed. Whoever comes back first brings what it has seen."""
        for person in self.people:
            self.deliver(person)
            person.doc.apply_update(self.server.diff(person.doc.get_state()))  # a socket loses nothing in between
        del self.rows[self.chance.randrange(len(self.rows) + 1) :]
        self.journal = [update for update, _subject, _new in self.rows]
        self.server = Replica.load(None, self.journal)
        held: dict[str, list[int]] = {}
        for _update, subject, new in self.rows:
            held.setdefault(subject, []).extend(new)
        self.open(held)
        for person in self.chance.sample(self.people, self.chance.randrange(len(self.people) + 1)):
            self.sit(person)


@settings(
    max_examples=SESSIONS, deadline=None, database=None, suppress_health_check=[HealthCheck.too_slow], derandomize=True
)
@given(seed=st.integers(0, 2**63 - 1), people=st.integers(2, 4))
def test_nobody_honest_is_refused_and_everyone_converges(seed: int, people: int) -> None:
    session = LeasedSession(seed, people)
    session.run(edits=6)
    session.die()
    session.run(edits=6)
    session.heal()
    session.heal()  # the first may have seated the last of them
    contents = [person.content for person in session.people]
    assert all(content == contents[0] for content in contents)
    for person in session.people:
        holder = session.leases.holder_of(person.doc.client_id)
        assert holder in (None, f"person {person.doc.client_id}"), "a lease went to whoever brought the edit"
