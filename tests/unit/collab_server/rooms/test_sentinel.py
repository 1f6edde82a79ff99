"""Copies of two tasks that came apart without anybody's notice find together again, and equal ones are quiet."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from itertools import pairwise

import pytest
from pycrdt import Array, Doc, Map, Text

from collab_server.bus import Envelope, EnvelopeKind
from collab_server.bus_memory import MemoryNetwork
from collab_server.envelopes import decode
from collab_server.rooms import sentinel
from collab_server.rooms.digest import Digest
from collab_server.rooms.fingerprint import HASH_BYTES, UNKNOWN, Fingerprint, Fingerprints, hash_deletes
from collab_server.rooms.replica import Replica
from collab_server.rooms.room import Room
from collab_server.wire.messages import Update
from tests.unit.collab_server.rooms.parts import House, Person, house, until

QUICK_S = 0.1
TYPED = b"\x01\x01\x07\x00\x04\x01\x01c\x01a\x00"  # "a" by client 7


class Lossy(MemoryNetwork):
    """Loses that share of all messages, and notes the kinds of those it carries."""

    def __init__(self) -> None:
        super().__init__()
        self.loss = 0.0
        self.carried: list[EnvelopeKind] = []
        self._chance = random.Random(9)

    def carry(self, batch: list[bytes]) -> None:
        kept = [wire for wire in batch if self._chance.random() >= self.loss]
        self.carried += [envelope.kind for wire in kept for envelope in decode(wire).envelopes]
        super().carry(kept)


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sentinel, "LOOK_AGAIN_S", QUICK_S)
    monkeypatch.setattr(sentinel, "ANSWER_WITHIN_S", QUICK_S / 4)


class Writer:
    """Someone who types in a room, with a copy of their own."""

    def __init__(self, here: House, room: Room) -> None:
        self.person: Person = here.join(room)
        self.doc: Doc = Doc()
        self.text = self.doc.get("content", type=Text)

    def write(self, text: str) -> None:
        self._send(lambda: self.text.insert(len(str(self.text)), text))

    def erase(self, count: int) -> None:
        def act() -> None:
            del self.text[:count]

        self._send(act)

    def _send(self, act: object) -> None:
        before = self.doc.get_state()
        act()  # type: ignore[operator]
        self.person.send(Update(self.doc.get_update(before)))


class Two:
    """The same document on two tasks."""

    def __init__(self, network: Lossy, here: House, there: House, rooms: tuple[Room, Room]) -> None:
        self.network, self.here, self.there, self.rooms = network, here, there, rooms
        self.writer = Writer(here, rooms[0])

    @property
    def are_equal(self) -> bool:
        one, two = (Fingerprints(room._replica).at(room.updates) for room in self.rooms)
        return one == two

    @property
    def texts(self) -> list[str]:
        found = []
        for room in self.rooms:
            copy: Doc = Doc()
            copy.apply_update(room.diff(b"\x00"))
            found.append(str(copy.get("content", type=Text)))
        return found

    async def settled(self) -> None:
        await self.here.recorder.flush()
        await self.there.recorder.flush()

    async def quiet(self) -> None:
        """Wait until nobody has said anything for long enough to have said it again."""
        for _ in range(40):
            said = len(self.network.carried)
            await asyncio.sleep(5 * QUICK_S)
            if said == len(self.network.carried):
                return
        raise AssertionError(f"still talking: {self.network.carried[-5:]}")

    async def lose(self, act: object) -> None:
        """Do something whose every message is lost."""
        await until(lambda: self.are_equal)
        self.network.loss = 1.0
        act()  # type: ignore[operator]
        await self.settled()
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        self.network.loss = 0.0
        assert not self.are_equal


@asynccontextmanager
async def two(compare_every_s: float = QUICK_S) -> AsyncIterator[Two]:
    network = Lossy()
    async with (
        house(network=network, compare_every_s=compare_every_s) as here,
        house(network=network, storage=here, compare_every_s=compare_every_s) as there,
    ):
        pair = Two(network, here, there, (await here.room(), await there.room()))
        pair.writer.write("hello world")
        await until(lambda: pair.are_equal)
        yield pair


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize("what", ["update", "deletion"])
async def test_what_was_lost_comes_without_anybody_typing(what: str) -> None:
    async with two() as pair:
        await pair.lose(lambda: pair.writer.write("!") if what == "update" else pair.writer.erase(6))
        await until(lambda: pair.are_equal)
        assert pair.texts == ["hello world!" if what == "update" else "world"] * 2
        await until(lambda: all(room.divergence and room.divergence.equal for room in pair.rooms))
        found = [tasks.metrics.divergences for tasks in (pair.here, pair.there)]
        await until(lambda: any(each["healed"].count for each in found))
        assert sum(each["found"].count for each in found) in (1, 2)


async def test_with_the_default_times_a_loss_is_healed_within_five_seconds() -> None:
    async with two(compare_every_s=3.0) as update, two(compare_every_s=3.0) as deletion:
        await update.lose(lambda: update.writer.write("!"))
        await deletion.lose(lambda: deletion.writer.erase(6))
        began = asyncio.get_running_loop().time()
        await until(lambda: update.are_equal and deletion.are_equal)
        assert asyncio.get_running_loop().time() - began < 5.0
        assert update.texts == ["hello world!"] * 2
        assert deletion.texts == ["world"] * 2


@pytest.mark.usefixtures("quick")
async def test_a_fifth_of_all_messages_lost_leaves_no_difference() -> None:
    """F09: digests, questions and answers are lost as well."""
    async with two() as pair:
        pair.network.loss = 0.2
        chance = random.Random(4)
        for number in range(200):
            if chance.random() < 0.3:
                pair.writer.erase(1)
            else:
                pair.writer.write(f"{number};")
            await asyncio.sleep(0)
        await pair.settled()
        await until(lambda: pair.are_equal)


@pytest.mark.usefixtures("quick")
async def test_equal_copies_agree_once_and_are_quiet_then() -> None:
    async with two() as pair:
        await until(lambda: all(room.divergence and room.divergence.equal for room in pair.rooms))
        await asyncio.sleep(3 * QUICK_S)
        for _ in range(3):
            pair.network.carried.clear()
            pair.writer.write("more")
            await until(lambda: pair.are_equal)
            await until(lambda: len(pair.network.carried) >= 3)
            await pair.quiet()
            assert pair.network.carried[0] is EnvelopeKind.UPDATE
            assert set(pair.network.carried[1:]) == {EnvelopeKind.DIGEST}
        assert not pair.here.metrics.divergences
        assert not pair.there.metrics.divergences


@pytest.mark.usefixtures("quick")
async def test_one_who_types_without_pause_is_no_divergence() -> None:
    async with two() as pair:
        for number in range(60):
            pair.writer.write(f"{number};")
            await asyncio.sleep(0.01)
        await pair.settled()
        await until(lambda: pair.are_equal)
        assert EnvelopeKind.SYNC_REQUEST not in pair.network.carried[20:]
        assert not pair.there.metrics.divergences


@pytest.mark.usefixtures("quick")
async def test_alone_with_a_document_a_task_soon_stops_to_tell_of_it() -> None:
    network = Lossy()
    async with house(network=network, compare_every_s=QUICK_S) as here, house(network=network):
        writer = Writer(here, await here.room())
        writer.write("hello")
        await until(lambda: network.carried.count(EnvelopeKind.DIGEST) > sentinel.ASK_UNHEARD)
        told = len(network.carried)
        await asyncio.sleep(4 * QUICK_S)
        assert len(network.carried) == told


@pytest.mark.usefixtures("quick")
async def test_a_copy_that_breaks_as_it_is_looked_at_is_rebuilt() -> None:
    async with two() as pair:
        here = pair.rooms[0]
        pair.writer.write("more")
        here._replica.forget()
        await until(lambda: pair.here.metrics.room_rebuilds["rebuilt"].count == 1)
        await until(lambda: pair.are_equal)


async def test_while_the_journal_is_away_a_room_holds_back_one_digest_and_one_answer() -> None:
    """F04: what waits for a commit would be gigabytes after an hour, and a burst at its end."""
    async with two() as pair:
        held_back = pair.rooms[0].sentinel._publication._waiting
        pair.here.journal.available = False
        pair.writer.write("!")
        for _ in range(3):
            pair.network.carried.clear()
            pair.rooms[1].greet_peers()
            await until(lambda: EnvelopeKind.SYNC_REQUEST in pair.network.carried)
        kinds = [envelope.kind for _ticket, envelope in held_back]
        assert {kind: kinds.count(kind) for kind in kinds} == dict.fromkeys(
            (EnvelopeKind.UPDATE, EnvelopeKind.DIGEST, EnvelopeKind.SYNC_REPLY), 1
        )
        pair.here.journal.available = True
        await until(lambda: pair.are_equal)


@pytest.mark.usefixtures("quick")
async def test_a_room_that_was_dropped_says_nothing_more_whatever_it_still_hears(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with two() as pair:
        _here, there = pair.rooms
        differs = Digest(Fingerprint(b"x" * HASH_BYTES, b"y" * HASH_BYTES), {9: 1}, asks=True).encode()
        envelope = Envelope(EnvelopeKind.DIGEST, there.document.channel, "third", differs)
        there.receive(envelope)
        monkeypatch.setattr(sentinel, "FORGET_AFTER_S", 0.0)
        there.sentinel._forget_silent()  # its look is due, though it counts as silent
        pair.there.registry._drop(there)
        said: list[Envelope] = []
        monkeypatch.setattr(pair.there.bus, "publish", said.append)
        there.receive(envelope)  # the bus may bring some more before the end of the subscription
        there.receive(Envelope(EnvelopeKind.UPDATE, there.document.channel, "third", TYPED))
        there.greet_peers()
        await asyncio.sleep(5 * QUICK_S)
        assert said == []


# Fingerprints


def edited(seed: int) -> list[bytes]:
    """Updates of three people who write and delete in texts, lists and maps."""
    chance, docs = random.Random(seed), [Doc() for _ in range(3)]
    updates: list[bytes] = []
    for _ in range(120):
        doc = chance.choice(docs)
        before = doc.get_state()
        text, items, values = doc.get("t", type=Text), doc.get("l", type=Array), doc.get("m", type=Map)
        with doc.transaction():
            what = chance.randrange(5)
            if what == 0 and len(str(text)) > 3:
                at = chance.randrange(len(str(text)) - 2)
                del text[at : at + 2]
            elif what == 1:
                values[chance.choice("abc")] = Text("nested")
            elif what == 2:
                items.append(chance.random())
            elif what == 3 and len(items):
                del items[chance.randrange(len(items))]
            else:
                text.insert(chance.randrange(len(str(text)) + 1), "word")
        updates.append(doc.get_update(before))
        if chance.random() < 0.3:
            for one, other in pairwise(docs):
                one.apply_update(other.get_update(one.get_state()))
                other.apply_update(one.get_update(other.get_state()))
    return updates


def print_of(updates: list[bytes]) -> tuple[bytes, bytes]:
    return Fingerprints(Replica.load(None, updates)).at(0)


@pytest.mark.parametrize("seed", range(10))
def test_the_way_to_a_state_does_not_change_its_fingerprint(seed: int) -> None:
    updates = edited(seed)
    straight = print_of(updates)
    shuffled = list(updates)
    random.Random(seed).shuffle(shuffled)
    assert print_of(shuffled) == straight
    half: Doc = Doc()
    for update in shuffled[:60]:
        half.apply_update(update)
    folded: Doc = Doc()
    for update in updates:
        folded.apply_update(update)
    assert print_of([*updates[:30], folded.get_update()]) == straight
    assert print_of(updates[:-40]) != straight
    assert UNKNOWN not in straight


def test_a_single_deletion_changes_the_fingerprint_of_deletes_alone() -> None:
    doc: Doc = Doc()
    text = doc.get("t", type=Text)
    text += "hello"
    before = print_of([doc.get_update()])
    del text[1]
    after = print_of([doc.get_update()])
    assert (after[0] == before[0], after[1] == before[1]) == (True, False)


def test_long_delete_sets_are_read_in_steps() -> None:
    for ranges in (1, 15, 16, 17, 300, 5_000):
        some = b"".join(bytes((0x80 | number % 128, 1 + number % 120, 1)) for number in range(ranges))
        counted = ranges.to_bytes(1, "big") if ranges < 128 else bytes((ranges & 127 | 128, ranges >> 7))
        sections = [b"\x05" + counted + some, b"\x07\x01\x02\x03"]
        one, other = b"\x02" + b"".join(sections), b"\x02" + b"".join(reversed(sections))
        assert hash_deletes(one + b"tail") == hash_deletes(other) != hash_deletes(b"\x01" + sections[0])
