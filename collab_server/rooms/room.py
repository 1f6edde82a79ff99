"""One live document in this process: its members, its copy of the state, what they see of each other.

Between taking a message and having queued it for members, bus and journal there is no `await`. Received bytes are
what is relayed and journaled, never what the CRDT gives back. Only the task that received an update from a client
journals and publishes it. Called by members (from the network), by the bus, and by the registry that owns it.
"""

from __future__ import annotations

import asyncio
import hashlib
import time
from collections.abc import Iterable
from typing import Protocol

import structlog

from auth.permissions import Action
from collab_server.bus import Bus, Envelope, EnvelopeKind
from collab_server.errors import Close, Refused
from collab_server.firewall import UpdateGap, UpdateRefused, UpdateSummary, check_state_vector
from collab_server.rooms.intake import take_in
from collab_server.rooms.member import Member
from collab_server.rooms.offload import Offload
from collab_server.rooms.publication import Publication
from collab_server.rooms.replica import BIG_DOCUMENT_BYTES, Replica, ReplicaBroken
from collab_server.telemetry import Metrics
from collab_server.update_split import Piece
from collab_server.wire.awareness import AwarenessEntry, AwarenessLimits, decode_entries, encode_entries, in_batches
from collab_server.wire.dialect import Dialect
from collab_server.wire.frame import binary_frame
from collab_server.wire.lib0 import encode_state_vector
from collab_server.wire.messages import Awareness, MalformedMessage, Message, SyncStep2
from persistence.catalog import Document
from persistence.checkpoints import Checkpoint
from persistence.journal import JournalEntry
from persistence.recorder import BacklogFull, Recorder, RecorderStopped
from presence.identity_state import stamp
from presence.roster import Person, Roster
from presence.state import AwarenessStates

log = structlog.get_logger(__name__)

# A greeting is answered, and asked back: whoever missed something in the other direction gets it too. The question
# that comes back is only answered, so that the exchange ends.
ANSWER, ANSWER_AND_ASK_BACK = b"\x00", b"\x01"
GREETING_EVERY_S = 0.5  # a burst of gaps asks once; an answer costs the other side an encode
# A client may know clients this room has never heard of (offline work, many sessions), but not without bound: each
# costs time in the loop. 16 bytes is the longest client id with its clock.
LONGEST_CLOCK_BYTES, STRANGERS = 16, 1_000
CRDT_FAILURE = "crdt_failure"  # why an update was refused: it passed the firewall and broke the CRDT
REMOVED = b"null"  # y-protocols awareness.js: the state of a client that left


class RoomOwner(Protocol):
    """Who keeps the room and cares for its storage."""

    def edited(self, room: Room) -> None:
        """An update was journaled."""

    def broken(self, room: Room) -> None:
        """The room's copy is lost: whoever comes next needs a new room."""

    def refused(self, room: Room, actor_id: str, reason: str, sha256: bytes, size_bytes: int) -> None:
        """An update was refused; what is known of it, without its content."""


