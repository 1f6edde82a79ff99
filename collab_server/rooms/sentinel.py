"""Notices that this task's copy of a document and another's have come apart, though nobody misses anything.

A lost envelope shows as a gap only when its client writes again, and a lost deletion never does. So what changed is
followed, some seconds later, by a digest of the copy for the tasks that hold the room. Who finds its own copy different
looks again a moment later, for an update may be under way; what still differs is healed by the exchange of `peers`. As
digests get lost too, they are repeated until every task that was heard of lately has shown that it agrees. Equal copies
exchange nothing else. Must never ask a broken copy. Owned by `room`.
"""

from __future__ import annotations

import asyncio
import random
from dataclasses import dataclass
from typing import TYPE_CHECKING

import structlog

from collab_server.bus import Bus, Envelope, EnvelopeKind, Heading
from collab_server.rooms.digest import Difference, Digest
from collab_server.rooms.fingerprint import UNKNOWN, Fingerprints
from collab_server.rooms.publication import Publication
from collab_server.rooms.replica import Replica, ReplicaBroken

if TYPE_CHECKING:
    from collab_server.rooms.room import Room

log = structlog.get_logger(__name__)

LOOK_AGAIN_S = 1.0
"""An update that is under way arrives within."""
ANSWER_WITHIN_S = 0.3
FORGET_AFTER_S = 60.0
"""Silence after which another task no longer counts as holding the room."""
ASK_UNHEARD = 3
"""Digests after a change while nobody else was heard of: perhaps nobody is there, perhaps two were lost."""
IN_A_ROW, IN_A_ROW_UNTOLD = 2, 4
"""Digests that must differ in a room that changes all the time: where clocks were told, and where only their hash."""
MOST_MET = 100
MOST_ATTEMPTS, RETRY_STUCK_S = 10, 60.0


@dataclass(frozen=True, slots=True)
class Comparison:
    """The last one: `at` on the loop's clock, and how long what differed took to heal (None: nothing did)."""

    at: float
    task_id: str
    equal: bool
    healed_s: float | None = None


@dataclass(slots=True)
class _Peer:
    """Another task that holds the room. Versions are `Room.updates`, which grows with every change of the copy."""

    heard_at: float
    agreed_at: int = -1  # our version when both were the same
    told: Digest | None = None  # the newest digest that differed
    told_at: int = -1  # our version then
    apart_since: float | None = None
    looks: int = 0  # digests in a row that differed though not behind
    attempts: int = 0
    looking: asyncio.TimerHandle | None = None
    greeting: Digest | None = None  # that came with the last greeting

    def look_no_more(self) -> None:
        if self.looking is not None:
            self.looking.cancel()


