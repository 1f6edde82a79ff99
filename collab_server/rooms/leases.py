"""Who may write under which Yjs client id in one document.

A client id is leased to whoever first writes as it (`persistence.leases`). Without leases any writer could burn the
clocks of another's client: what that one types later is then taken for known, accepted and lost. `judge` runs between
the firewall and the CRDT, on what an update brings under each client id, and must never change the document; what it
refuses or sets aside has had no effect. The rules and their reasons: docs/decisions/0010-client-id-leases.md.

The table has the last word: an id that this room has only heard of from another task is nobody's until it was looked
up (`settle`). Memory is one dict entry a client id. Owned by `room`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping, Sequence
from enum import Enum
from typing import TYPE_CHECKING, Protocol
from uuid import UUID

import structlog

from auth.permissions import Action
from collab_server.rooms.replica import Judge
from collab_server.telemetry import Metrics
from collab_server.update_format import UpdateRefused
from collab_server.update_split import Clocks
from persistence.errors import StorageUnavailable
from persistence.leases import LeaseTable

if TYPE_CHECKING:
    from collab_server.rooms.member import Member

log = structlog.get_logger(__name__)

# Clocks of an absent holder that one update may bring beside what its own bytes pay for (a character is a byte or
# more). What was deleted counts as clocks without bytes, so a claim of two thousand million would cost ten.
MOST_VOUCHED_CLOCKS = 65_536
ASK_AGAIN_S, ASK_AGAIN_CAP_S = 0.5, 8.0  # about an update that was set aside; each time later
LOOK_UP_EVERY_S = 0.1  # ids heard of meanwhile are looked up together
RETRY_LOOK_UP_S = 2.0


OLD_COPY = "old_history"  # why an update of a copy from before a restore is refused
RESERVED = "(nobody)"  # holds what nobody may write as; never compared but by identity


class Standing(Enum):
    """What is known of a member's copy."""

    UNKNOWN = "unknown"
    PRESENT = "present"
    OLD = "old"


class SetAside(Exception):
    """Who may write this is not known yet: the update had no effect, and its sender is asked for it again later."""


class Presence(Protocol):
    """Who shows itself in the room, on any task."""

    def shown_by(self, client_id: int) -> tuple[str, Member | None] | None:
        """The subject that shows this client id as its own now, and its seat if that is here."""

    def shows_any(self, member: Member) -> bool:
        """Whether `member` shows itself at all."""


class Looks(Protocol):
    """Looks into storage and at the other tasks for what the room lacks (`second_look`)."""

    def begin(self) -> int:
        """Ask for one; its number, from 1."""

    def is_over(self, number: int) -> bool:
        """Whether that one has ended; never for 0."""


class Writer:
    """One seat, as the leases see it: its subject, and the client id it wrote as last.

    That one is its own: what it alone brings need not be judged again, which is nine in ten updates.
    """

    __slots__ = ("_leases", "asked", "client", "look", "new", "standing", "subject")

    def __init__(self, leases: Leases, subject: str) -> None:
        self._leases = leases
        self.subject = subject
        self.client = -1
        self.new: tuple[int, ...] = ()  # leased to it, to be journaled with its next update
        self.asked = 0  # times it was asked again for what was set aside
        self.standing = Standing.UNKNOWN  # of its copy, where the document's history was replaced
        self.look = 0  # begun because it brought what others had to be asked for, or what builds on nothing here

    def judge(self, is_sync: bool) -> Judge:
        """What judges its next update: a live one, or a SyncStep2, which carries whatever the room lacks."""
        return self._judge_sync if is_sync else self._judge_update

    def _judge_update(self, ends: Clocks, known: Mapping[int, int], size_bytes: int) -> None:
        self._leases.judge(self, ends, known, size_bytes, is_sync=False)

    def _judge_sync(self, ends: Clocks, known: Mapping[int, int], size_bytes: int) -> None:
        self._leases.judge(self, ends, known, size_bytes, is_sync=True)

    def take_new(self) -> tuple[int, ...]:
        """The client ids to journal as its own with its next update."""
        new = self.new
        if new:
            self.new = ()
        return new


