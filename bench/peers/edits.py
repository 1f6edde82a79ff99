"""What the members type: real Yjs updates, made before the clock runs, each of them sound in the order it is sent.

A writer has a client id of its own and types behind its own last character, as people do who each have a line: the
updates of different writers need nothing of each other, so no server can see a gap whatever order they arrive in.
Deterministic. Called by `scenarios`.
"""

from __future__ import annotations

import random
from typing import NamedTuple

from pycrdt import Doc, Text

from bench.peers.dialects import awareness_entry

ROOT = "content"
LETTERS = "etaoin shrdlu cumfwyp "


class Edit(NamedTuple):
    """One message of one member: `body` is an update, or awareness entries.

    `key` tells which it is where it comes out again: the client, the clock, and whether that clock is of a character
    typed, one deleted or a cursor.
    """

    due_s: float
    member: int
    body: bytes
    client: int
    clock: int
    kind: str


TYPED, DELETED, CURSOR = "typed", "deleted", "cursor"


def client_ids(count: int) -> list[int]:
    """Ids as Yjs draws them, from 32 bits, but always the same."""
    return random.Random(count).sample(range(2**31, 2**32), count)


def recorded(client: int) -> tuple[Doc[Text], Text, list[bytes]]:
    """A document of `client`, its text, and the list that each transaction's update is added to."""
    doc: Doc[Text] = Doc(client_id=client)
    text = doc.get(ROOT, type=Text)
    updates: list[bytes] = []
    doc.observe(lambda event: updates.append(event.update))
    return doc, text, updates


def typed_line(client: int, count: int) -> list[bytes]:
    """`count` updates of one character each, every one behind the last."""
    _doc, text, updates = recorded(client)
    for number in range(count):
        text.insert(number, LETTERS[number % len(LETTERS)])
    return updates


def typing(member: int, client: int, rate_per_s: float, seconds: float, phase: float = 0.0) -> list[Edit]:
    """One member typing evenly; `phase`, from 0 to 1, shifts it within the time between two keystrokes."""
    count = int(rate_per_s * seconds)
    return [
        Edit((number + phase) / rate_per_s, member, update, client, number, TYPED)
        for number, update in enumerate(typed_line(client, count))
    ]


def moving(member: int, client: int, rate_per_s: float, seconds: float, phase: float = 0.0) -> list[Edit]:
    """One member's cursor moving evenly, as y-prosemirror and its like tell it: a name, a colour, two positions."""
    found = []
    for number in range(int(rate_per_s * seconds)):
        place = f'{{"type":null,"tname":"{ROOT}","item":{{"client":{client},"clock":{number}}},"assoc":0}}'
        state = (
            f'{{"user":{{"name":"Member {member}","color":"#30bced"}},"cursor":{{"anchor":{place},"head":{place}}}}}'
        )
        entry = awareness_entry(client, number + 1, state.encode())
        found.append(Edit((number + phase) / rate_per_s, member, entry, client, number + 1, CURSOR))
    return found


def pasted(client: int, total_bytes: int, piece_bytes: int) -> list[bytes]:
    """A long document written in pieces, one update each."""
    _doc, text, updates = recorded(client)
    piece = (LETTERS * (piece_bytes // len(LETTERS) + 1))[:piece_bytes]
    for number in range(total_bytes // piece_bytes):
        text.insert(number * piece_bytes, piece)
    return updates
