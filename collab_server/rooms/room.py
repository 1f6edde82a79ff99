"""One live document in this process: its members, its copy of the state, what they see of each other.

Between taking a message and having queued it for members, bus and journal there is no `await`. Received bytes are
what is relayed and journaled, never what the CRDT gives back. Only the task that received an update from a client
journals and publishes it. Called by members (from the network), by the bus, and by the registry that owns it.
"""

from __future__ import annotations

import time
from collections.abc import Iterable
from functools import partial

import structlog

from collab_server.bus import Bus, Envelope, Heading
from collab_server.errors import Close, Refused
from collab_server.firewall import UpdateGap, UpdateRefused, UpdateSummary
from collab_server.rooms.acknowledgements import Acknowledgements
from collab_server.rooms.activity import share_cursors
from collab_server.rooms.answers import Answers
from collab_server.rooms.bounds import Bounds, RoomBounds
from collab_server.rooms.broadcast import Broadcast
from collab_server.rooms.cursors import Cursors
from collab_server.rooms.hearing import Hearing
from collab_server.rooms.history import RoomHistory
from collab_server.rooms.intake import take_in
from collab_server.rooms.leases import OLD_COPY, Leases, SetAside
from collab_server.rooms.member import Lag, Member
from collab_server.rooms.offload import Offload
from collab_server.rooms.owner import RoomOwner
from collab_server.rooms.peers import Peers
from collab_server.rooms.publication import Publication
from collab_server.rooms.rebuild import Rebuild
from collab_server.rooms.refusals import CRDT_FAILURE
from collab_server.rooms.replica import BIG_DOCUMENT_BYTES, Replica, ReplicaBroken
from collab_server.rooms.ruling import RoomRuling
from collab_server.rooms.second_look import SecondLook
from collab_server.rooms.sentinel import Comparison, Sentinel
from collab_server.telemetry import Metrics, Tally
from collab_server.update_reading import NO_UPDATE
from collab_server.update_split import Piece
from collab_server.wire.awareness import AwarenessEntry, AwarenessLimits
from collab_server.wire.lib0 import encode_state_vector
from persistence.catalog import Document
from persistence.checkpoints import Checkpoint
from persistence.journal import JournalEntry
from persistence.recorder import BacklogFull, Recorder, RecorderStopped
from presence.roster import Person, Roster

