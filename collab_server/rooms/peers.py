"""A room's exchange with the other tasks that hold the same document: who lacks what, and who is there.

Pub/sub may lose, double and delay envelopes, so a room asks with its state vector whenever something may have been
missed. An answer holds what is lacked and nothing else; many who ask within a moment get one answer together, so a
storm of joins costs each task a few encodes a second. Owned by `room`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping

from collab_server.bus import Bus, Envelope, EnvelopeKind, Heading
from collab_server.firewall import UpdateRefused, check_state_vector
from collab_server.rooms.cursors import Cursors
from collab_server.rooms.publication import Publication
from collab_server.rooms.replica import Replica, ReplicaBroken
from collab_server.rooms.sentinel import Sentinel
from collab_server.wire.lib0 import encode_state_vector

# A greeting is answered, and asked back: whoever missed something in the other direction gets it too. The question
# that comes back is only answered, so that the exchange ends.
ANSWER, ANSWER_AND_ASK_BACK = b"\x00", b"\x01"
GREETING_EVERY_S = 0.5  # a burst of gaps asks once; an answer costs the other side an encode
ANSWER_EVERY_S = 0.1  # those who ask sooner wait for one answer to them all


class Peers:
    """The other tasks, as one room sees them. `newest` is the ticket of the room's newest update."""

    def __init__(
        self,
        heading: Heading,
        replica: Replica,
        cursors: Cursors,
        bus: Bus,
        publication: Publication,
        newest: Callable[[], int],
        sentinel: Sentinel,
    ) -> None:
        self._heading = heading
        self._replica = replica
        self._cursors = cursors
        self._bus = bus
        self._publication = publication
        self._newest = newest
        self._sentinel = sentinel
        self._loop = asyncio.get_running_loop()
        self._greeted_at = self._answered_at = float("-inf")
        self._greeting: asyncio.TimerHandle | None = None
        self._answering: asyncio.TimerHandle | None = None
        self._lacking: dict[int, int] | None = None  # what all who are owed an answer hold
        self._asks_back = False
        self._answered_ticket = 0
        self._is_closed = False

    def tell(self, update: bytes) -> None:
        """Pass on an update of a member once it is durable."""
        if not self._bus.is_alone:
            self._publication.publish(self._newest(), self._heading.over(EnvelopeKind.UPDATE, update))

    def close(self) -> None:
        """The room is no more: it asks and answers nobody."""
        self._is_closed = True
        for handle in (self._greeting, self._answering):
            if handle is not None:
                handle.cancel()

    # Asking

    def greet(self) -> None:
        """Exchange with the other tasks what either side lacks, and who is there.

        At most once in `GREETING_EVERY_S`: later wishes within that time become one more greeting at its end.
        """
        if self._bus.is_alone or self._is_closed:
            return
        now = self._loop.time()
        early_s = self._greeted_at + GREETING_EVERY_S - now
        if early_s <= 0:
            self._greeted_at = now
            self._ask(ANSWER_AND_ASK_BACK)
            self._cursors.publish_all()  # nobody asks back who lacks none of the document
        elif self._greeting is None:
            self._greeting = self._loop.call_later(early_s, self._greet_again)

    def _greet_again(self) -> None:
        self._greeting = None
        self.greet()

    def _ask(self, wish: bytes) -> None:
        self._tell_digest()
        self._bus.publish(self._heading.over(EnvelopeKind.SYNC_REQUEST, wish + self._replica.state_vector()))

    def _tell_digest(self) -> None:
        try:
            self._bus.publish(self._sentinel.of_greeting())
        except ReplicaBroken:  # the question is as good without
            return

    # Answering

    def answer(self, envelope: Envelope) -> None:
        """Give another task what it lacks, at once or with the next answer. Raises `UpdateRefused`, `ReplicaBroken`."""
        if self._is_closed:
            return
        wish, theirs = envelope.body[:1], check_state_vector(envelope.body[1:])
        ours = self._replica.clocks
        same_deletes = self._sentinel.same_deletes(envelope.origin)
        if not same_deletes or self._replica.ahead_of(theirs):
            self._owe(theirs)
        lacks = not same_deletes or any(ours.get(client, 0) < clock for client, clock in theirs.items())
        self._asks_back = self._asks_back or (lacks and wish == ANSWER_AND_ASK_BACK)
        self._cursors.publish_all()
        if self._answering is not None:
            return
        early_s = self._answered_at + ANSWER_EVERY_S - self._loop.time()
        if early_s <= 0:
            self._answer_now()
        else:
            self._answering = self._loop.call_later(early_s, self._answer_later)

    def _owe(self, theirs: Mapping[int, int]) -> None:
        owed = self._lacking
        self._lacking = (
            dict(theirs)
            if owed is None
            else {client: min(clock, owed[client]) for client, clock in theirs.items() if client in owed}
        )

    def _answer_later(self) -> None:
        self._answering = None
        try:
            self._answer_now()
        except (UpdateRefused, ReplicaBroken):  # whoever uses the copy next begins its rebuild, which greets at its end
            return

    def _answer_now(self) -> None:
        self._answered_at = self._loop.time()
        asks_back, self._asks_back = self._asks_back, False
        if self._lacking is not None and self._publication.has_passed(self._answered_ticket):
            lacking, self._lacking, self._answered_ticket = self._lacking, None, self._newest()
            for update in self._replica.diffs(encode_state_vector(lacking)):
                self._publication.publish(self._answered_ticket, self._heading.over(EnvelopeKind.SYNC_REPLY, update))
        elif self._lacking is not None:  # the last one waits for its commit: all who ask meanwhile get the next
            self._answering = self._loop.call_later(ANSWER_EVERY_S, self._answer_later)
        if asks_back:
            self._ask(ANSWER)
