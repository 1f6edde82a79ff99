"""Seats follow what is stored, in the order it was stored, whatever becomes of words and of the database."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Collection, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from uuid import UUID

import pytest

from auth.permissions import Pair, PermissionsUnavailable, Role, Standing
from auth.permissions_memory import MemoryPermissions
from collab_server import rights
from collab_server.bus import Envelope, EnvelopeKind
from collab_server.bus_memory import MemoryNetwork
from collab_server.control import Control
from collab_server.errors import Close, Refused
from collab_server.rights import MOST_WAITING, WORD, Rights
from collab_server.rooms.member import FROZEN, READ_ONLY, Member
from collab_server.rooms.registry import Registry
from collab_server.wire.awareness import AwarenessEntry
from collab_server.wire.messages import Awareness, PermissionDenied, SyncStep1, Update
from persistence.rulings import Ruling
from tests.unit.collab_server.rooms.parts import House, Person, house, until

LATER = time.monotonic() + 3600  # than anything that is read of rulings meanwhile
TYPED = b"\x01\x01\x01\x00\x04\x01\x01c\x01a\x00"  # "a" by client 1


class Slow(MemoryPermissions):
    """Answers what was true when it was asked, once it is let; or not at all."""

    def __init__(self) -> None:
        super().__init__()
        self.let = asyncio.Event()
        self.let.set()
        self.away = self.is_broken = False
        self.asked: list[Collection[Pair]] = []

    async def standings_of(self, pairs: Collection[Pair]) -> Mapping[Pair, Standing]:
        self.asked.append(pairs)
        found = await super().standings_of(pairs)
        await self.let.wait()
        if self.is_broken:
            raise RuntimeError("a fault of ours")
        if self.away:
            raise PermissionsUnavailable("away")
        return found


@dataclass
class Seat:
    """A connection, as far as rights reach."""

    member: Member | None
    closed: list[Close] = field(default_factory=list)
    largest: int = 0
    is_broken: bool = False

    def close(self, refusal: Refused) -> None:
        assert self.member is not None
        self.closed.append(refusal.reason)
        self.member.room.leave(self.member)
        self.member = None

    def take_seat(self, member: Member, max_message_bytes: int) -> None:
        assert member is self.member
        if self.is_broken:
            raise RuntimeError("a fault of ours")
        self.largest = max_message_bytes


class Here:
    """A server with the seats it is given."""

    def __init__(self, registry: Registry) -> None:
        self.registry = registry
        self.connections: list[Seat] = []
        self.barred: set[str] = set()

    def largest_message(self, role: Role) -> int:
        return len(role)

    def is_barred(self, member: Member) -> bool:
        return member.identity.subject in self.barred


@dataclass
class Watched:
    """One task with its rights being watched."""

    parts: House
    here: Here
    rights: Rights
    permissions: Slow

    async def seat(self, subject: str, role: Role, document: str = "demo") -> tuple[Person, Seat]:
        await self.permissions.set_role(subject, document, role)
        person = self.parts.join(await self.parts.room(document), role, subject)
        seat = Seat(person.member)
        self.here.connections.append(seat)
        return person, seat


@asynccontextmanager
async def watched(max_age_s: float = 3600.0, network: MemoryNetwork | None = None) -> AsyncIterator[Watched]:
    async with house(network=network) as parts:
        permissions, here = Slow(), Here(parts.registry)
        control = Control(parts.bus, parts.metrics)
        rights = Rights(permissions, parts.catalog, control, parts.metrics, max_age_s=max_age_s)
        await control.start()
        watching = [asyncio.create_task(watch(here)) for watch in (rights.watch_words, rights.watch_age)]
        try:
            yield Watched(parts, here, rights, permissions)
        finally:
            for task in watching:
                task.cancel()
                with suppress(asyncio.CancelledError):
                    await task
            await control.close()


def told(person: Person) -> list[str]:
    return [message.reason for message in person.messages if isinstance(message, PermissionDenied)]


def asked(person: Person) -> int:
    return len([message for message in person.messages if isinstance(message, SyncStep1)])


def role_shown(person: Person) -> bytes:
    return [m for m in person.messages if isinstance(m, Awareness) and m.entries][-1].entries[0].state


async def test_a_writer_who_may_only_read_now_is_told_once_and_its_edits_stay() -> None:
    async with watched() as task:
        ada, seat = await task.seat("ada", Role.EDITOR)
        watcher = task.parts.join(ada.member.room)
        ada.send(Awareness((AwarenessEntry(1, 1, b"{}"),)))
        ada.send(Update(TYPED))
        await task.permissions.set_role("ada", "demo", Role.VIEWER)
        task.rights.changed(document="demo", subject="ada")
        await until(lambda: ada.member.role is Role.VIEWER)
        for _ in range(2):
            ada.send(Update(TYPED))
        assert told(ada) == [READ_ONLY]
        assert seat.largest == task.here.largest_message(Role.VIEWER)
        assert (ada.member.room.clocks, ada.member.room.updates) == ({1: 1}, 1)
        assert next(here.person.role for here in ada.member.room.roster.people(now=0)) == Role.VIEWER
        await until(lambda: b'"role":"viewer"' in role_shown(watcher))


async def test_a_reader_who_may_write_now_is_asked_for_what_it_has() -> None:
    async with watched() as task:
        ada, seat = await task.seat("ada", Role.VIEWER)
        ada.send(Update(TYPED))
        assert asked(ada) == 0
        await task.permissions.set_role("ada", "demo", Role.EDITOR)
        task.rights.changed(subject="ada")
        await until(lambda: asked(ada) == 1)
        ada.send(Update(TYPED))
        assert ada.member.room.clocks == {1: 1}
        assert seat.largest == task.here.largest_message(Role.EDITOR)


async def test_one_who_may_write_now_in_a_frozen_document_hears_that_it_is_frozen() -> None:
    async with watched() as task:
        ada, _seat = await task.seat("ada", Role.VIEWER)
        ada.member.room.ruling.obey(Ruling(frozen=True), LATER)
        await task.permissions.set_role("ada", "demo", Role.EDITOR)
        task.rights.changed(subject="ada")
        await until(lambda: told(ada) == [FROZEN])
        ada.send(Update(TYPED))
        assert (ada.member.room.clocks, asked(ada)) == ({}, 0)
        ada.member.room.ruling.obey(Ruling(frozen=False), LATER + 1)
        assert asked(ada) == 1


async def test_one_who_is_barred_from_writing_reads_on() -> None:
    async with watched() as task:
        ada, _seat = await task.seat("ada", Role.VIEWER)
        task.here.barred = {"ada"}
        await task.permissions.set_role("ada", "demo", Role.EDITOR)
        task.rights.changed(subject="ada")
        await until(lambda: not task.rights._waiting and task.permissions.asked)
        async with task.rights.looking:
            assert ada.member.role is Role.VIEWER


@pytest.mark.parametrize(
    ("change", "code"),
    [("removed", Close.FORBIDDEN), ("revoked", Close.UNAUTHORIZED), ("deleted", Close.NOT_FOUND)],
)
async def test_who_may_not_stay_is_sent_away_and_nobody_else(change: str, code: Close) -> None:
    async with watched() as task:
        ada, seat = await task.seat("ada", Role.EDITOR)
        _bob, others = await task.seat("bob", Role.EDITOR, "other")
        if change == "removed":
            await task.permissions.set_role("ada", "demo", None)
        elif change == "revoked":
            await task.permissions.revoke_tokens("ada", 1.0)
        else:
            task.parts.catalog.delete("demo")
        task.rights.changed(document="demo")
        if change == "deleted":  # the room closes its members itself
            await until(lambda: [refusal.reason for refusal in ada.refusals] == [code])
            assert "demo" not in task.parts.registry.rooms
        else:
            await until(lambda: seat.closed == [code])
        assert others.closed == []


async def test_a_word_of_another_task_is_a_reason_to_look_and_nothing_more() -> None:
    network = MemoryNetwork()
    async with watched(network=network) as task, house(network=network) as other:
        ada, seat = await task.seat("ada", Role.EDITOR)
        told_by = Control(other.bus, other.metrics)
        told_by.tell(WORD, {"document": "demo", "subject": "ada", "role": "nobody", "gone": True})
        for bad in (b'{"word":"rights","body":{"document":7}}', b'{"word":"rights","body":[]}'):
            other.bus.publish(Envelope(EnvelopeKind.CONTROL, None, other.bus.task_id, bad))
        await until(lambda: task.parts.metrics.bus_refused["malformed"].count == 2)
        await until(lambda: [("ada", "demo")] in [list(pairs) for pairs in task.permissions.asked])
        assert (seat.closed, ada.member.role) == ([], Role.EDITOR)
        await task.permissions.set_role("ada", "demo", None)
        told_by.tell(WORD, {"document": None, "subject": None})
        await until(lambda: seat.closed == [Close.FORBIDDEN])


async def test_without_a_word_a_change_counts_within_the_greatest_age() -> None:
    async with watched(max_age_s=0.2) as task:
        _ada, seat = await task.seat("ada", Role.EDITOR)
        await task.permissions.set_role("ada", "demo", None)
        await until(lambda: seat.closed == [Close.FORBIDDEN])


async def test_while_grants_cannot_be_read_seats_stay_and_a_word_is_not_forgotten() -> None:
    async with watched() as task:
        _ada, seat = await task.seat("ada", Role.EDITOR)
        task.permissions.away = True
        before = len(task.permissions.asked)
        await task.permissions.set_role("ada", "demo", None)
        task.rights.changed(subject="ada")
        await until(lambda: len(task.permissions.asked) > before + 1)  # asked again by itself
        assert seat.closed == []
        task.permissions.away = False
        await until(lambda: seat.closed == [Close.FORBIDDEN])


async def test_a_fault_of_ours_costs_one_connection_and_ends_no_looking() -> None:
    async with watched() as task:
        (_ada, adas), (bob, _bobs) = await task.seat("ada", Role.EDITOR), await task.seat("bob", Role.EDITOR)
        adas.is_broken = True
        for subject in ("ada", "bob"):
            await task.permissions.set_role(subject, "demo", Role.VIEWER)
        task.rights.changed(document="demo")
        await until(lambda: bob.member.role is Role.VIEWER)
        assert adas.closed == [Close.ROOM_UNAVAILABLE]
        task.permissions.is_broken = True
        await task.permissions.set_role("bob", "demo", Role.EDITOR)
        task.rights.changed(document="demo")
        before = len(task.permissions.asked)
        await until(lambda: len(task.permissions.asked) > before)
        task.permissions.is_broken = False
        await until(lambda: bob.member.role is Role.EDITOR)


async def test_an_answer_is_never_acted_on_after_a_newer_one() -> None:
    async with watched(max_age_s=0.3) as task:
        ada, _seat = await task.seat("ada", Role.EDITOR)
        task.permissions.let.clear()
        before = len(task.permissions.asked)
        await until(lambda: len(task.permissions.asked) > before)  # a round is under way, with what was true before
        held, task.permissions.let = task.permissions.let, asyncio.Event()
        task.permissions.let.set()
        await task.permissions.set_role("ada", "demo", Role.VIEWER)
        task.rights.changed(subject="ada")
        for _ in range(20):  # turns in which a look that did not wait would be over
            await asyncio.sleep(0)
        held.set()
        asked_so_far = len(task.permissions.asked)
        await until(lambda: len(task.permissions.asked) > asked_so_far + 2)
        assert ada.member.role is Role.VIEWER
        assert task.parts.metrics.rights_changes["role"].count == 1


async def test_a_flood_of_words_becomes_one_look_at_everyone() -> None:
    async with watched() as task:
        for subject in ("ada", "bob"):
            await task.seat(subject, Role.EDITOR)
        await until(lambda: not task.rights.looking.locked())
        before = len(task.permissions.asked)
        for number in range(MOST_WAITING + 10):
            task.rights.changed(subject=f"stranger-{number}")
        await until(lambda: len(task.permissions.asked) > before)
        assert sorted(task.permissions.asked[before]) == [("ada", "demo"), ("bob", "demo")]
        assert task.rights.heard == MOST_WAITING + 10


class Broken(Seat):
    """A connection that a fault of ours keeps from being closed."""

    def close(self, refusal: Refused) -> None:
        raise RuntimeError(refusal.reason)


async def test_a_seat_that_cannot_be_judged_keeps_nobody_else_from_it() -> None:
    async with watched() as task:
        seats = [(await task.seat(subject, Role.EDITOR))[1] for subject in ("ada", "bob", "cleo")]
        broken = Broken(seats[0].member)
        task.here.connections[0] = broken
        for subject in ("ada", "bob"):
            await task.permissions.set_role(subject, "demo", None)
        task.rights.changed(document="demo")
        await until(lambda: seats[1].closed == [Close.FORBIDDEN])
        await task.permissions.set_role("cleo", "demo", None)
        task.rights.changed(subject="cleo")
        await until(lambda: seats[2].closed == [Close.FORBIDDEN])


async def test_a_word_about_a_person_alone_asks_for_no_document(monkeypatch: pytest.MonkeyPatch) -> None:
    async with watched() as task:
        asked, existing = list[int](), task.parts.catalog.existing

        async def counted(document_ids: Collection[UUID]) -> frozenset[UUID]:
            asked.append(len(document_ids))
            return await existing(document_ids)

        monkeypatch.setattr(task.parts.catalog, "existing", counted)
        _ada, seat = await task.seat("ada", Role.EDITOR)
        await task.permissions.revoke_tokens("ada", 1.0)
        task.rights.changed(subject="ada")
        await until(lambda: seat.closed == [Close.UNAUTHORIZED])
        assert asked == []
        # Ten thousand rooms in one question would hold the loop for as long as fifty thousand keystrokes.
        monkeypatch.setattr(rights, "ROOMS_A_LOOK", 2)
        for number in range(4):
            await task.parts.room(f"other-{number}")
        task.rights.look_soon()
        await until(lambda: sum(asked) == 5)
        assert asked == [2, 2, 1]
