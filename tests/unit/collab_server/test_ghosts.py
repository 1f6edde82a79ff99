"""Cursors of a task that is gone leave the screens of others; those of one that lives after all come back at once."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

from collab_server.bus import Envelope, EnvelopeKind
from collab_server.bus_memory import MemoryNetwork
from collab_server.control import Control
from collab_server.ghosts import ROOMS_A_TURN, Ghosts
from collab_server.neighbours import GONE_AFTER_S, Neighbours
from collab_server.rooms.room import Room
from collab_server.wire.awareness import AwarenessEntry, encode_entries
from collab_server.wire.messages import REMOVED, Awareness
from presence.state import LONGEST_CLOCK_STEP, RENEWED_S
from tests.unit.collab_server.rooms.parts import House, Person, house, until
from tests.unit.collab_server.rooms.test_room import cursor

X, Y = 1001, 1002


class Screen:
    """What a stock client shows of the others, by the clock rule of y-protocols awareness.js; it answers for itself.

    Told that it is gone itself, it says that it is not, with the next clock.
    """

    def __init__(self, person: Person, client_id: int) -> None:
        self.person = person
        self.client_id = client_id
        self.state = b"{}"
        self._known: dict[int, tuple[int, bytes | None]] = {}
        self._read = 0
        self.clock = 0
        person.transport.on_write = lambda: asyncio.get_running_loop().call_soon(self.read)

    def say(self, clock: int | None = None) -> None:
        """Show its own state, with the next clock."""
        self.clock = self.clock + 1 if clock is None else clock
        now = asyncio.get_running_loop().time()
        self.person.send(Awareness((AwarenessEntry(self.client_id, self.clock, self.state),)), now)

    @property
    def shows(self) -> set[int]:
        """The others on its screen."""
        self.read()
        return {client_id for client_id, (_clock, state) in self._known.items() if state is not None}

    def knows(self, *others: Screen) -> bool:
        """Whether it shows exactly these, as they are now that the server has let each announce itself anew."""
        shown = {other.client_id for other in others}
        return self.shows == shown and all(self._known[each.client_id][0] == each.clock > 1 for each in others)

    def read(self) -> None:
        """Take in and answer everything that has come."""
        while self._read < len(messages := self.person.messages):
            message = messages[self._read]
            self._read += 1
            if isinstance(message, Awareness):
                for entry in message.entries:
                    self._hear(entry)

    def _hear(self, entry: AwarenessEntry) -> None:
        if entry.client_id == self.client_id:
            if entry.state == REMOVED and entry.clock >= self.clock:
                self.say(entry.clock + 1)
            return
        clock, state = self._known.get(entry.client_id, (-1, None))
        said = None if entry.state == REMOVED else entry.state
        if entry.clock > clock or (entry.clock == clock and said is None and state is not None):
            self._known[entry.client_id] = entry.clock, said


class Task:
    """One task with one room open, and a clock for its neighbours that the test moves."""

    def __init__(self, at: House, room: Room) -> None:
        self.at = at
        self.room = room
        self.now = 1_000.0
        self.control = Control(at.bus, at.metrics)
        self.neighbours = Neighbours(self.control, at.metrics, speaks=frozenset({1}), clock=lambda: self.now)
        self.ghosts = Ghosts(at.registry.rooms, self.neighbours)

    def join(self, client_id: int, subject: str) -> Screen:
        screen = Screen(self.at.join(self.room, subject=subject), client_id)
        screen.say()
        return screen

    def lose_patience(self) -> None:
        """The others were silent for too long."""
        self.now += GONE_AFTER_S + 0.1
        self.neighbours.look()


@asynccontextmanager
async def cluster(number: int, network: MemoryNetwork | None = None) -> AsyncIterator[tuple[MemoryNetwork, list[Task]]]:
    network = network or MemoryNetwork()
    async with AsyncExitStack() as stack:
        tasks: list[Task] = []
        for _ in range(number):
            at = await stack.enter_async_context(house(network=network, storage=tasks[0].at if tasks else None))
            task = Task(at, await at.room())
            await task.control.start()
            stack.push_async_callback(task.control.close)
            stack.push_async_callback(task.ghosts.close)
            tasks.append(task)
        for task in tasks:
            task.neighbours.say_alive()
        await until(lambda: all(len(task.neighbours.living) == number - 1 for task in tasks))
        yield network, tasks


async def test_cursors_of_a_task_that_fell_silent_leave_the_screens_of_others() -> None:
    async with cluster(3) as (network, (one, two, three)):
        ada, bob, eve = one.join(X, "ada"), two.join(Y, "bob"), three.join(2000, "eve")
        await until(lambda: bob.shows == {X, 2000} and eve.shows == {X, Y})
        network.cut(one.at.bus.task_id)  # killed, or nobody hears it
        three.neighbours.say_alive()
        two.lose_patience()
        three.neighbours.say_alive()
        await until(lambda: bob.shows.isdisjoint({X}))
        await until(lambda: len(two.room.cursors) <= 2)
        assert ada.shows == {Y, 2000}


async def test_a_task_that_leaves_takes_its_cursors_along_at_once() -> None:
    async with cluster(2) as (_network, (one, two)):
        one.join(X, "ada")
        bob = two.join(Y, "bob")
        await until(lambda: bob.shows == {X})
        one.neighbours.say_leaving()
        await until(lambda: bob.shows == set())


async def test_cursors_of_a_task_that_was_only_cut_off_come_back_as_soon_as_it_is_heard() -> None:
    """Their clients have said nothing new meanwhile, and peers take back who was gone from a later clock only."""
    async with cluster(2) as (network, (one, two)):
        ada, bob = one.join(X, "ada"), two.join(Y, "bob")
        await until(lambda: bob.knows(ada) and ada.knows(bob))
        before = ada.clock, bob.clock
        network.cut(two.at.bus.task_id)
        one.lose_patience()
        two.lose_patience()
        await until(lambda: bob.shows == set() and ada.shows == set())
        network.mend(two.at.bus.task_id)  # the registry greets its peers then, as after any outage of the bus
        await until(lambda: bob.shows == {X} and ada.shows == {Y})
        assert (ada.clock, bob.clock) == (before[0] + 1, before[1] + 1)  # each was asked once


async def test_a_client_that_moved_to_another_task_is_not_hidden_by_the_end_of_its_first() -> None:
    async with cluster(3) as (network, (one, two, three)):
        ada = one.join(X, "ada")
        bob = two.join(Y, "bob")
        await until(lambda: bob.knows(ada))
        network.cut(one.at.bus.task_id)
        moved = Screen(three.at.join(three.room, subject="ada"), X)
        moved.say(ada.clock)  # as y-websocket does when it reconnects
        await until(lambda: two.room.cursors.shown_by(X) == ("ada", None))
        two.lose_patience()
        three.lose_patience()
        two.neighbours.say_alive()
        three.neighbours.say_alive()
        await until(lambda: moved.shows == {Y} and bob.shows == {X})


async def test_a_client_that_moved_after_it_was_taken_for_gone_is_seen_at_once() -> None:
    async with cluster(3) as (network, (one, two, three)):
        ada, bob = one.join(X, "ada"), two.join(Y, "bob")
        await until(lambda: bob.knows(ada) and len(three.room.cursors) == 2)
        network.cut(one.at.bus.task_id)
        two.lose_patience()  # three has not noticed yet, and takes the client over from its ghost
        three.neighbours.say_alive()
        await until(lambda: bob.shows == set())
        moved = Screen(three.at.join(three.room, subject="ada"), X)
        moved.say(ada.clock)
        await until(lambda: bob.shows == {X} and moved.shows == {Y})
        assert moved.clock == ada.clock + 1


async def test_what_nobody_renews_goes_although_its_task_was_never_heard() -> None:
    """Said by a task just before it died, or by none at all."""
    async with cluster(1) as (_network, (one,)):
        bob = one.join(Y, "bob")
        body = encode_entries((AwarenessEntry(X, 7, b"{}"),))
        envelope = Envelope(EnvelopeKind.AWARENESS, one.room.document.channel, "task-never-heard", body)
        one.room.receive(envelope)
        assert bob.shows == {X}
        said_at = asyncio.get_running_loop().time()
        one.room.cursors.forget_unrenewed(said_at + RENEWED_S - 1)
        assert bob.shows == {X}
        one.room.cursors.forget_unrenewed(said_at + RENEWED_S + 1)
        assert bob.shows == set()
        assert len(one.room.cursors) == 1


async def test_a_room_with_a_fault_keeps_no_ghost_in_another() -> None:
    async with cluster(1) as (_network, (one,)):
        await one.at.room("other")
        visited: list[object] = []

        def act(cursors: object) -> None:
            visited.append(cursors)
            raise ArithmeticError

        await one.ghosts._in_each_room(act)
        assert len(visited) == 2


async def test_many_rooms_do_not_hold_the_loop_up() -> None:
    async with cluster(1) as (_network, (one,)):
        for number in range(2 * ROOMS_A_TURN):
            await one.at.room(f"room-{number}")
        turns = itertools.count()
        running = asyncio.get_running_loop().create_task(one.ghosts._in_each_room(lambda _cursors: None))
        while not running.done():
            next(turns)
            await asyncio.sleep(0)
        assert next(turns) >= 2


# Clocks from other tasks (T11, T13)


async def test_a_far_clock_of_somebody_elses_id_changes_nothing_on_any_task() -> None:
    async with cluster(3) as (_network, (one, two, three)):
        ada, bob, eve = one.join(X, "ada"), two.join(Y, "bob"), three.join(2000, "eve")
        await until(lambda: bob.knows(ada, eve) and eve.knows(ada, bob) and ada.knows(bob, eve))
        mallory = two.at.join(two.room, subject="mallory")
        for clock in (ada.clock + 1, ada.clock + LONGEST_CLOCK_STEP - 1, 2**53 - 1):
            mallory.send(cursor(X, clock=clock))
            mallory.send(Awareness((AwarenessEntry(X, clock, REMOVED),)))
        ada.state = b'{"cursor":2}'
        ada.say()
        await until(lambda: bob.knows(ada, eve) and eve.knows(ada, bob))


async def test_far_clocks_inside_an_envelope_are_refused() -> None:
    async with cluster(2) as (_network, (one, two)):
        ada, bob = one.join(X, "ada"), two.join(Y, "bob")
        await until(lambda: bob.knows(ada))
        for client_id, clock in ((X, 2**53 - 1), (Y, 2**53 - 1), (Y, 7), (2000, 2**53 - 1)):
            body = encode_entries((AwarenessEntry(client_id, clock, b'{"user":{"id":"mallory"}}'),))
            envelope = Envelope(EnvelopeKind.AWARENESS, two.room.document.channel, one.at.bus.task_id, body)
            two.room.receive(envelope)
        assert bob.shows == {X}
        assert bob._known[X][0] == ada.clock
        assert two.room.cursors.shown_by(Y) == ("bob", bob.person.member)


async def test_a_client_whose_id_was_used_with_a_far_clock_while_it_was_away_is_seen_again() -> None:
    """Peers take nothing below that clock any more: the client is told of it, and goes on from there."""
    async with cluster(2) as (_network, (one, two)):
        bob = two.join(Y, "bob")
        mallory = two.at.join(two.room, subject="mallory")
        far = LONGEST_CLOCK_STEP - 1
        mallory.send(cursor(X, clock=far))
        assert bob.shows == {X}
        two.room.leave(mallory.member)
        assert bob.shows == set()
        await until(lambda: len(one.room.cursors) == 1)
        ada = one.join(X, "ada")  # on the other task
        await until(lambda: bob.shows == {X} and ada.clock > far)
        one.room.leave(ada.person.member)
        await until(lambda: bob.shows == set())
        here = two.join(X, "ada")  # and on this one
        await until(lambda: bob.shows == {X} and here.clock > far + 1)


async def test_the_same_where_no_other_task_could_tell() -> None:
    async with cluster(1) as (_network, (one,)):
        bob = one.join(Y, "bob")
        mallory = one.at.join(one.room, subject="mallory")
        far = LONGEST_CLOCK_STEP - 1
        mallory.send(cursor(X, clock=far))
        one.room.leave(mallory.member)
        ada = one.join(X, "ada")
        await until(lambda: bob.shows == {X} and ada.clock == far + 1)
