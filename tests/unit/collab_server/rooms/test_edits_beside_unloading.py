"""F22: people come, type and leave while rooms are checkpointed, dropped, reloaded, and the journal comes and goes.

Whoever opens a document is shown every edit that this process has taken before, and none is missing in the end.
"""

from __future__ import annotations

import asyncio
import dataclasses
import random
from collections.abc import Sequence

import pytest
from pycrdt import Doc, Text
from structlog.testing import capture_logs

from collab_server.errors import Refused
from collab_server.rooms import registry as registry_module
from collab_server.rooms import triggers as triggers_module
from collab_server.wire.messages import Update
from persistence import recorder as recorder_module
from persistence.journal import JournalEntry
from persistence.journal_memory import MemoryJournal
from tests.unit.collab_server.rooms.parts import RULES, House, house, until

DOCUMENTS = ("one", "two", "three", "four")
WRITERS = 8
COMMIT_S = 0.01
LOADS, EDITS = 16, 100  # so often a room is opened anew, so much is typed: then it was a test
EAGER = dataclasses.replace(RULES, grace_s=0, checkpoint_after_updates=7, checkpoint_after_s=0.02)


class SlowJournal(MemoryJournal):
    """Commits take as long as on a busy disk: long enough for a room to be dropped and opened again."""

    async def append(self, entries: Sequence[JournalEntry]) -> None:
        await asyncio.sleep(COMMIT_S)
        await super().append(entries)


class Writer:
    """A person with one document; `taken` is how much of it the server has."""

    def __init__(self, client_id: int, document: str) -> None:
        self.document = document
        self.client_id = client_id
        self.taken = 0
        self._doc: Doc[Text] = Doc(client_id=client_id)
        self._text = self._doc.get("content", type=Text)

    def next_edit(self) -> bytes:
        before = self._doc.get_state()
        self._text.insert(len(self._text), "x")
        return self._doc.get_update(before)


async def visit(at: House, writer: Writer, writers: list[Writer], chance: random.Random) -> None:
    """Come, look, type a little, leave."""
    taken = {other.client_id: other.taken for other in writers if other.document == writer.document and other.taken}
    try:
        room = await at.room(writer.document)
    except Refused:  # the journal is away, and the room was dropped
        return
    held = room.clocks
    assert {client: held.get(client, 0) for client in taken if held.get(client, 0) < taken[client]} == {}
    person = at.join(room)
    for _ in range(chance.randrange(4)):
        if person.refusals:  # the room was reloaded: its members are gone
            break
        person.send(Update(writer.next_edit()))
        writer.taken += 1
        await asyncio.sleep(chance.choice((0, 0, 0.001, 0.004)))
    room.leave(person.member)
    at.registry.release(room)


async def disturb(at: House, chance: random.Random) -> None:
    """Checkpoint, reload, and take the journal away."""
    while True:
        await asyncio.sleep(chance.uniform(0, 0.04))
        rooms = list(at.registry.rooms.values())
        match chance.randrange(4):
            case 0 if rooms:
                await at.registry.checkpoint(chance.choice(rooms))
            case 1 if rooms and chance.random() < 0.2:
                chance.choice(rooms).reload()
            case 2:
                at.journal.available = False
                await asyncio.sleep(chance.uniform(0, 0.03))
                at.journal.available = True


@pytest.mark.parametrize("seed", [1, 2, 3])
async def test_no_edit_is_lost_beside_checkpoints_unloading_reloading_and_outages(
    monkeypatch: pytest.MonkeyPatch, seed: int
) -> None:
    monkeypatch.setattr(registry_module, "HOUSEKEEPING_EVERY_S", 0.003)
    monkeypatch.setattr(triggers_module, "RETRY_FIRST_S", 0.01)
    monkeypatch.setattr(triggers_module, "RETRY_CAP_S", 0.01)
    monkeypatch.setattr(recorder_module, "BACKOFF_CAP_S", 0.01)
    with capture_logs():  # hundreds of tracebacks, which take longer to print than all the rest
        await hammer(random.Random(seed))


async def hammer(chance: random.Random) -> None:
    writers = [Writer(number + 1, DOCUMENTS[number % 4]) for number in range(WRITERS)]
    async with house(EAGER, journal_kind=SlowJournal) as at:
        disturbing = asyncio.create_task(disturb(at, chance))

        def loads() -> float:
            return at.metrics.registry.get_sample_value("collab_room_load_seconds_count") or 0.0

        async def keep_visiting(writer: Writer) -> None:
            while loads() < LOADS or sum(each.taken for each in writers) < EDITS:
                await visit(at, writer, writers, chance)
                await asyncio.sleep(chance.choice((0.002, 0.02, 0.1)))

        async with asyncio.timeout(50):
            await asyncio.gather(*(keep_visiting(writer) for writer in writers))
        disturbing.cancel()
        await asyncio.wait([disturbing])
        at.journal.available = True
        await until(lambda: not at.registry.rooms)  # all are stored, and nothing but storage knows of them
        for document in DOCUMENTS:
            room = await at.room(document)
            assert room.clocks == {writer.client_id: writer.taken for writer in writers if writer.document == document}
