"""A document of several pieces, and people who send and join it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from pycrdt import Doc, Text

from collab_server.big_work import BOUNDS
from collab_server.firewall import check_state_vector
from collab_server.rooms.room import Room
from collab_server.wire.messages import Message, SyncStep1, SyncStep2, Update
from tests.services.big_documents import big_document
from tests.unit.collab_server.rooms.parts import House, Person, until

BIG = big_document(400_000)  # below what makes a checkpoint due
LARGEST_STEP_BYTES = 2 * BOUNDS.max_bytes


def document(updates: Iterable[bytes]) -> Doc[Any]:
    doc: Doc[Any] = Doc()
    for update in updates:
        doc.apply_update(update)
    return doc


def updates_in(messages: Iterable[Message]) -> list[bytes]:
    return [message.update for message in messages if isinstance(message, Update | SyncStep2)]


def clocks_of(update: bytes) -> dict[int, int]:
    return check_state_vector(document([update]).get_state())


def joined(house: House, room: Room, state_vector: bytes = b"\x00") -> Person:
    """Someone who has just joined and knows that much."""
    person = house.join(room)
    person.send(SyncStep1(state_vector))
    return person


def typed(words: str) -> bytes:
    doc: Doc[Any] = Doc()
    doc.get("content", type=Text).insert(0, words)
    return doc.get_update()


async def uploaded(house: House, room: Room) -> Person:
    """The one who brought the big document, once all of it is taken in."""
    author = house.join(room)
    author.send(Update(BIG))
    await until(lambda: author.transport.pauses == [True, False])
    assert not author.refusals
    return author
