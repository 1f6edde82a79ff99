"""Who in a room hears what, and when: THE HOT PATH's second half.

Two lanes: updates, and awareness, which never holds an update up. In each, news goes out at once in a small or quiet
room and on a short tick in a busy one (`pace`); what was gathered leaves as one frame, built once for all members of a
dialect. Nobody is sent its own update: clients take that for an acknowledgement. A member whose outbox is congested is
out of the list until it has read what it was owed (`fell_behind`, `caught_up`). Never awaits. Owned by `room`.

A member whose acknowledgement is its own update coming back (`Acks.echoes`) is sent others' updates in a way that never
shows it what it wrote itself and is not durable yet: it takes any deletion of the same text, and any sync answer that
repeats its edit, for an acknowledgement too. While something of its own waits for a commit, those wait with it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Iterator, Mapping
from functools import partial

import structlog
from pycrdt import merge_updates

from collab_server.rooms.acknowledgements import Acknowledgements, Acks
from collab_server.rooms.member import Member
from collab_server.rooms.outbox import Outbox
from collab_server.rooms.pace import SMALL_ROOM, Pace
from collab_server.rooms.replica import is_crdt_failure
from collab_server.telemetry import Metrics
from collab_server.update_reading import NO_UPDATE, cut_deletes, read_update
from collab_server.wire.awareness import AwarenessEntry, in_batches
from collab_server.wire.dialect import Dialect
from collab_server.wire.frame import binary_frame
from collab_server.wire.messages import Awareness, Update

log = structlog.get_logger(__name__)

MERGE_AT_MOST = 64  # updates merged in one go: the cost grows with the square (100: 0.2 ms, 1,000: 5 ms)

GATHER_AT_MOST_BYTES = 256 * 1024  # a hundred pastes in one tick must not become one write of many megabytes

_Waiting = tuple[bytes, Member | None, float]  # since when, on the loop's clock
NOBODY: set[Outbox] = set()


class Broadcast:
    """The members of one room and what is on its way to them."""

    __slots__ = (
        "_acknowledgements",
        "_awareness_due",
        "_awareness_pace",
        "_gathered_bytes",
        "_loop",
        "_members",
        "_metrics",
        "_receivers",
        "_receiving",
        "_states",
        "_update_pace",
        "_updates",
        "_updates_due",
        "_wary",
    )

    def __init__(self, metrics: Metrics, max_delay_s: float, acknowledgements: Acknowledgements) -> None:
        """`max_delay_s` caps what gathering adds to any delivery; 0 switches it off."""
        self._metrics = metrics
        self._acknowledgements = acknowledgements
        self._loop = asyncio.get_running_loop()
        self._members: dict[Member, None] = {}
        # Tuples, made anew when someone comes or goes: they are walked while that happens.
        self._receivers: dict[Dialect, tuple[Outbox, ...]] = {}
        self._wary: tuple[Member, ...] = ()  # those of the receivers who take what comes back for an acknowledgement
        self._receiving = 0
        self._update_pace, self._awareness_pace = Pace(max_delay_s), Pace(max_delay_s)
        self._updates: list[_Waiting] = []
        self._gathered_bytes = 0
        self._states: dict[int, AwarenessEntry] = {}
        self._updates_due: asyncio.TimerHandle | None = None
        self._awareness_due: asyncio.TimerHandle | None = None

    # Who

    def __iter__(self) -> Iterator[Member]:
        """Everyone with a seat, in order of arrival."""
        return iter(tuple(self._members))

    def __len__(self) -> int:
        return len(self._members)

    def __contains__(self, member: Member) -> bool:
        return member in self._members

    def add(self, member: Member) -> None:
        """Someone took a seat."""
        self._members[member] = None
        self._start_sending(member)

    def remove(self, member: Member) -> None:
        """Someone left."""
        del self._members[member]
        self._stop_sending(member)

    @property
    def waiting_updates(self) -> int:
        """Updates that wait for their tick."""
        return len(self._updates)

    def fell_behind(self, member: Member, clocks: Mapping[int, int]) -> dict[int, int] | None:
        """Send `member` nothing more for now.

        Returns how far it has come of the room's `clocks`: all but what others wrote and still waits for its
        tick. None when it was behind already.
        """
        if not self._stop_sending(member):
            return None
        reached = dict(clocks)
        for update, sender, _since in self._updates:
            if sender is member:  # it has that, and must not get it back
                continue
            structs, _deletes = read_update(update)
            for struct in structs:
                reached[struct.client] = min(reached[struct.client], struct.clock)
        return {client: clock for client, clock in reached.items() if clock}  # yrs sends nothing of a client at 0

    def caught_up(self, member: Member) -> None:
        """Send `member` everything again: it has just been given what it missed."""
        if member in self._members:
            self._start_sending(member)

    def _start_sending(self, member: Member) -> None:
        self._receivers[member.dialect] = (*self._receivers.get(member.dialect, ()), member.outbox)
        if member.acks is not None and member.acks.echoes:
            self._wary = (*self._wary, member)
        self._receiving += 1

    def _stop_sending(self, member: Member) -> bool:
        receivers = self._receivers.get(member.dialect, ())
        if member.outbox not in receivers:
            return False
        self._receivers[member.dialect] = tuple(outbox for outbox in receivers if outbox is not member.outbox)
        self._wary = tuple(wary for wary in self._wary if wary is not member)
        self._receiving -= 1
        return True

    # Updates

    def send_update(self, update: bytes, sender: Member | None) -> None:
        """Relay `update` to everyone but its sender, now or with the next tick."""
        if self._updates_due is not None or self._receiving > SMALL_ROOM:
            now = self._loop.time()
            delay_s = self._update_pace.delay_s(now, self._receiving)
            if self._updates_due is not None or delay_s > 0.0:
                self._updates.append((update, sender, now))
                self._gathered_bytes += len(update)
                if self._updates_due is None:
                    self._updates_due = self._loop.call_later(delay_s, self.flush_updates)
                if self._gathered_bytes > GATHER_AT_MOST_BYTES:
                    self.flush_updates()
                return
            self._update_pace.sent(now)
        self._send_now(update, sender)

    def send_at_once(self, update: bytes, sender: Member | None) -> None:
        """Relay a sync answer, which may repeat what others wrote, or a piece of a big update now.

        Gathering would merge what was cut into pieces for being too much.
        """
        self.flush_updates()
        self._send_now(update, sender, may_repeat=True)

    def _send_now(self, update: bytes, sender: Member | None, *, may_repeat: bool = False) -> None:
        began = self._loop.time()
        own = None if sender is None else sender.outbox
        apart = NOBODY
        if self._wary:
            # What another task sends is durable, but may build on what waits.
            apart = (
                self._send_apart([(update, sender)], may_repeat) if sender is not None else self._send_behind(update)
            )
        for dialect, receivers in self._receivers.items():
            frame = binary_frame(dialect.encode_update(update))
            for outbox in receivers:
                if outbox is not own and outbox not in apart:
                    outbox.send(frame)
        self._metrics.edit_to_peer.observe(self._loop.time() - began)

    def flush_updates(self) -> None:
        """Send what has been gathered."""
        if self._updates_due is None:
            return
        self._updates_due.cancel()
        self._updates_due = None
        self._update_pace.sent(self._loop.time())
        waiting, self._updates, self._gathered_bytes = self._updates, [], 0
        self._metrics.coalesced_updates.inc(len(waiting))
        self._metrics.tick_s.observe(self._update_pace.tick_s)
        updates = [update for update, _sender, _since in waiting]
        senders = [None if sender is None else sender.outbox for _update, sender, _since in waiting]
        merged, typing = merge(updates), set(senders)
        apart = self._send_apart([(update, sender) for update, sender, _since in waiting]) if self._wary else NOBODY
        for dialect, receivers in self._receivers.items():
            for_readers = b"".join([binary_frame(dialect.encode_update(update)) for update in merged])
            # Who has itself typed within the tick gets the others' updates in one write, a frame each.
            frames = [binary_frame(dialect.encode_update(update)) for update in updates]
            for outbox in receivers:
                if outbox in apart:
                    continue
                if outbox not in typing:
                    outbox.send(for_readers)
                elif others := [frame for frame, sender in zip(frames, senders, strict=True) if sender is not outbox]:
                    outbox.send(b"".join(others))
        now = self._loop.time()
        for _update, _sender, since in waiting:
            self._metrics.edit_to_peer.observe(now - since)

    def _send_apart(self, news: list[tuple[bytes, Member | None]], may_repeat: bool = False) -> set[Outbox]:
        """Send `news` to the wary members with something of their own that is not durable yet; return their outboxes.

        They get what others typed at once, and what could be taken for an acknowledgement after their own commit. What
        comes behind a sync answer that waits may build on it, so it waits too: a client that is cut off in between
        would hold something nobody can complete.
        """
        durable = self._acknowledgements.durable
        anxious = [
            (member, member.acks)
            for member in self._wary
            if member.acks and (member.acks.ticket > durable or member.acks.withheld)
        ]
        if not anxious:
            return NOBODY
        cut = [(sender, *cut_deletes(update)) for update, sender in news] if not may_repeat else []
        late = [(sender, update) for sender, _now, update in cut if update != NO_UPDATE]
        frames: dict[Dialect, list[tuple[Member | None, bytes]]] = {}
        for member, acks in anxious:
            if may_repeat or acks.withheld:
                self._withhold([update for update, sender in news if sender is not member], member, acks)
                continue
            dialect = member.dialect
            if dialect not in frames:
                frames[dialect] = [
                    (sender, binary_frame(dialect.encode_update(now))) for sender, now, _late in cut if now != NO_UPDATE
                ]
            if others := [frame for sender, frame in frames[dialect] if sender is not member]:
                member.outbox.send(b"".join(others))
            for sender, update in late:
                if sender is not member:
                    self._acknowledgements.when_durable(acks.ticket, partial(self._send_late, member, update))
        return {member.outbox for member, _acks in anxious}

    def _send_behind(self, update: bytes) -> set[Outbox]:
        """Send `update` to the wary members for whom something waits, behind that; return their outboxes."""
        waiting = [(member, member.acks) for member in self._wary if member.acks and member.acks.withheld]
        for member, acks in waiting:
            self._withhold([update], member, acks)
        return {member.outbox for member, _acks in waiting}

    def _withhold(self, updates: list[bytes], member: Member, acks: Acks) -> None:
        def send(update: bytes) -> None:
            acks.withheld -= 1
            self._send_late(member, update)

        acks.withheld += len(updates)
        for update in updates:
            self._acknowledgements.when_durable(acks.ticket, partial(send, update))

    def _send_late(self, member: Member, update: bytes) -> None:
        if member in self._members:
            member.send(Update(update))

    # Awareness

    def send_states(self, entries: Iterable[AwarenessEntry]) -> None:
        """Show `entries` to everyone, their sender included, now or with the next tick: of each client the last one.

        The sender gets its own back: stock clients leave when they hear nothing for 30 s.
        """
        if self._awareness_due is not None or self._receiving > SMALL_ROOM:
            now = self._loop.time()
            delay_s = self._awareness_pace.delay_s(now, self._receiving)
            if self._awareness_due is not None or delay_s > 0.0:
                self._states.update((entry.client_id, entry) for entry in entries)
                if self._awareness_due is None:
                    self._awareness_due = self._loop.call_later(delay_s, self.flush_states)
                return
            self._awareness_pace.sent(now)
        self._send_entries(tuple(entries))

    def flush_states(self) -> None:
        """Send the awareness that has been gathered."""
        if self._awareness_due is None:
            return
        self._awareness_due.cancel()
        self._awareness_due = None
        self._awareness_pace.sent(self._loop.time())
        states, self._states = self._states, {}
        self._send_entries(tuple(states.values()))

    def _send_entries(self, entries: tuple[AwarenessEntry, ...]) -> None:
        for batch in in_batches(entries):
            message = Awareness(batch)
            for dialect, receivers in self._receivers.items():
                frame = binary_frame(dialect.encode(message))
                for outbox in receivers:
                    outbox.send(frame)

    def flush(self) -> None:
        """Send all that has been gathered; nothing stays due."""
        self.flush_updates()
        self.flush_states()


def merge(updates: list[bytes]) -> list[bytes]:
    """`updates`, all of them integrated in this order, as few updates that bring the same."""
    try:
        return [
            merge_updates(*updates[start : start + MERGE_AT_MOST]) for start in range(0, len(updates), MERGE_AT_MOST)
        ]
    except BaseException as error:
        if not is_crdt_failure(error):
            raise
        # What clients sent is as good, only more of it.
        log.warning("merge_failed", exc_info=error)
        return updates