log = structlog.get_logger(__name__)


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
        acknowledgements: Acknowledgements,
        offload: Offload,
        metrics: Metrics,
        awareness_limits: AwarenessLimits,
        max_awareness_ids: int,
        max_coalesce_s: float,
        bounds: RoomBounds,
        compare_every_s: float = 3.0,
    ) -> None:
        self.document = document
        self.metrics = metrics
        self.awareness_limits = awareness_limits
        self.opened_at = time.monotonic()
        self.members = Broadcast(metrics, max_coalesce_s, acknowledgements)
        self.taking_in = 0  # big updates
        self.updates = 0
        self.ticket = 0  # of the newest update handed to the recorder
        self.dirty_updates = 0
        self.dirty_bytes = 0
        self.last_checkpoint: Checkpoint | None = None
        self._owner = owner
        self._replica = replica
        self._recorder = recorder
        self._acknowledgements = acknowledgements
        self._answers = Answers(self, replica, acknowledgements)
        self._offload = offload
        heading = Heading(document.channel, bus.task_id, document.epoch)
        self.cursors = Cursors(heading, self.members, bus, metrics, limits=awareness_limits, max_ids=max_awareness_ids)
        self.sentinel = Sentinel(self, replica, heading, bus, publication, compare_every_s)
        self._peers = Peers(heading, replica, self.cursors, bus, publication, lambda: self.ticket, self.sentinel)
        self._hearing = Hearing(self, replica, self._peers)
        look_up, self.second_look = partial(owner.look_up_leases, self), SecondLook(self, owner)
        self.leases = Leases(document.id, metrics, self.members, self.cursors, self.second_look, look_up)
        self.bounds = Bounds(bounds, replica, recorder, metrics, document.id)
        self.roster = Roster()
        self.rebuild = Rebuild(self, replica, owner)
        self.ruling = RoomRuling(self.members, document.id)
        self.is_lost = False
        self.history: RoomHistory | None = None

    # Members

    @property
    def is_empty(self) -> bool:
        """Whether nobody has a seat here, and nothing of those who left is still being taken in."""
        return not self.members and not self.taking_in

    def join(self, member: Member) -> None:
        """Seat `member`: ask it for what the room lacks, if it may write, and show it who is here."""
        self.members.add(member)
        self.rebuild.joined(member)
        self.metrics.members.inc()
        self.roster.enter(member, Person(member.identity.subject, member.identity.name, member.role), now=member.since)
        self.ruling.welcome(member)
        self.cursors.send_all(member, only_if_any=True)

    def leave(self, member: Member) -> None:
        """Free the seat of `member` and take its cursors from everyone's screen."""
        if member in self.members:
            self.members.remove(member)
            self.metrics.members.dec()
            self.roster.leave(member)
            self.cursors.remove(member)
            if member.acks is not None:
                member.acks.ended = True

    def fell_behind(self, member: Member) -> Lag | None:
        """Stop sending to `member`, who reads too slowly; remember how far it has come."""
        reached = self.members.fell_behind(member, self._replica.clocks)
        if reached is None:
            return None
        self.metrics.fell_behind.inc()
        waiting, snapshot = self.members.waiting_updates, self._replica.snapshot
        mark = snapshot.mark if snapshot is not None and not waiting else None
        return Lag(encode_state_vector(reached), self.updates - waiting, mark)

    def catch_up(self, member: Member, lag: Lag) -> None:
        """Bring `member`, who has read all it was sent, level with one diff, and send it news again."""
        self.members.flush_updates()  # what it would get again with the next tick
        self.members.caught_up(member)  # before the diff, which may be too much at once again
        if self.updates != lag.updates:
            self.metrics.catch_ups.inc()
            self._answers.catch_up(member, lag)
        if not member.outbox.congested:
            self.cursors.send_all(member, only_if_any=True)

    # Document

    def state_vector(self) -> bytes:
        """What this room holds, as a Yjs state vector."""
        return self._replica.state_vector()

    @property
    def clocks(self) -> dict[int, int]:
        """What this room holds: client id → number of operations."""
        return dict(self._replica.clocks)

    def done_taking_in(self) -> None:
        """A big update has come to its end; its sender may have left meanwhile."""
        self.taking_in -= 1
        self._owner.release(self)

    def has_seat(self, member: Member) -> bool:
        """Whether `member` is here."""
        return member in self.members

    @property
    def encoded_bytes(self) -> int | None:
        """Size of the encoded document, when known."""
        return self._replica.encoded_bytes

    def diff(self, state_vector: bytes) -> bytes:
        """What a peer at `state_vector` lacks. Raises `Refused` for a state vector that is not one."""
        return self._answers.diff(state_vector)

    def synchronise(self, member: Member, state_vector: bytes) -> None:
        """Send `member` what it lacks. Raises `Refused`."""
        if self.history is None or self.history.look_at(member, state_vector):
            self._answers.synchronise(member, state_vector)

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
                self.rebuild.begin()
                raise Refused(Close.ROOM_RELOADED) from None

    async def renew_snapshot(self) -> None:
        """Make it anew, in a worker process. Raises `SandboxFailed`."""
        await self._offload.renew(self._replica)

    def edit(self, member: Member, update: bytes, *, is_answer: bool = False, is_sync: bool = False) -> None:
        """Apply, relay, journal and later acknowledge an update of `member`; one that `is_sync` may repeat others'.

        One that needs something the room lacks is set aside and the client asked for all it has; when that answer
        (`is_answer`) itself has a gap, the client holds something nobody can complete. Raises `Refused`.
        """
        if len(update) > self._offload.big_update_bytes:
            take_in(self, member, update, self._offload, is_answer=is_answer, is_sync=is_sync)
            return
        try:
            if self.history is not None:
                self.history.check(member)
            if (full := self.bounds.refusal(len(update))) and not self._replica.holds_structs_of(update):
                raise Refused(full)
            if full is Close.JOURNAL_FULL:
                member.leave_unacknowledged()
                member.ask_for_sync_later()  # whatever it deletes comes again with that
                return
            before = None if member.lag is None else self.clocks
            self._replica.author = member.author
            summary = self._replica.apply(update, member.writer.judge(is_sync), member.writer.client)
        except UpdateGap as gap:
            self.second_look.set_aside(member, gap, update, is_answer=is_answer)
            return
        except SetAside:
            self.leases.set_aside(member)
            return
        except UpdateRefused as error:
            raise self.refusal_of(member, error.reason, update) from None
        except ReplicaBroken as error:
            raise self._broken_by(member, update, error) from error
        if summary is not None:
            news = summary.instead or update
            if before is not None and member.lag is not None:
                member.lag.wrote(before, summary.clocks)
            self._count(self.metrics.client_updates, news)
            (self.members.send_at_once if is_sync else self.members.send_update)(news, member)
            self._record(member, news, summary)
            self._peers.tell(news)
        if member.acks is not None:
            self._acknowledgements.owe(member.acks, self.ticket, update, is_answer=is_answer)

    def edit_piece(self, member: Member, piece: Piece) -> bool:
        """The same for the next piece of a big update of `member`, which was checked; say if it is in now.

        Raises `Refused`.
        """
        if (full := self.bounds.refusal(len(piece.update))) and not self._replica.holds(piece.ends):
            raise Refused(full)
        if full is Close.JOURNAL_FULL:
            member.ask_for_sync_later()
            return False
        before = None if member.lag is None else self.clocks
        try:
            self._replica.author = member.author
            is_news = self._replica.apply_piece(piece)
        except UpdateRefused as error:
            raise self.refusal_of(member, error.reason, piece.update) from None
        except ReplicaBroken as error:
            raise self._broken_by(member, piece.update, error) from error
        if is_news:
            if before is not None and member.lag is not None:
                member.lag.wrote(before, piece.ends)
            self._count(self.metrics.client_updates, piece.update)
            self.members.send_at_once(piece.update, member)
            self._record(member, piece.update, UpdateSummary(piece.ends, dict(piece.reach), is_empty=False))
            self._peers.tell(piece.update)
        if member.acks is not None:
            self._acknowledgements.owe(member.acks, self.ticket, piece.update, messages=0)
        return True

    def took_in(self, member: Member, *, whole: bool, is_answer: bool) -> None:
        """The last piece of a big update is in; `whole` says if all are."""
        if not whole:
            member.leave_unacknowledged()
        elif member.acks is not None:
            self._acknowledgements.owe(member.acks, self.ticket, NO_UPDATE, is_answer=is_answer)

    def refusal_of(self, member: Member, reason: str, update: bytes) -> Refused:
        """Keep `update` of `member`, which was refused, and say how to tell."""
        self._owner.refused(self, member.identity.subject, reason, update)
        if reason == OLD_COPY:
            return Refused(Close.HISTORY_REPLACED)
        return Refused(Close.UPDATE_REFUSED, f"{Close.UPDATE_REFUSED.text} ({reason})")

    def _broken_by(self, member: Member, update: bytes, error: ReplicaBroken) -> Refused:
        if error.__cause__ is None:  # somebody else's update did it
            return Refused(Close.ROOM_RELOADED)
        refusal = self.refusal_of(member, CRDT_FAILURE, update)
        member.close(refusal)  # before the others are made to wait
        self.rebuild.begin()
        return refusal

    def _record(self, member: Member, update: bytes, summary: UpdateSummary) -> None:
        clients = tuple([client for client, _end in summary.clocks])
        reach = encode_state_vector(summary.reach)
        document, writer = self.document, member.writer
        entry = JournalEntry(document.id, update, writer.subject, clients, reach, writer.take_new(), document.epoch)
        try:
            self.ticket = self._recorder.record(entry)
        except (BacklogFull, RecorderStopped):
            self.reload()  # members see what will not be stored
            raise Refused(Close.JOURNAL_FULL) from None
        self.dirty_updates += 1
        self.dirty_bytes += len(update)
        self._owner.edited(self)

    def _count(self, tally: Tally, update: bytes) -> None:
        self.updates += 1
        self.sentinel.changed()
        self.bounds.grew(len(update))
        tally.count += 1
        self.metrics.update_bytes.count += len(update)

    def reload(self) -> None:
        """Give this copy up: everyone reconnects to a room rebuilt from storage. What was recorded is not lost."""
        log.error("room_lost", document_id=str(self.document.id), members=len(self.members))
        self._owner.lost(self)
        self.let_go(Refused(Close.ROOM_RELOADED))

    def let_go(self, refusal: Refused) -> None:
        """Send everyone away with `refusal` from a room that its owner has forgotten; nothing more gets in."""
        self.is_lost = True
        self._replica.forget()
        self.close(refusal)
        self.rebuild.give_up()

    def close(self, refusal: Refused) -> None:
        """End every member's connection with `refusal`, after all that was on its way."""
        self.members.flush()
        for member in self.members:
            member.close(refusal)

    # Presence

    def show_own(self, member: Member, client: int) -> None:
        """Show `member`, who waits for its own updates to come back, those of an earlier connection."""
        self._answers.show_own(member, client)

    def share_presence(self, member: Member, entries: Iterable[AwarenessEntry], now: float) -> bool:
        """Show the cursors `member` sent; say if any was news. Raises `Refused`."""
        return share_cursors(self, member, entries, now)

    # Other tasks

    def greet_peers(self) -> None:
        """Exchange with the other tasks that hold this document what either side lacks, and who is there."""
        self._peers.greet()

    @property
    def divergence(self) -> Comparison | None:
        """How the last comparison with another task's copy ended."""
        return self.sentinel.last

    def dropped(self) -> None:
        """The room is no more: nothing of it may happen later."""
        self.cursors.far.flush()
        self.sentinel.close()
        self._peers.close()

    def receive(self, envelope: Envelope) -> None:
        """Act on an envelope of another task. Its content is checked like a client's."""
        self._hearing.receive(envelope)

    def heard(self, update: bytes) -> None:
        """Show members `update`, which another task has journaled and this copy just took in."""
        self._count(self.metrics.updates["bus"], update)
        self.members.send_update(update, None)
