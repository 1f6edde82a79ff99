"""One connection's seat in a room: what it may do, and the one place where a message meets the permission matrix.

Decides nothing about content and knows no bytes: its dialect turns frames into messages, its room acts on them. Which
message needs which right is the table below; what is not in the table is refused. Called by `connection`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from auth.identity import Identity
from auth.permissions import MATRIX, Action, Role, permits
from collab_server.crash_note import author_of
from collab_server.errors import Close, Refused
from collab_server.limits import TokenBucket
from collab_server.rooms.outbox import Outbox
from collab_server.wire.dialect import Dialect
from collab_server.wire.frame import binary_frame
from collab_server.wire.messages import (
    REMOVED,
    Awareness,
    MalformedMessage,
    Message,
    PermissionDenied,
    QueryAwareness,
    Renew,
    SyncStep1,
    SyncStep2,
    Update,
)
from presence.roster import Person

if TYPE_CHECKING:
    from collab_server.rooms.acknowledgements import Acks
    from collab_server.rooms.room import Room


@dataclass(frozen=True, slots=True)
class Lag:
    """How far a member had come when it fell behind: the state it has or is being sent, and the room's update count.

    `mark` is the place in the snapshot of a big document from which on it lacks everything, where that is known. `own`
    are what it has written since, of each client from one clock to another: it must not get that back.
    """

    state_vector: bytes
    updates: int
    mark: tuple[int, int] | None = None
    own: dict[int, tuple[int, int]] = field(default_factory=dict)

    def wrote(self, before: Mapping[int, int], ends: Iterable[tuple[int, int]]) -> None:
        """The member itself has taken the room from the clocks `before` to `ends`."""
        for client, end in ends:
            start = before.get(client, 0)
            if end > start:
                first, last = self.own.get(client, (start, start))
                if last == start:  # else somebody else wrote in between: from there on it gets all
                    self.own[client] = first, end

    def reached(self, known: Mapping[int, int]) -> dict[int, int]:
        """The clocks `known`, moved past what the member wrote right behind them."""
        own = {client: end for client, (start, end) in self.own.items() if known.get(client, 0) == start}
        return {**known, **own}


ASK_AGAIN_AFTER_S = 2.0  # a journal that is full stays so for a while, and every answer holds the whole delete set
READ_ONLY = "you may read this document but not edit it"
FROZEN = "an operator has frozen this document: you may read it but not edit it now"
_NOTHING: frozenset[Action] = frozenset()
_FROZEN_ACTIONS = frozenset({Action.WRITE_DOCUMENT})


class Member:
    """A seat: `identity` with `role` in `room`, reached through `outbox`.

    `awaiting_sync` is true from asking the client for what the room lacks until it has answered: edits that build on
    what is still under way are set aside meanwhile, because the answer carries them too.
    """

    __slots__ = (
        "_allowed",
        "_asking",
        "_close",
        "_cursors",
        "_denied",
        "_held",
        "_holds",
        "_pause_reading",
        "_renew",
        "_role",
        "_syncs",
        "acks",
        "address",
        "author",
        "awaiting_sync",
        "dialect",
        "edited_at",
        "ends_at",
        "expelled",
        "identity",
        "lag",
        "outbox",
        "received_bytes",
        "received_messages",
        "room",
        "since",
        "writer",
    )

    def __init__(
        self,
        room: Room,
        identity: Identity,
        role: Role,
        *,
        dialect: Dialect,
        outbox: Outbox,
        close: Callable[[Refused], None],
        pause_reading: Callable[[bool], object],
        address: str,
        syncs: TokenBucket,
        ends_at: float | None = None,
        acks: Acks | None = None,
        renew: Callable[[str], None] | None = None,
        now: float,
    ) -> None:
        self.room = room
        self.writer = room.leases.writer(identity.subject)
        self.identity = identity
        self.author = author_of(room.document.id, identity.subject)
        self.role = role
        self.dialect = dialect
        self.outbox = outbox
        self._close = close
        self.expelled = False
        self.address = address
        self.since = now
        self.edited_at = now
        self.ends_at = ends_at
        self.received_bytes = 0
        self.received_messages = 0
        self.awaiting_sync = False
        self.acks = acks
        self.lag: Lag | None = None
        self._syncs = syncs
        self._denied = False
        self._asking: asyncio.TimerHandle | None = None
        self._cursors: TokenBucket | None = None
        self._renew = renew
        self._pause_reading = pause_reading
        self._held: list[bytes] | None = None  # messages that wait for a big update before them, or for a rebuild
        self._holds = 0

    @property
    def role(self) -> Role:
        """What the person is to the document, frozen or not."""
        return self._role

    @role.setter
    def role(self, role: Role) -> None:
        self._role = role
        self.weigh_rights()

    def weigh_rights(self) -> None:
        """Its role or the room's ruling has changed: note what this seat may do from now on."""
        allowed = MATRIX.get(self._role, _NOTHING)
        self._allowed = allowed - _FROZEN_ACTIONS if self.room.ruling.frozen else allowed

    def may(self, action: Action) -> bool:
        """Whether this seat may do `action` now: its role allows it, and the document is not frozen."""
        return action in self._allowed

    def tell_frozen(self) -> None:
        """One who could write before hears that nobody can now."""
        if permits(self._role, Action.WRITE_DOCUMENT):
            self._denied = True
            self.send(PermissionDenied(FROZEN))

    def tell_thawed(self) -> None:
        """Ask one who can write again for what it wrote meanwhile; what is refused next time is worth a word again."""
        self._denied = False
        if self.may(Action.WRITE_DOCUMENT):
            self.ask_for_sync()

    def become(self, identity: Identity, role: Role, now: float) -> None:
        """Sit here as `identity`, the same subject with perhaps a newer token, in `role` from now on.

        What was taken in before stays and is acknowledged; what comes from now on, or waits, is judged by the new role.
        One who may write no more is told so, one who may now is asked for what it has typed meanwhile.
        """
        wrote, shown = permits(self.role, Action.WRITE_DOCUMENT), (self.identity.name, self.role)
        self.identity, self.role = identity, role
        writes = permits(role, Action.WRITE_DOCUMENT)
        if shown != (identity.name, role):
            self.room.roster.describe(self, Person(identity.subject, identity.name, role))
            self.room.cursors.stamp_again(self, now)
        if wrote and not writes:
            self._denied = True
            self.send(PermissionDenied(READ_ONLY))
        elif writes and not wrote:
            self._denied = self.awaiting_sync = False
            self.room.ruling.welcome(self)

    def receive(self, payload: bytes, now: float) -> bool:
        """Act on one message; False if it only repeated what was known. Raises `Refused` to end the connection."""
        if self._held is not None:
            self._held.append(payload)
            return True
        self.received_bytes += len(payload)
        self.received_messages += 1
        update = self.dialect.short_update(payload)
        if update is not None and Action.WRITE_DOCUMENT in self._allowed:
            self.room.metrics.edits.count += 1
            self.edited_at = now
            self.room.edit(self, update)
            return True
        try:
            message = self.dialect.decode(payload, self.room.awareness_limits)
        except MalformedMessage as error:
            raise Refused(Close.MALFORMED, f"{Close.MALFORMED.text}: {error}") from None
        if not self.room.has_seat(self) and not isinstance(message, (Update, SyncStep2)):
            return True  # it has left: what it wrote before counts, what it asked and showed does not
        rule = _RULES.get(type(message))
        if rule is None:
            raise Refused(Close.MALFORMED, "clients do not send this message")
        kind, action, act = rule
        self.room.metrics.received[kind].inc()
        if action not in self._allowed:
            self._deny(kind, message)
            return True
        return act(self, message, now) is not False

    @property
    def is_held(self) -> bool:
        """Whether messages wait for what came before them. Nothing is read then, so silence says nothing."""
        return self._held is not None

    def hold(self) -> None:
        """Let all further messages wait: what came before them takes longer than a turn of the loop. May be nested."""
        self._holds += 1
        self._held = self._held or []
        self._pause_reading(True)

    def go_on(self, now: float) -> None:
        """The end of a `hold`; of the last one: act on what waited, up to the next message that others wait for."""
        self._holds -= 1
        if self._holds:
            return
        waited, self._held = self._held or [], None
        try:
            for payload in waited:
                if not self.expelled:
                    self.receive(payload, now)
        except Refused as refusal:
            if not self.expelled:
                self.close(refusal)
        except Exception:  # a fault of ours costs this connection
            self.close(Refused(Close.ROOM_UNAVAILABLE))
            raise
        finally:
            if self._held is None:
                self._pause_reading(False)

    def close(self, refusal: Refused) -> None:
        """End the connection with `refusal`; nothing more of it is taken in."""
        self.expelled = True
        self._close(refusal)

    def send(self, message: Message) -> None:
        """Send `message` to this member alone."""
        self.outbox.send(binary_frame(self.dialect.encode(message)))

    def fell_behind(self) -> None:
        """The client reads too slowly: until it has read what is queued it gets no news."""
        self.outbox.congested = True
        self.lag = self.room.fell_behind(self) or self.lag

    def caught_up(self) -> None:
        """The client has read what was queued: it gets all it missed, as one update. Raises `Refused`."""
        if self.room.rebuild.puts_off(self):
            return
        self.outbox.congested = False
        lag, self.lag = self.lag, None
        if lag is not None:
            self.room.catch_up(self, lag)

    def keep_alive(self) -> None:
        """Send a message without content: stock clients leave after 30 s without one; pings do not count."""
        self.send(Awareness(()))

    def ask_for_sync(self) -> None:
        """Ask the client for everything the room lacks, unless it was asked and has not answered yet."""
        if not self.awaiting_sync:
            self.awaiting_sync = True
            self.send(SyncStep1(self.room.state_vector()))

    def leave_unacknowledged(self) -> None:
        """An update it sent had no effect: nothing counts as durable until a sync answer has brought it again."""
        if self.acks is not None:
            self.acks.set_aside += 1

    def ask_for_sync_later(self) -> None:
        """What it sent could not be taken now: ask for it again, which a client that stays would never offer."""
        if self._asking is None:
            self._asking = asyncio.get_running_loop().call_later(ASK_AGAIN_AFTER_S, self._ask_again)

    def _ask_again(self) -> None:
        self._asking = None
        if self.room.has_seat(self):
            self.ask_for_sync()

    def _deny(self, kind: str, message: Message) -> None:
        """Leave a message without effect, and say so once.

        Stock clients answer a sync request with a SyncStep2 whatever their rights, so that one goes unmentioned.
        """
        self.room.metrics.denied[kind].inc()
        if isinstance(message, (Update, SyncStep2)):
            self.leave_unacknowledged()
        if isinstance(message, SyncStep2):
            self.awaiting_sync = False  # asked again when it may write again
        if not self._denied and not isinstance(message, SyncStep2):
            self._denied = True
            frozen = permits(self._role, Action.WRITE_DOCUMENT)
            self.send(PermissionDenied(FROZEN if frozen else READ_ONLY))

    def _synchronise(self, message: SyncStep1, now: float) -> None:
        if self.outbox.congested:  # an answer may be a whole document: many unread ones would fill the memory
            raise Refused(Close.TOO_SLOW)
        if not self._syncs.take(1, now):
            raise Refused(Close.TOO_FREQUENT, "too many sync requests: slow down")
        self.room.synchronise(self, message.state_vector)

    def _answer_sync(self, message: SyncStep2, _now: float) -> None:
        was_asked, self.awaiting_sync = self.awaiting_sync, False
        self.room.edit(self, message.update, is_answer=was_asked, is_sync=True)

    def _edit(self, message: Update, now: float) -> None:
        self.edited_at = now
        self.room.edit(self, message.update)

    def _share_presence(self, message: Awareness, now: float) -> bool:
        """Too many cursors are dropped, not closed for; never one that goes, because nothing would take it away."""
        cursors = self._cursors = self._cursors or self.room.bounds.cursor_bucket()
        if not cursors.take(1.0, now) and any(entry.state != REMOVED for entry in message.entries):
            self.room.metrics.awareness_limited.inc()
            return False
        had_effect = self.room.share_presence(self, message.entries, now)
        if self.acks is not None and self.acks.is_new and message.entries:
            self.acks.is_new = False
            self.room.show_own(self, message.entries[0].client_id)
        if not had_effect:
            cursors.give(1.0)  # stock clients send back every cursor they hear
        return had_effect

    def _renew_seat(self, message: Renew, _now: float) -> None:
        if self._renew is None:
            raise Refused(Close.MALFORMED, "this seat cannot be renewed")
        self._renew(message.token)

    def _query_presence(self, _message: QueryAwareness, _now: float) -> None:
        self.room.cursors.send_all(self)


# message type → metric label, right it needs, what happens then
_RULES: dict[type[Any], tuple[str, Action, Callable[[Member, Any, float], bool | None]]] = {
    SyncStep1: ("sync_step_1", Action.READ_DOCUMENT, Member._synchronise),
    SyncStep2: ("sync_step_2", Action.WRITE_DOCUMENT, Member._answer_sync),
    Update: ("update", Action.WRITE_DOCUMENT, Member._edit),
    Awareness: ("awareness", Action.SHARE_PRESENCE, Member._share_presence),
    QueryAwareness: ("query_awareness", Action.SEE_PRESENCE, Member._query_presence),
    Renew: ("renew", Action.READ_DOCUMENT, Member._renew_seat),
}
MESSAGE_KINDS = tuple(kind for kind, _action, _act in _RULES.values())