class Sentinel:
    """One room's; `every_s` is the time from a change to its digest."""

    def __init__(
        self, room: Room, replica: Replica, heading: Heading, bus: Bus, publication: Publication, every_s: float
    ) -> None:
        self.last: Comparison | None = None
        self._room = room
        self._replica = replica
        self._heading = heading
        self._bus = bus
        self._publication = publication
        self._every_s = every_s
        self._prints = Fingerprints(replica)
        self._peers: dict[str, _Peer] = {}
        self._met: dict[str, None] = {}  # whoever held the room since it was opened
        self._loop = asyncio.get_running_loop()
        self._due: asyncio.TimerHandle | None = None
        self._is_closed = False
        self._told_at = -1
        self._told_ticket = 0
        self._is_asked = False
        self._unheard = 0

    # Telling

    def changed(self) -> None:
        """The copy has changed: a digest is due in a while."""
        if self._due is None and not self._bus.is_alone:
            self._tell_later()

    def close(self) -> None:
        """The room is no more: what it may still hear has no effect."""
        self._is_closed = True
        for peer in self._peers.values():
            peer.look_no_more()
        if self._due is not None:
            self._due.cancel()

    def has_met(self, task_id: str) -> bool:
        """Whether that task has ever told of a copy of its own."""
        return task_id in self._met

    def _tell_later(self) -> None:
        self._tell_in(self._every_s * random.uniform(0.8, 1.2))  # noqa: S311 - rooms and tasks must not fall into step

    def _tell_in(self, delay_s: float) -> None:
        if self._is_closed:
            return
        if self._due is not None:
            self._due.cancel()
        self._due = self._loop.call_later(delay_s, self._tell)

    def _tell(self) -> None:
        self._due = None
        room = self._room
        if room.is_lost or self._bus.is_alone:
            return
        # One that waits for its commit is enough: when the journal is away there would be thousands.
        if room.rebuild.is_under_way or not self._publication.has_passed(self._told_ticket):
            self._tell_later()
            return
        self._forget_silent()
        if is_news := room.updates != self._told_at:
            self._told_at, self._unheard = room.updates, 0
        self._unheard += 1
        asks = any(peer.agreed_at != room.updates for peer in self._peers.values())
        asks = asks or (not self._peers and self._unheard <= ASK_UNHEARD)
        if not (is_news or asks or self._is_asked):
            return
        self._is_asked = False
        try:
            body = Digest.of(self._prints.at(room.updates), self._replica.clocks, asks=asks).encode()
        except ReplicaBroken:
            room.rebuild.begin()
            return
        # Behind what it speaks of, which is told once it is durable.
        self._told_ticket = room.ticket
        self._publication.publish(room.ticket, self._heading.over(EnvelopeKind.DIGEST, body))
        if asks:
            self._tell_later()

    def _forget_silent(self) -> None:
        now = self._loop.time()
        for task_id, peer in list(self._peers.items()):
            if now - peer.heard_at > FORGET_AFTER_S:
                peer.look_no_more()
                del self._peers[task_id]

    # Greetings

    def of_greeting(self) -> Envelope:
        """The digest that goes before a greeting, and tells those who answer what need not be sent."""
        digest = Digest(self._prints.at(self._room.updates), None, greets=True)
        return self._heading.over(EnvelopeKind.DIGEST, digest.encode())

    def same_deletes(self, task_id: str) -> bool:
        """Whether the task that greets has deleted just what this one has, as far as it told."""
        peer = self._peers.get(task_id)
        if peer is None or peer.greeting is None:
            return False
        theirs, peer.greeting = peer.greeting.fingerprint.deletes, None
        return theirs != UNKNOWN and theirs == self._prints.at(self._room.updates).deletes

    # Hearing

    def hear(self, envelope: Envelope) -> None:
        """Another task tells its digest. Raises `MalformedMessage`, `UpdateRefused` and `ReplicaBroken`."""
        digest = Digest.decode(envelope.body)
        if digest is None or self._is_closed:
            return
        task_id, now = envelope.origin, self._loop.time()
        peer = self._peers.setdefault(task_id, _Peer(now))
        peer.heard_at = now
        if len(self._met) < MOST_MET:
            self._met[task_id] = None
        if digest.greets:
            peer.greeting = digest
            self._is_asked = True  # after each greeting copies are compared
            self.changed()
            return
        difference = self._beside(digest)
        if difference is None:
            return
        if not difference.part:
            self._agreed(task_id, peer)
            if digest.asks:
                self._is_asked = True
                self._tell_in(random.uniform(0.0, ANSWER_WITHIN_S))  # noqa: S311
            return
        # Of one that is merely behind nothing is to be thought: it finds out itself what it lacks.
        if difference.part == "deletes" or digest.clocks is None:
            peer.looks += 1
        peer.told, peer.told_at = digest, self._room.updates
        if peer.looking is None:
            delay_s = LOOK_AGAIN_S if peer.attempts < MOST_ATTEMPTS else RETRY_STUCK_S
            peer.looking = self._loop.call_later(delay_s, self._look_again, task_id, peer)

    def _beside(self, digest: Digest) -> Difference | None:
        return digest.beside(self._prints.at(self._room.updates), self._replica.clocks)

    def _agreed(self, task_id: str, peer: _Peer) -> None:
        now, healed_s = self._loop.time(), None
        if peer.attempts and peer.apart_since is not None:
            healed_s = round(now - peer.apart_since, 3)
            self._room.metrics.divergences["healed"].inc()
            log.info("divergence_healed", document_id=str(self._room.document.id), task=task_id, healed_s=healed_s)
        peer.agreed_at, peer.told, peer.apart_since, peer.looks, peer.attempts = self._room.updates, None, None, 0, 0
        self.last = Comparison(now, task_id, equal=True, healed_s=healed_s)

    def _look_again(self, task_id: str, peer: _Peer) -> None:
        """Heal what still differs: for certain, or nothing has changed here meanwhile, or too often in a row."""
        peer.looking = None
        room, told = self._room, peer.told
        if told is None or room.is_lost or room.rebuild.is_under_way:
            return
        try:
            difference = self._beside(told)
        except ReplicaBroken:
            room.rebuild.begin()
            return
        if difference is None:
            return
        if not difference.part:
            self._agreed(task_id, peer)
            return
        now = self._loop.time()
        self.last = Comparison(now, task_id, equal=False)
        in_a_row = IN_A_ROW if told.clocks is not None else IN_A_ROW_UNTOLD
        if difference.lacks or peer.told_at == room.updates or peer.looks >= in_a_row:
            self._heal(task_id, peer, difference.part, now)

    def _heal(self, task_id: str, peer: _Peer, part: str, now: float) -> None:
        if peer.apart_since is None:
            peer.apart_since = now - LOOK_AGAIN_S
            self._room.metrics.divergences["found"].inc()
            log.warning("divergence_found", document_id=str(self._room.document.id), task=task_id, part=part)
        peer.attempts += 1
        if peer.attempts == MOST_ATTEMPTS:
            self._room.metrics.divergences["stuck"].inc()
            log.error("divergence_stuck", document_id=str(self._room.document.id), task=task_id, part=part)
        self._room.greet_peers()
        self._is_asked = True
        self._tell_in(LOOK_AGAIN_S)
