"""Whether everyone who has a seat may still have it: looked up again when a word says so, and every so often anyway.

What somebody may do is never sent about, only looked up (docs/decisions/0015-rights-are-looked-up-again.md): a word
names whom to look up, so one that is forged, late or doubled costs a query, and one that is lost delays a change until
the next round, `max_age_s` at most. While the database is away seats stay as they are. Must never give a seat to
anyone, and never act on an answer older than another one acted on. Owned by `server`, told by whoever changes rights.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import time
from collections.abc import Callable, Collection, Iterable
from typing import Protocol

import structlog

from auth.identity import Identity
from auth.permissions import Action, Permissions, PermissionsUnavailable, Role, Standing, permits
from collab_server.admission import judged
from collab_server.control import Body, Control
from collab_server.errors import Close, Refused
from collab_server.rooms.member import Member
from collab_server.rooms.registry import Registry
from collab_server.telemetry import Metrics
from persistence.catalog import Catalog
from persistence.errors import StorageUnavailable

log = structlog.get_logger(__name__)

WORD = "rights"
SEATS_A_LOOK = 1_000  # asking about so many takes the loop 10 ms, judging them 4
ROOMS_A_LOOK = 1_000  # to read the answer takes 5 ms
ENDS_A_TURN = 20  # each tells a whole room that somebody left
RETRY_S = 1.0
MOST_WAITING = 1_000  # more that waits to be looked up, and everyone is

Concerned = tuple[str | None, str | None]
"""A document and a subject; None is every one."""
EVERYONE: Concerned = (None, None)


class Seated(Protocol):
    """What a connection is to this module."""

    member: Member | None

    def close(self, refusal: Refused) -> None:
        """End it."""

    def take_seat(self, member: Member, max_message_bytes: int) -> None:
        """Let messages of at most that size go to `member`."""


class Place(Protocol):
    """What the server is to this module."""

    registry: Registry

    @property
    def connections(self) -> Collection[Seated]: ...

    def largest_message(self, role: Role) -> int:
        """In bytes, of one who has that role."""

    def is_barred(self, member: Member) -> bool:
        """Whether an edit of theirs broke something, so that they may not write for now."""


class Rights:
    """See the module."""

    def __init__(
        self,
        permissions: Permissions,
        catalog: Catalog,
        control: Control,
        metrics: Metrics,
        *,
        max_age_s: float,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.heard = 0
        """Words so far: who looked somebody up before one of them looks again after."""
        self.looking = asyncio.Lock()
        """Held from asking about anybody until the answer is acted on, so that answers are acted on in their order."""
        self._permissions = permissions
        self._catalog = catalog
        self._control = control
        self._metrics = metrics
        self._max_age_s = max_age_s
        self._clock = clock
        self._waiting: set[Concerned] = set()
        self._due = asyncio.Event()
        self._was_away = False
        self._whole_at = clock()
        metrics.rights_age_s.set_function(lambda: self._clock() - self._whole_at)
        control.on(WORD, self._hear)

    # Words

    def changed(self, *, document: str | None = None, subject: str | None = None) -> None:
        """Have every task look up again whoever sits at `document`, or is `subject`, or both. After the commit."""
        self._control.tell(WORD, {"document": document, "subject": subject})

    def look_soon(self, document: str | None = None, subject: str | None = None) -> None:
        """Look these up again in this task."""
        self._waiting.add((document, subject))
        if len(self._waiting) > MOST_WAITING:
            self._waiting = {EVERYONE}
        self._due.set()

    def _hear(self, _origin: str, body: Body) -> None:
        document, subject = body.get("document"), body.get("subject")
        if not (isinstance(document, str | None) and isinstance(subject, str | None)):
            raise TypeError("a name is a string")
        self.heard += 1
        self.look_soon(document, subject)

    # Looking

    async def watch_words(self, place: Place) -> None:
        """Look up whoever a word concerns, at once; while that cannot be known, again every second."""
        while True:
            await self._due.wait()
            self._due.clear()
            waiting, self._waiting = self._waiting, set()
            if not await self._looked(place, waiting):
                self._waiting |= waiting
                await asyncio.sleep(RETRY_S)
                self._due.set()

    async def watch_age(self, place: Place) -> None:
        """Look up everyone so often that no seat rests on what was true more than `max_age_s` ago."""
        while True:
            began = self._clock()
            if not await self._looked(place, {EVERYONE}, over_s=self._max_age_s / 10):
                await asyncio.sleep(RETRY_S)
                continue
            self._whole_at = began
            # Tasks that started together need not ask together.
            next_at = began + self._max_age_s * random.uniform(0.7, 0.9)  # noqa: S311 - jitter, no secret
            await asyncio.sleep(max(0.0, next_at - self._clock()))

    async def _looked(self, place: Place, waiting: set[Concerned], *, over_s: float = 0.0) -> bool:
        """Look, and say whether that could be done."""
        try:
            await self._look(place, waiting, over_s=over_s)
        except (PermissionsUnavailable, StorageUnavailable) as failure:
            if not self._was_away:  # once an outage
                log.warning("rights_unknown", cause=str(failure))
            self._was_away = True
        except Exception:  # a fault of ours must not end the looking for good
            log.exception("rights_look_failed")
        else:
            self._was_away = False
            return True
        return False

    async def _look(self, place: Place, waiting: set[Concerned], *, over_s: float = 0.0) -> None:
        """Look up whoever is concerned, spread over so many seconds where they are many."""
        await self._look_for_deleted(place.registry, waiting)
        concerned = [seat for seat in place.connections if seat.member is not None and _concerns(waiting, seat.member)]
        batches = [concerned[at : at + SEATS_A_LOOK] for at in range(0, len(concerned), SEATS_A_LOOK)]
        for number, batch in enumerate(batches):
            if number:
                await asyncio.sleep(over_s / len(batches))
            async with self.looking:
                await self._judge(place, batch)

    async def _look_for_deleted(self, registry: Registry, waiting: set[Concerned]) -> None:
        named = {document for document, subject in waiting if subject is None}
        open_rooms = [room for room in registry.rooms.values() if None in named or room.document.name in named]
        for at in range(0, len(open_rooms), ROOMS_A_LOOK):
            some = open_rooms[at : at + ROOMS_A_LOOK]
            existing = await self._catalog.existing([room.document.id for room in some])
            for room in some:
                if room.document.id not in existing and registry.rooms.get(room.document.name) is room:
                    self._metrics.rights_changes["deleted"].inc(len(room.members))
                    registry.deleted(room)

    async def _judge(self, place: Place, seats: Iterable[Seated]) -> None:
        members = [(seat, seat.member) for seat in seats if seat.member is not None]
        standings = await self._permissions.standings_of({_pair(member) for _seat, member in members})
        ended = 0
        for seat, member in members:
            if seat.member is member and not self._is_well(place, seat, member, standings[_pair(member)]):
                ended += 1
                if ended % ENDS_A_TURN == 0:
                    await asyncio.sleep(0)

    def _is_well(self, place: Place, seat: Seated, member: Member, standing: Standing) -> bool:
        try:
            return self._may_stay(place, seat, member, standing)
        except Exception:  # a fault of ours costs this connection, which may come back, and no other
            log.exception("seat_not_judged", document=member.room.document.name, actor=member.identity.subject)
            with contextlib.suppress(Exception):
                seat.close(Refused(Close.ROOM_UNAVAILABLE))
            return False

    def _may_stay(self, place: Place, seat: Seated, member: Member, standing: Standing) -> bool:
        try:
            role = judged(member.identity, standing, member.room.document.name)
        except Refused as refusal:
            self._metrics.rights_changes["ended"].inc()
            log.info(
                "seat_ended", document=member.room.document.name, actor=member.identity.subject, why=refusal.detail
            )
            seat.close(refusal)
            return False
        self.reseat(place, seat, member, member.identity, role)
        return True

    def reseat(self, place: Place, seat: Seated, member: Member, identity: Identity, role: Role) -> None:
        """Let `member` sit on as `identity` in `role`; one who is barred from writing reads on."""
        if permits(role, Action.WRITE_DOCUMENT) and not member.may(Action.WRITE_DOCUMENT) and place.is_barred(member):
            role = member.role
        if (identity, role) == (member.identity, member.role):
            return
        if role is not member.role:
            self._metrics.rights_changes["role"].inc()
            log.info(
                "role_changed",
                document=member.room.document.name,
                actor=identity.subject,
                before=member.role.value,
                role=role.value,
            )
            seat.take_seat(member, place.largest_message(role))
        member.become(identity, role, self._clock())


def _concerns(waiting: set[Concerned], member: Member) -> bool:
    document, subject = member.room.document.name, member.identity.subject
    return not waiting.isdisjoint({EVERYONE, (document, None), (None, subject), (document, subject)})


def _pair(member: Member) -> tuple[str, str]:
    return member.identity.subject, member.room.document.name
