"""What a room sends to one member alone: the answer to its sync request, and the diff after it fell behind.

A diff holds the whole delete set, and so what the member itself deleted a moment ago. A client that takes what comes
back for an acknowledgement (`Acks.echoes`) must not see that before its commit: it gets the structs at once and the
deletes when they are durable. Called by `room`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING

from collab_server.errors import Close, Refused
from collab_server.firewall import UpdateRefused, check_state_vector
from collab_server.rooms.acknowledgements import Acknowledgements
from collab_server.rooms.replica import EMPTY_STATE_VECTOR, Replica, ReplicaBroken
from collab_server.rooms.snapshot import Snapshot
from collab_server.update_reading import cut_deletes
from collab_server.wire.lib0 import encode_state_vector
from collab_server.wire.messages import SyncStep2, Update

if TYPE_CHECKING:
    from collab_server.rooms.member import Lag, Member
    from collab_server.rooms.room import Room

# A client may know clients this room has never heard of (offline work, many sessions), but not without bound: each
# costs time in the loop. 16 bytes is the longest client id with its clock.
LONGEST_CLOCK_BYTES, STRANGERS = 16, 1_000
MANY_CLOCKS = 100_000  # of a big document: to encode them takes the loop 6 ms, and ten more to look through the rest
# To find where the deletes of an update begin takes 2 us a struct: a larger one waits for the commit whole.
CUT_AT_MOST_BYTES = 32 * 1024


class Answers:
    """A room's answers. `newest` is the ticket of the room's newest update."""

    def __init__(self, room: Room, replica: Replica, acknowledgements: Acknowledgements) -> None:
        self._room = room
        self._replica = replica
        self._acknowledgements = acknowledgements

    def synchronise(self, member: Member, state_vector: bytes) -> None:
        """Send `member` what it lacks: in one message, or a big document in many. Raises `Refused`."""
        snapshot = self._replica.snapshot
        if snapshot is None:
            self._send(member, state_vector, SyncStep2)
            return
        self.limit_strangers(state_vector)
        try:
            known = check_state_vector(state_vector)
        except UpdateRefused as error:
            raise Refused(Close.MALFORMED, f"state vector: {error.reason}") from None
        # The pieces may hold what it wrote itself before it came back, which must not look acknowledged.
        if not self._is_durable and self._replica.ahead_of(known) <= MANY_CLOCKS:
            self._send(member, state_vector, SyncStep2)
        elif known and self._is_wary_of(member):
            self._withhold(member, lambda: self.synchronise(member, state_vector))
        else:
            member.send(SyncStep2(self._send_pieces(member, snapshot, known)))

    def diff(self, state_vector: bytes) -> bytes:
        """What a peer at `state_vector` lacks. Raises `Refused` for a state vector that is not one."""
        self.limit_strangers(state_vector)
        try:
            return self._replica.diff(state_vector)
        except UpdateRefused as error:
            raise Refused(Close.MALFORMED, f"state vector: {error.reason}") from None
        except ReplicaBroken:
            self._room.rebuild.begin()
            raise Refused(Close.ROOM_RELOADED) from None

    def catch_up(self, member: Member, lag: Lag) -> None:
        """Send what `member` has missed: as one diff, or from the pieces of a big document, which takes no encoding."""
        snapshot, known = self._replica.snapshot, lag.reached(check_state_vector(lag.state_vector))
        mark = lag.mark if not lag.own or self._is_durable else None
        if snapshot is not None and mark is not None and (news := snapshot.since(mark)) is not None:
            for sent, update in enumerate(news, start=1):
                member.send(Update(update))
                if member.outbox.congested:  # the rest, which may be a whole upload, when it has read this
                    member.lag = replace(lag, mark=(mark[0], mark[1] + sent)) if sent < len(news) else member.lag
                    return
        elif snapshot is None or self._replica.ahead_of(known) <= MANY_CLOCKS:
            self._send(member, encode_state_vector(known), Update)
        elif self._is_wary_of(member):
            self._withhold(member, lambda: self.catch_up(member, lag))
        else:
            member.send(Update(self._send_pieces(member, snapshot, known)))

    def show_own(self, member: Member, client: int) -> None:
        """Send `member` all that its own client `client` wrote, once it is durable.

        Its acknowledgements may have been lost with the connection before this one, and a sync answer holds only what
        the client lacks: one that waits for its updates to come back would wait for ever.
        """
        if 0 < self._replica.clocks.get(client, 0) <= MANY_CLOCKS:
            others = {other: clock for other, clock in self._replica.clocks.items() if other != client}
            update = self.diff(encode_state_vector(others))
            self._when_durable(member, lambda: member.send(Update(update)))

    def limit_strangers(self, state_vector: bytes) -> None:
        """Raises `Refused` for a state vector of far more clients than the room knows."""
        if len(state_vector) > LONGEST_CLOCK_BYTES * (2 * len(self._replica.clocks) + STRANGERS):
            raise Refused(Close.MALFORMED, "state vector: it names far more clients than this document has")

    @property
    def _is_durable(self) -> bool:
        return self._room.ticket <= self._acknowledgements.durable

    def _is_wary_of(self, member: Member) -> bool:
        return member.acks is not None and member.acks.echoes and not self._is_durable

    def _send(self, member: Member, state_vector: bytes, message: type[SyncStep2 | Update]) -> None:
        """Send the diff from `state_vector`; deletes that are not durable yet come later."""
        update = self.diff(state_vector)
        if state_vector == EMPTY_STATE_VECTOR or not self._is_wary_of(member):
            member.send(message(update))
        elif len(update) > CUT_AT_MOST_BYTES:
            self._withhold(member, lambda: member.send(message(update)))
        else:
            structs, deletes = cut_deletes(update)
            member.send(message(structs))
            self._when_durable(member, lambda: member.send(Update(deletes)))

    def _withhold(self, member: Member, act: Callable[[], None]) -> None:
        """Answer when all is durable; what others write meanwhile builds on that answer and waits behind it."""
        if (acks := member.acks) is not None:
            acks.withheld += 1

        def answer() -> None:
            if acks is not None:
                acks.withheld -= 1
            act()

        self._when_durable(member, answer)

    def _when_durable(self, member: Member, act: Callable[[], None]) -> None:
        """Act once all the room holds now is durable, if `member` is still here."""

        def act_if_here() -> None:
            if self._room.rebuild.puts_off_until_over(act_if_here):
                return
            try:
                if self._room.has_seat(member):
                    act()
            except Refused as refusal:
                member.close(refusal)

        self._acknowledgements.when_durable(self._room.ticket, act_if_here)

    def _send_pieces(self, member: Member, snapshot: Snapshot, known: dict[int, int]) -> bytes:
        """Send what one who holds `known` lacks but for the last of it, which is returned."""
        frames, last = snapshot.answer(member.dialect, known)
        for frame in frames:
            member.outbox.send(frame)
        return last
