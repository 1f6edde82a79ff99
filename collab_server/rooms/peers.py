"""A room's exchange with the other tasks that hold the same document: who lacks what, and who is there.

Pub/sub may lose, double and delay envelopes, so a room asks with its state vector whenever something may have been
missed. Owned by `room`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from collab_server.bus import Bus, Envelope, EnvelopeKind, Heading
from collab_server.rooms.cursors import Cursors
from collab_server.rooms.publication import Publication
from collab_server.rooms.replica import Replica

# A greeting is answered, and asked back: whoever missed something in the other direction gets it too. The question
# that comes back is only answered, so that the exchange ends.
ANSWER, ANSWER_AND_ASK_BACK = b"\x00", b"\x01"
GREETING_EVERY_S = 0.5  # a burst of gaps asks once; an answer costs the other side an encode


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
    ) -> None:
        self._heading = heading
        self._replica = replica
        self._cursors = cursors
        self._bus = bus
        self._publication = publication
        self._newest = newest
        self._loop = asyncio.get_running_loop()
        self._greeted_at = float("-inf")
        self._greeting: asyncio.TimerHandle | None = None

    def tell(self, update: bytes) -> None:
        """Pass on an update of a member once it is durable."""
        if not self._bus.is_alone:
            self._publication.publish(self._newest(), self._heading.over(EnvelopeKind.UPDATE, update))

    def greet(self) -> None:
        """Exchange with the other tasks what either side lacks, and who is there.

        At most once in `GREETING_EVERY_S`: later wishes within that time become one more greeting at its end.
        """
        now = self._loop.time()
        early_s = self._greeted_at + GREETING_EVERY_S - now
        if early_s <= 0:
            self._greeted_at = now
            self._ask(ANSWER_AND_ASK_BACK)
        elif self._greeting is None:
            self._greeting = self._loop.call_later(early_s, self._greet_again)

    def _greet_again(self) -> None:
        self._greeting = None
        self.greet()

    def _ask(self, wish: bytes) -> None:
        body = wish + self._replica.state_vector()
        self._bus.publish(self._heading.over(EnvelopeKind.SYNC_REQUEST, body))

    def answer(self, envelope: Envelope) -> None:
        """Give another task what it lacks. Raises `UpdateRefused` and `ReplicaBroken`."""
        wish, state_vector = envelope.body[:1], envelope.body[1:]
        for update in self._replica.diffs(state_vector):
            self._publication.publish(self._newest(), self._heading.over(EnvelopeKind.SYNC_REPLY, update))
        self._cursors.publish_all()
        if wish == ANSWER_AND_ASK_BACK:
            self._ask(ANSWER)
