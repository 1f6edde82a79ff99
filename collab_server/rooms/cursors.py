"""What the members of a room see of each other: whose cursors are shown, to whom, and with which verified identity.

Between the rules of awareness (`presence.state`), the room's broadcast and the bus. Trusts no name a client gives
itself. Called by `room` for members and for other tasks.
"""

from __future__ import annotations

from collections.abc import Iterable

from collab_server.bus import Bus, Envelope, Heading
from collab_server.errors import Close, Refused
from collab_server.rooms.broadcast import Broadcast
from collab_server.rooms.far_lane import FarLane
from collab_server.rooms.member import Member
from collab_server.telemetry import Metrics
from collab_server.wire.awareness import AwarenessEntry, AwarenessLimits, decode_entries, in_batches
from collab_server.wire.messages import REMOVED, Awareness
from presence.identity_state import stamp, user_of
from presence.state import AwarenessStates

_State = tuple[int, int, bytes | None]


class Cursors:
    """The awareness of one room. `max_ids` bounds the client ids one member may hold."""

    def __init__(
        self,
        heading: Heading,
        broadcast: Broadcast,
        bus: Bus,
        metrics: Metrics,
        *,
        limits: AwarenessLimits,
        max_ids: int,
    ) -> None:
        self._broadcast = broadcast
        self._metrics = metrics
        self._limits = limits
        self._states = AwarenessStates(max_ids=max_ids)
        self.far = FarLane(heading, bus, lambda client_id: isinstance(self._states.owner_of(client_id), Member))

    def __len__(self) -> int:
        """Awareness client ids present."""
        return len(self._states)

    def share(self, member: Member, entries: Iterable[AwarenessEntry], now: float) -> bool:
        """Take the cursors `member` sent, put its verified identity on them, show them, and say if any was news.

        Raises `Refused`.
        """
        user = _user_of(member)
        try:
            states = [
                (entry.client_id, entry.clock, None if entry.state == REMOVED else stamp(entry.state, user=user))
                for entry in entries
            ]
        except (ValueError, TypeError):
            raise Refused(Close.MALFORMED, "an awareness state is a JSON object or null") from None
        largest = self._limits.max_state_bytes
        fitting = [entry for entry in states if entry[2] is None or len(entry[2]) <= largest]
        # Dropped, not closed for: stock clients repeat what they hear, so it may be somebody else's.
        if len(fitting) < len(states):
            self._metrics.awareness_refused["too_large"].inc(len(states) - len(fitting))
        claimed = [entry for entry in fitting if entry[2] is not None and self._states.owner_of(entry[0]) is None]
        told_gone = dict(self._states.told_gone(claimed))
        had_effect = self._show(member, fitting, now)
        self._ask_to_announce_again(
            (member, client_id, told_gone.get(client_id, clock))
            for client_id, clock, _state in claimed
            if self._states.owner_of(client_id) is member
        )
        return had_effect

    def stamp_again(self, member: Member, now: float) -> None:
        """Put the identity of `member`, which has changed, on what it shows.

        In its name, one clock further, or its peers would not look; its client takes that over like any newer state.
        """
        user = _user_of(member)
        said = self._states.said_by(member)
        self._show(member, [(each, clock + 1, stamp(state, user=user)) for each, clock, state in said if state], now)

    def _ask_to_announce_again(self, hidden: Iterable[tuple[Member, int, int]]) -> None:
        """Make clients that came back visible at once: (member, its client id, the clock its peers took it for gone).

        One returns with the clock its peers last saw, so they would ignore it until it renews its state, up to 15 s
        later. A null at that clock makes it answer with the next one (y-protocols awareness.js: nobody else may
        remove a local state).
        """
        for member, client_id, clock in hidden:
            member.send(Awareness((AwarenessEntry(client_id, clock, REMOVED),)))

    def _show(self, owner: Member | str, states: list[_State], now: float) -> bool:
        outcome = self._states.apply(owner, states, now=now)
        for reason in outcome.refused:
            self._metrics.awareness_refused[reason.value].inc()
        if not outcome.accepted:
            return False
        entries = _entries(outcome.accepted)
        self._broadcast.send_states(entries)
        if not isinstance(owner, str):
            self.far.send(entries)
        return True

    def shown_by(self, client_id: int) -> tuple[str, Member | None] | None:
        """The subject that shows this client id as its own now, and its seat if that is here."""
        owner = self._states.owner_of(client_id)
        if isinstance(owner, Member):
            return (owner.identity.subject, owner) if self._states.own_id(owner) == client_id else None
        state = self._states.shown(client_id)
        subject = None if state is None else user_of(state)
        return None if subject is None else (subject, None)

    def shows_any(self, member: Member) -> bool:
        """Whether `member` shows itself."""
        return self._states.own_id(member) is not None

    def state_of(self, member: Member) -> bytes | None:
        """What `member` shows of itself."""
        return self._states.state_of(member)

    def remove(self, member: Member) -> None:
        """Take the cursors of someone who left from everyone's screen."""
        if entries := _nulls(self._states.remove_owner(member)):
            self._broadcast.send_states(entries)
            self.far.send(entries)

    def forget_task(self, task_id: str) -> None:
        """Take the cursors of a task that is gone from the screens of this one; each task does so for itself."""
        if entries := _nulls(self._states.remove_owner(task_id)):
            self._broadcast.send_states(entries)

    def forget_unrenewed(self, now: float) -> None:
        """The same for cursors of other tasks that nobody has renewed for long, whatever became of their task."""
        if entries := _nulls(self._states.remove_unrenewed(now=now)):
            self._broadcast.send_states(entries)

    def send_all(self, member: Member, *, only_if_any: bool = False) -> None:
        """Show `member` everyone who is here."""
        batches = in_batches(_entries(self._states.snapshot()))
        for batch in batches or ([] if only_if_any else [()]):
            member.send(Awareness(batch))

    def show_remote(self, envelope: Envelope, now: float) -> None:
        """Show what another task says of its members. Raises `MalformedMessage`."""
        states = [
            (entry.client_id, entry.clock, None if entry.state == REMOVED else entry.state)
            for entry in decode_entries(envelope.body, self._limits)
        ]
        denied = [(client_id, clock) for client_id, clock, state in states if state is None]
        if hidden := [(who, *gone) for gone in denied if isinstance(who := self._states.denies(*gone), Member)]:
            self._ask_to_announce_again(hidden)
        told_gone = self._states.told_gone(states)
        self._show(envelope.origin, states, now)
        if told_gone:  # they live after all: members here will not take it from this state, only from a later one
            self.far.send(_nulls(told_gone))

    def publish_all(self) -> None:
        """Tell the other tasks of every member of this one."""
        self.far.send(_entries(self._states.snapshot(local_only=True)))


def _nulls(gone: Iterable[tuple[int, int]]) -> tuple[AwarenessEntry, ...]:
    return tuple(AwarenessEntry(client_id, clock, REMOVED) for client_id, clock in gone)


def _user_of(member: Member) -> dict[str, str]:
    return {"id": member.identity.subject, "name": member.identity.name, "role": member.role.value}


def _entries(states: Iterable[_State]) -> tuple[AwarenessEntry, ...]:
    return tuple(AwarenessEntry(client, clock, REMOVED if state is None else state) for client, clock, state in states)