class Leases:
    """The leases of one document. `looks` are for what this room lacks; `look_up` starts `settle`."""

    def __init__(
        self,
        document_id: UUID,
        metrics: Metrics,
        members: Iterable[Member],
        presence: Presence,
        looks: Looks,
        look_up: Callable[[], None],
    ) -> None:
        self._document_id = document_id
        self._members = members
        self._presence = presence
        self._metrics = metrics
        self._looks = looks
        self._look_up = look_up
        self._holders: dict[int, str] = {}
        self._fresh: set[int] = set()  # leased here, not yet seen in the table
        self._unsettled: set[int] = set()
        self._subjects: dict[str, str] = {}

    def writer(self, subject: str) -> Writer:
        """A new seat of `subject`."""
        return Writer(self, self.one_of(subject))

    def one_of(self, subject: str) -> str:
        """The same subject always as the same object: a hundred thousand leases have a dozen holders."""
        return self._subjects.setdefault(subject, subject)

    def learn(self, held: Mapping[str, Sequence[int]]) -> None:
        """Take in what the table says (subject → client ids)."""
        for subject, client_ids in held.items():
            self._holders.update(dict.fromkeys(client_ids, self.one_of(subject)))

    def reserve(self, client_ids: Iterable[int]) -> None:
        """Let nobody write as these any more."""
        self._holders.update(dict.fromkeys(client_ids, RESERVED))

    def holder_of(self, client_id: int) -> str | None:
        """The subject this client id is leased to."""
        return self._holders.get(client_id)

    # Updates of members

    def judge(self, writer: Writer, ends: Clocks, known: Mapping[int, int], size_bytes: int, *, is_sync: bool) -> None:
        """Whether `writer` may bring structs up to `ends` to a room that holds `known` (client → clock).

        It gets the leases of what is nobody's yet. Raises `UpdateRefused` and `SetAside`: then it got none.
        """
        subject, holders = writer.subject, self._holders
        new: list[int] = []
        foreign: list[tuple[int, str]] = []
        for client, end in ends:
            clock = known.get(client, 0)
            holder = holders.get(client)
            if clock >= end or holder is subject:
                continue
            if holder is RESERVED:
                raise UpdateRefused(OLD_COPY)
            if client in self._unsettled:
                raise SetAside
            if holder is None:
                shown = self._presence.shown_by(client)
                if shown is None or shown[0] == subject:
                    # A SyncStep2 may bring an edit of somebody whose task died before the lease was committed.
                    if not is_sync or shown is not None:
                        new.append(client)
                    continue
                holder = shown[0]
            if end - clock > MOST_VOUCHED_CLOCKS + size_bytes:
                raise UpdateRefused("clock_jump")
            foreign.append((client, holder))
        if foreign:
            self._judge_foreign(writer, foreign, is_sync=is_sync)
        self._lease(writer, new)
        writer.asked = writer.look = 0
        if len(ends) == 1 and holders.get(ends[0][0]) is subject:
            writer.client = ends[0][0]

    def _judge_foreign(self, writer: Writer, foreign: Sequence[tuple[int, str]], *, is_sync: bool) -> None:
        """Refuse what is written as a client that its holder uses now; of others any writer may bring the edits."""
        for client, holder in foreign:
            shown = self._presence.shown_by(client)
            if shown is not None and shown[0] != holder:
                shown = None
            seats = self._seats_using(client, holder)
            if shown is None and not seats:
                continue  # nobody works under this id now
            is_certain = shown is not None or any(seat.writer.client == client for seat in seats)
            if shown is not None and shown[1] is not None:
                seats.append(shown[1])
            answered = seats and self._looks.is_over(writer.look) and not any(seat.awaiting_sync for seat in seats)
            if answered and is_sync and any(seat.writer.look for seat in seats):
                continue  # the answer of its holder waits as well, for edits of others: one of them has to be first
            if answered or (is_certain and not is_sync):
                raise UpdateRefused("foreign_client")  # its holder has told all it has, and this was not in it
            writer.look = writer.look or self._looks.begin()
            for seat in seats:
                seat.ask_for_sync()
            raise SetAside
        self._metrics.vouched.inc()
        log.info(
            "vouched",
            document_id=str(self._document_id),
            actor=writer.subject,
            clients=[client for client, _holder in foreign[:10]],
            holders=sorted({holder for _client, holder in foreign})[:10],
        )

    def _seats_using(self, client: int, holder: str) -> list[Member]:
        """The seats of `holder` that wrote as `client` last, or that may be it: they show and have written nothing."""
        return [
            member
            for member in self._members
            if member.writer.subject == holder
            and member.may(Action.WRITE_DOCUMENT)
            and (member.writer.client == client or (member.writer.client < 0 and not self._presence.shows_any(member)))
        ]

    def _lease(self, writer: Writer, clients: list[int]) -> None:
        if clients:
            self._holders.update(dict.fromkeys(clients, writer.subject))
            self._fresh.update(clients)
            writer.new += tuple(clients)

    def set_aside(self, member: Member) -> None:
        """Ask `member` again, later each time, for what could not be judged now and is not acknowledged."""
        member.leave_unacknowledged()
        delay_s = min(ASK_AGAIN_S * 2**member.writer.asked, ASK_AGAIN_CAP_S)
        member.writer.asked += 1
        asyncio.get_running_loop().call_later(delay_s, _ask_again, member)

    # Updates of other tasks

    def hear(self, ends: Clocks, known: Mapping[int, int], _size_bytes: int) -> None:
        """Another task has taken in structs up to `ends`: of whom, the table says, for they are committed."""
        for client, end in ends:
            if (client not in self._holders or client in self._fresh) and known.get(client, 0) < end:
                if not self._unsettled:
                    self._look_up()
                self._unsettled.add(client)

    async def settle(self, table: LeaseTable) -> None:
        """Look up the holders of every id that was heard of, until there is none left."""
        while self._unsettled:
            await asyncio.sleep(LOOK_UP_EVERY_S)
            asked = list(self._unsettled)
            try:
                held = await table.held(self._document_id, asked)
            except StorageUnavailable:
                await asyncio.sleep(RETRY_LOOK_UP_S)
                continue
            self._take_over(held)
            self._unsettled.difference_update(asked)

    def _take_over(self, held: Mapping[str, Sequence[int]]) -> None:
        for subject, client_ids in held.items():
            self._fresh.difference_update(client_ids)
            for client in client_ids:
                before = self._holders.get(client)
                if before is not None and before != subject:
                    log.warning("lease_lost", document_id=str(self._document_id), client=client, actor=before)
                    for member in self._members:
                        if member.writer.client == client:
                            member.writer.client = -1
        self.learn(held)


def _ask_again(member: Member) -> None:
    if not member.expelled and member.room.has_seat(member):
        member.ask_for_sync()
