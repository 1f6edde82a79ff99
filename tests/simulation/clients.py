"""Scripted people: each writes tokens nobody else writes, erases some, leaves and comes back.

A token is `<client>.<number>;`, inserted whole between two others. Because a client's clock grows with each, whoever
holds its clock up to some point holds its tokens up to there. A client keeps its document while it is away, as a tab
does, and on coming back offers what the server lacks, as stock clients do.
"""

from __future__ import annotations

import asyncio
import random
from bisect import bisect_right
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pycrdt import Doc, Text, TransactionEvent

from collab_server.rooms.acknowledgements import Acknowledge
from collab_server.update_reading import read_update
from collab_server.wire import yjs
from collab_server.wire.awareness import AwarenessLimits
from collab_server.wire.messages import Durable, SyncStep1, SyncStep2, Update
from persistence.state_vectors import decode

if TYPE_CHECKING:
    from tests.simulation.task import Connection, ServerTask
    from tests.simulation.world import World

LIMITS = AwarenessLimits()
OPENED, CLOSED = b"opened", b"closed"  # what the wire brings first and last


@dataclass(frozen=True, slots=True)
class Sent:
    """What an update or sync answer on its way carries: so many of the sender's tokens, and what it has erased."""

    tokens: int
    erased: tuple[str, ...]


class Client:
    """One person's tab."""

    def __init__(self, world: World, number: int, chance: random.Random) -> None:
        self.number = number
        self.id = 100 + number
        self.doc: Doc[Any] = Doc(client_id=self.id)
        self.text: Text = self.doc.get("content", type=Text)
        self.wrote: list[tuple[str, str | None]] = []  # tokens in order, and which one each replaced
        self.connection: Connection | None = None
        self.synced = False
        self.acknowledge = chance.choice(tuple(Acknowledge))
        self.dials = 0
        self._is_open = False
        self._erased: list[str] = []
        self._sent: list[Sent] = []  # on this connection, in order
        self._echoes: dict[bytes, Sent] = {}  # of updates on this connection
        self._ends: list[int] = []  # its clock behind each token
        self._world = world
        self._chance = chance
        self._updates: list[bytes] = []

    def tokens_until(self, clock: int) -> int:
        """How many of its tokens one holds who holds this client up to `clock`."""
        return bisect_right(self._ends, clock)

    async def live(self) -> None:
        """Write and wander until the world is over."""
        world, chance = self._world, self._chance
        while True:
            await asyncio.sleep(chance.random() * world.plan.pause_s)
            what = chance.random()
            if world.is_healing or world.is_settling:
                self._come_back()
                if not world.is_healing and self.synced:
                    self.write()
            elif self.connection is None:
                if what < 0.7:
                    self.dial(chance.choice(world.tasks))
                elif what < 0.9:
                    self.write()
            elif what < 0.05:
                self.hang_up()
            elif what < 0.9:
                self.write()
            else:
                self.erase()

    def _come_back(self) -> None:
        if self.connection is None:
            self.dials += 1  # one that cannot be reached is no reason to stay away
            self.dial(self._world.tasks[(self.number + self.dials) % len(self._world.tasks)])
        elif not self.connection.is_open_for(self):
            self.hang_up()

    def dial(self, task: ServerTask) -> None:
        """Begin to connect."""
        self._world.note("client %d dials %s", self.number, task.name)
        self.synced = self._is_open = False
        self._sent, self._echoes = [], {}
        self.connection = task.connect(self)

    def hang_up(self) -> None:
        """Close the tab's connection."""
        if self.connection is not None:
            self._world.note("client %d hangs up", self.number)
            connection, self.connection = self.connection, None
            connection.hang_up()

    # Writing

    def write(self) -> None:
        """A token at some place, sometimes instead of another one."""
        chance = self._chance
        held = str(self.text)
        tokens = [token + ";" for token in held.split(";")[:-1]]
        at = chance.randrange(len(tokens) + 1)
        token = f"{self.number}.{len(self.wrote)};"
        position = sum(map(len, tokens[:at]))
        replaced = tokens[at] if at < len(tokens) and chance.random() < 0.25 else None
        subscription = self.doc.observe(self._observed)
        with self.doc.transaction():
            if replaced is not None:
                del self.text[position : position + len(replaced)]
                self._erase(replaced)
            self.text.insert(position, token)
            self.edit_besides(token, chance)
        self.doc.unobserve(subscription)
        self.wrote.append((token, replaced))
        self._ends.append(decode(self.doc.get_state())[self.id])
        self._world.note("client %d writes %s instead of %s", self.number, token, replaced)
        self._send_updates()

    def edit_besides(self, token: str, chance: random.Random) -> None:
        """What else the edit changes that brings `token`, in one transaction with it: nothing here."""

    def erase(self) -> None:
        """Some token, whoever wrote it."""
        tokens = [token + ";" for token in str(self.text).split(";")[:-1]]
        if not tokens:
            return
        at = self._chance.randrange(len(tokens))
        position = sum(map(len, tokens[:at]))
        self._erase(tokens[at])
        self._world.note("client %d erases %s", self.number, tokens[at])
        subscription = self.doc.observe(self._observed)
        del self.text[position : position + len(tokens[at])]
        self.doc.unobserve(subscription)
        self._send_updates()

    def _erase(self, token: str) -> None:
        self._erased.append(token)
        self._world.erased.add(token)

    def _observed(self, event: TransactionEvent) -> None:
        self._updates.append(event.update)

    def _send_updates(self) -> None:
        updates, self._updates = self._updates, []
        if self.connection is not None and self._is_open:
            for update in updates:
                sent = Sent(len(self.wrote), tuple(self._erased[-1:]))
                self._sent.append(sent)
                self._echoes[update] = sent
                self.connection.up.send(yjs.encode(Update(update)))

    # Hearing

    def receive(self, connection: Connection, payload: bytes) -> None:
        """One message of the server, or the beginning or end of the connection."""
        if connection is not self.connection:
            return
        if payload == CLOSED:
            self._world.note("client %d is cut off", self.number)
            self.connection = None
        elif payload == OPENED:
            self._is_open = True
            connection.up.send(yjs.encode(SyncStep1(self.doc.get_state())))
        else:
            self._hear(connection, payload)

    def _hear(self, connection: Connection, payload: bytes) -> None:
        match yjs.decode(payload, LIMITS):
            case SyncStep1(state_vector):
                self._sent.append(Sent(len(self.wrote), tuple(self._erased)))
                connection.up.send(yjs.encode(SyncStep2(self.doc.get_update(state_vector))))
            case SyncStep2(update):
                self.doc.apply_update(update)
                self.synced = True
            case Update(update):
                self._take_for_acknowledgement(update)
                self.doc.apply_update(update)
            case Durable(messages):
                for sent in self._sent[:messages]:
                    self._world.checker.promise(self, sent.tokens, sent.erased)
            case _:
                pass

    def _take_for_acknowledgement(self, update: bytes) -> None:
        """What of its own comes back is stored: its structs, or the bytes that erased something."""
        if self.acknowledge is Acknowledge.ECHO:
            own = [struct.clock + struct.length for struct in read_update(update)[0] if struct.client == self.id]
            self._world.checker.promise(self, self.tokens_until(max(own, default=0)))
            if update in self._echoes:
                self._world.checker.promise(self, 0, self._echoes[update].erased)