class Room:
    """A document and its members."""

    def __init__(
        self,
        document: Document,
        replica: Replica,
        *,
        owner: RoomOwner,
        recorder: Recorder,
        bus: Bus,
        publication: Publication,
        offload: Offload,
        metrics: Metrics,
        awareness_limits: AwarenessLimits,
        max_awareness_ids: int,
    ) -> None:
        self.document = document
        self.metrics = metrics
        self.awareness_limits = awareness_limits
        self.opened_at = time.monotonic()
        self.seats: dict[Dialect, dict[Member, None]] = {}
        self.updates = 0
        self.ticket = 0  # of the newest update handed to the recorder
        self.dirty_updates = 0
        self.dirty_bytes = 0
        self.last_checkpoint: Checkpoint | None = None
        self._owner = owner
        self._replica = replica
        self._recorder = recorder
        self._bus = bus
        self._publication = publication
        self._offload = offload
        self._greeted_at = float("-inf")
        self._greeting: asyncio.TimerHandle | None = None
        self._largest_state = awareness_limits.max_state_bytes
        self._awareness = AwarenessStates(max_ids=max_awareness_ids)
        self.roster = Roster()

    # Members

    @property
    def members(self) -> list[Member]:
        """Everyone with a seat here, in order of arrival for each dialect."""
        return [member for seats in self.seats.values() for member in seats]

    @property
    def is_empty(self) -> bool:
        """Whether nobody has a seat here."""
        return not any(self.seats.values())

    def join(self, member: Member) -> None:
        """Seat `member`: ask it for what the room lacks, if it may write, and show it who is here."""
        self.seats.setdefault(member.dialect, {})[member] = None
        self.metrics.members.inc()
        person = Person(member.identity.subject, member.identity.name, member.role.value)
        self.roster.enter(member, person, now=member.since)
        if member.may(Action.WRITE_DOCUMENT):
            member.ask_for_sync()
        self.send_presence(member, only_if_any=True)

    def leave(self, member: Member) -> None:
        """Free the seat of `member` and take its cursors from everyone's screen."""
        if self.seats.get(member.dialect, {}).pop(member, member) is None:
            self.metrics.members.dec()
            self.roster.leave(member)
            self._remove_presence(member)

    def _send_all(self, message: Message) -> None:
        """Send one message to every member, one frame a dialect."""
        for dialect, members in self.seats.items():
            frame = binary_frame(dialect.encode(message))
            for member in list(members):  # a copy: whoever is too slow for this frame leaves while it is sent
                if not member.outbox.send_if_keeping_up(frame):
                    self.metrics.awareness_dropped.inc()

    # Document

    def state_vector(self) -> bytes:
        """What this room holds, as a Yjs state vector."""
        return self._replica.state_vector()

    @property
    def clocks(self) -> dict[int, int]:
        """What this room holds: client id → number of operations."""
        return dict(self._replica.clocks)

    def has_seat(self, member: Member) -> bool:
        """Whether `member` is here, and this room still in use."""
        return member in self.seats.get(member.dialect, {})

    @property
    def encoded_bytes(self) -> int | None:
        """Size of the encoded document, when known."""
        return self._replica.encoded_bytes

    def diff(self, state_vector: bytes) -> bytes:
        """What a peer at `state_vector` lacks. Raises `Refused` for a state vector that is not one."""
        self._limit_strangers(state_vector)
        try:
            return self._replica.diff(state_vector)
        except UpdateRefused as error:
            raise Refused(Close.MALFORMED, f"state vector: {error.reason}") from None
        except ReplicaBroken:
            self.reload()
            raise Refused(Close.ROOM_RELOADED) from None

    def _limit_strangers(self, state_vector: bytes) -> None:
        if len(state_vector) > LONGEST_CLOCK_BYTES * (2 * len(self._replica.clocks) + STRANGERS):
            raise Refused(Close.MALFORMED, "state vector: it names far more clients than this document has")

    def synchronise(self, member: Member, state_vector: bytes) -> None:
        """Send `member` what it lacks: in one message, or a big document in many. Raises `Refused`."""
        snapshot = self._replica.snapshot
        if snapshot is None:
            member.send(SyncStep2(self.diff(state_vector)))
            return
        self._limit_strangers(state_vector)
        try:
            frames, last = snapshot.answer(member.dialect, check_state_vector(state_vector))
        except UpdateRefused as error:
            raise Refused(Close.MALFORMED, f"state vector: {error.reason}") from None
        for frame in frames:
            member.outbox.send(frame)
        member.send(SyncStep2(last))

    @property
    def has_old_snapshot(self) -> bool:
        """Whether this is a big document that was edited so much that what joiners get should be made anew."""
        snapshot = self._replica.snapshot
        return snapshot is not None and snapshot.is_due

    def prepare_for(self, update_bytes: int) -> None:
        """Expect that many bytes in pieces: a document that they make big is kept in pieces from the start."""
        if update_bytes > BIG_DOCUMENT_BYTES and self._replica.snapshot is None:
            try:
                self._replica.cut_up()
            except ReplicaBroken:
                self.reload()
                raise Refused(Close.ROOM_RELOADED) from None

    async def renew_snapshot(self) -> None:
        """Make it anew, in a worker process. Raises `SandboxFailed`."""
        await self._offload.renew(self._replica)

    def edit(self, member: Member, update: bytes, *, is_answer: bool = False) -> None:
        """Apply, relay and journal an update of `member`.

        One that needs something the room lacks is set aside and the client asked for all it has; when that answer
        (`is_answer`) itself has a gap, the client holds something nobody can complete. Raises `Refused`.
        """
        if len(update) > self._offload.big_update_bytes:
            take_in(self, member, update, self._offload, is_answer=is_answer)
            return
        try:
            if not self._recorder.accepts(len(update)):
                if self._replica.holds_structs_of(update):
                    return  # whatever it deletes comes again with the next sync
                raise Refused(Close.JOURNAL_FULL)
            summary = self._replica.apply(update)
        except UpdateGap as gap:
            self.set_aside(member, gap, is_answer=is_answer)
            return
        except UpdateRefused as error:
            raise self.refusal_of(member, error.reason, update) from None
        except ReplicaBroken as error:
            raise self._broken_by(member, update) from error
        if summary is not None:
            self._spread(member, update, summary)

    def edit_piece(self, member: Member, piece: Piece) -> None:
        """The same for the next piece of a big update of `member`, which was checked. Raises `Refused`."""
        if not self._recorder.accepts(len(piece.update)):
            raise Refused(Close.JOURNAL_FULL)
        try:
            if not self._replica.apply_piece(piece):
                return
        except UpdateRefused as error:
            raise self.refusal_of(member, error.reason, piece.update) from None
        except ReplicaBroken as error:
            raise self._broken_by(member, piece.update) from error
        self._spread(member, piece.update, UpdateSummary(piece.ends, dict(piece.reach), is_empty=False))

    def set_aside(self, member: Member, gap: UpdateGap, *, is_answer: bool) -> None:
        """Leave an update with a gap without effect and ask for what is missing. Raises `Refused` after an answer."""
        self.metrics.gaps["client"].inc()
        if is_answer:
            raise Refused(Close.UPDATE_REFUSED, f"this copy of the document has a gap: {gap}")
        member.ask_for_sync()

    def refusal_of(self, member: Member, reason: str, update: bytes) -> Refused:
        """Note that the firewall refused `update` of `member`, and how to tell."""
        self._quarantine(member, reason, update)
        return Refused(Close.UPDATE_REFUSED, f"{Close.UPDATE_REFUSED.text} ({reason})")

    def _broken_by(self, member: Member, update: bytes) -> Refused:
        refusal = self.refusal_of(member, CRDT_FAILURE, update)
        member.close(refusal)  # before the others, who are told to come back
        self.reload()
        return refusal

    def _spread(self, member: Member, update: bytes, summary: UpdateSummary) -> None:
        self._relay(update, member)
        self._record(member, update, summary)
        self._publication.publish(self.ticket, EnvelopeKind.UPDATE, self.document.id, update)
        self._count("client", update)

    def _relay(self, update: bytes, sender: Member | None) -> None:
        for dialect, members in self.seats.items():
            frame = binary_frame(dialect.encode_update(update))
            for member in list(members):  # a copy, as above
                if member is not sender:
                    member.outbox.send(frame)

    def _record(self, member: Member, update: bytes, summary: UpdateSummary) -> None:
        entry = JournalEntry(
            document_id=self.document.id,
            update=update,
            actor_id=member.identity.subject,
            client_ids=tuple(client for client, _end in summary.clocks),
            reach=encode_state_vector(summary.reach),
        )
        try:
            self.ticket = self._recorder.record(entry)
        except (BacklogFull, RecorderStopped):
            self.reload()  # members see what will not be stored
            raise Refused(Close.JOURNAL_FULL) from None
        self.dirty_updates += 1
        self.dirty_bytes += len(update)
        self._owner.edited(self)

    def _count(self, source: str, update: bytes) -> None:
        self.updates += 1
        self.metrics.updates[source].inc()
        self.metrics.update_bytes.inc(len(update))

    def _quarantine(self, member: Member, reason: str, update: bytes) -> None:
        self.metrics.updates_refused[reason].inc()
        digest = hashlib.sha256(update).digest()
        log.warning(
            "update_refused",
            document_id=str(self.document.id),
            actor=member.identity.subject,
            reason=reason,
            sha256=digest.hex(),
            size_bytes=len(update),
        )
        self._owner.refused(self, member.identity.subject, reason, digest, len(update))

    def reload(self) -> None:
        """Give this copy up: everyone reconnects to a room rebuilt from storage. What was recorded is not lost."""
        log.error("room_broken", document_id=str(self.document.id), members=len(self.members))
        self._replica.forget()
        self._owner.broken(self)
        self.close(Refused(Close.ROOM_RELOADED))

    def close(self, refusal: Refused) -> None:
        """End every member's connection with `refusal`."""
        for member in self.members:
            member.close(refusal)

    # Presence

    def share_presence(self, member: Member, entries: Iterable[AwarenessEntry], now: float) -> bool:
        """Take the cursors `member` sent, put its verified identity on them, show them, and say if any was news.

        The sender gets its own back: stock clients leave when they hear nothing for 30 s. Raises `Refused`.
        """
        user = {"id": member.identity.subject, "name": member.identity.name, "role": member.role.value}
        try:
            states = [
                (entry.client_id, entry.clock, None if entry.state == REMOVED else stamp(entry.state, user=user))
                for entry in entries
            ]
        except (ValueError, TypeError):
            raise Refused(Close.MALFORMED, "an awareness state is a JSON object or null") from None
        fitting = [entry for entry in states if entry[2] is None or len(entry[2]) <= self._largest_state]
        # Dropped, not closed for: stock clients repeat what they hear, so it may be somebody else's.
        self.metrics.awareness_refused["too_large"].inc(len(states) - len(fitting))
        self.roster.touch(member, now=now)
        claimed = [entry for entry in fitting if entry[2] is not None and self._awareness.owner_of(entry[0]) is None]
        had_effect = self._show(member, fitting, now)
        self._ask_to_announce_again(member, claimed)
        return had_effect

    def _ask_to_announce_again(self, member: Member, claimed: list[tuple[int, int, bytes | None]]) -> None:
        """Make a client that came back visible at once.

        It returns with the clock its peers last saw, so they would ignore it until it renews its state, up to 15 s
        later. A null at that clock makes it answer with the next one (y-protocols awareness.js: nobody else may
        remove a local state).
        """
        nudges = tuple(
            AwarenessEntry(client_id, clock, REMOVED)
            for client_id, clock, _state in claimed
            if self._awareness.owner_of(client_id) is member
        )
        if nudges:
            member.send(Awareness(nudges))

    def _show(self, owner: Member | str, states: list[tuple[int, int, bytes | None]], now: float) -> bool:
        outcome = self._awareness.apply(owner, states, now=now)
        for reason in outcome.refused:
            self.metrics.awareness_refused[reason.value].inc()
        if outcome.accepted:
            self._send_presence_of(_entries(outcome.accepted), publish=not isinstance(owner, str))
        return bool(outcome.accepted)

    def _send_presence_of(self, entries: tuple[AwarenessEntry, ...], *, publish: bool) -> None:
        for batch in in_batches(entries):
            self._send_all(Awareness(batch))
        if publish:
            self._publish_presence(entries)

    def _publish_presence(self, entries: tuple[AwarenessEntry, ...]) -> None:
        for batch in in_batches(entries):
            body = encode_entries(batch)
            self._bus.publish(Envelope(EnvelopeKind.AWARENESS, self.document.id, self._bus.task_id, body))

    def _remove_presence(self, owner: Member) -> None:
        if gone := self._awareness.remove_owner(owner):
            entries = tuple(AwarenessEntry(client_id, clock, REMOVED) for client_id, clock in gone)
            self._send_presence_of(entries, publish=True)

    def send_presence(self, member: Member, *, only_if_any: bool = False) -> None:
        """Show `member` everyone who is here."""
        batches = in_batches(_entries(self._awareness.snapshot()))
        for batch in batches or ([] if only_if_any else [()]):
            member.send(Awareness(batch))

    @property
    def awareness_ids(self) -> int:
        """Awareness client ids present."""
        return len(self._awareness)

    # Other tasks

    def greet_peers(self) -> None:
        """Exchange with the other tasks that hold this document what either side lacks, and who is there.

        At most once in `GREETING_EVERY_S`: later wishes within that time become one more greeting at its end.
        """
        early_s = self._greeted_at + GREETING_EVERY_S - time.monotonic()
        if early_s <= 0:
            self._greeted_at = time.monotonic()
            self._ask_peers(ANSWER_AND_ASK_BACK)
        elif self._greeting is None:
            self._greeting = asyncio.get_running_loop().call_later(early_s, self._greet_again)

    def _greet_again(self) -> None:
        self._greeting = None
        self.greet_peers()

    def _ask_peers(self, wish: bytes) -> None:
        body = wish + self._replica.state_vector()
        self._bus.publish(Envelope(EnvelopeKind.SYNC_REQUEST, self.document.id, self._bus.task_id, body))

    def receive(self, envelope: Envelope) -> None:
        """Act on an envelope of another task. Its content is checked like a client's."""
        try:
            match envelope.kind:
                case EnvelopeKind.UPDATE | EnvelopeKind.SYNC_REPLY:
                    self._merge(envelope)
                case EnvelopeKind.AWARENESS:
                    self._show_remote(envelope)
                case EnvelopeKind.SYNC_REQUEST:
                    self._answer_peer(envelope)
                case EnvelopeKind.CONTROL:
                    return  # control envelopes come on their own channel
        except (UpdateRefused, MalformedMessage) as error:
            self.metrics.bus_refused["malformed"].inc()
            log.warning("envelope_refused", kind=envelope.kind.value, origin=envelope.origin, reason=str(error))
        except ReplicaBroken:
            self.metrics.bus_refused[CRDT_FAILURE].inc()
            self.reload()

    def _merge(self, envelope: Envelope) -> None:
        try:
            summary = self._replica.apply(envelope.body)
        except UpdateGap:
            self.metrics.gaps["bus"].inc()
            if envelope.kind is EnvelopeKind.UPDATE:  # a reply with a gap would ask for the same reply for ever
                self.greet_peers()
            return
        if summary is not None:
            self._relay(envelope.body, None)
            self._count("bus", envelope.body)

    def _show_remote(self, envelope: Envelope) -> None:
        states = [
            (entry.client_id, entry.clock, None if entry.state == REMOVED else entry.state)
            for entry in decode_entries(envelope.body, self.awareness_limits)
        ]
        self._show(envelope.origin, states, time.monotonic())

    def _answer_peer(self, envelope: Envelope) -> None:
        wish, state_vector = envelope.body[:1], envelope.body[1:]
        for update in self._replica.diffs(state_vector):
            self._publication.publish(self.ticket, EnvelopeKind.SYNC_REPLY, self.document.id, update)
        self._publish_presence(_entries(self._awareness.snapshot(local_only=True)))
        if wish == ANSWER_AND_ASK_BACK:
            self._ask_peers(ANSWER)


def _entries(states: Iterable[tuple[int, int, bytes | None]]) -> tuple[AwarenessEntry, ...]:
    return tuple(AwarenessEntry(client, clock, REMOVED if state is None else state) for client, clock, state in states)
