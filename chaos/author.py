"""One writer's copy of a document: it types and deletes tokens, and knows which of its messages carry which edits.

Random places are always between two tokens, so whatever is cut in two was cut by the server. Only own tokens are
deleted. Does no I/O. Called by `writer`.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from pycrdt import Doc, Text, TransactionEvent

from chaos import wire
from chaos.checker import Replica
from chaos.ledger import TOKEN, WIDTH, WIDTH_UTF8, Told, token

DELETED_SHARE = 0.1
NOTHING_KNOWN = b"\0"


@dataclass(frozen=True, slots=True)
class Sent:
    """One sync message of ours: which step it is, its update, and the insertions and deletions in it."""

    step: int
    update: bytes
    tokens: frozenset[str]
    deletions: frozenset[str]


class Author:
    """A copy of one document. `note` is told what is sent and what is durable."""

    def __init__(
        self, writer: int, numbers: Iterator[int], chance: random.Random, note: Callable[[Told], None]
    ) -> None:
        self._writer = writer
        self._numbers = numbers
        self._chance = chance
        self._note = note
        self._doc: Doc[Any] = Doc()
        self._text = self._doc.get("content", type=Text)
        self._standing: list[str] = []  # own tokens that may still be deleted
        self._unconfirmed: set[str] = set()
        self._unconfirmed_deletions: set[str] = set()
        self._made: list[bytes] = []
        self._editing = False
        self._subscription = self._doc.observe(self._keep)

    def edit(self) -> Sent:
        """Insert a token at a random place, or delete one of ours."""
        if len(self._standing) > 1 and self._chance.random() < DELETED_SHARE:
            return self._delete()
        name = token(self._writer, next(self._numbers))
        place = self._chance.randint(0, len(self._text) // WIDTH_UTF8) * WIDTH_UTF8
        update = self._change(lambda: self._text.insert(place, name))
        self._standing.append(name)
        self._unconfirmed.add(name)
        self._note(Told(sent=(name,)))
        return Sent(wire.UPDATE, update, frozenset((name,)), frozenset())

    def _delete(self) -> Sent:
        name = self._standing.pop(self._chance.randrange(len(self._standing)))
        place = str(self._text).index(name) // WIDTH * WIDTH_UTF8
        update = self._change(lambda: self._text.__delitem__(slice(place, place + WIDTH_UTF8)))
        self._unconfirmed_deletions.add(name)
        self._note(Told(deleted=(name,)))
        return Sent(wire.UPDATE, update, frozenset(), frozenset((name,)))

    def _change(self, change: Callable[[], None]) -> bytes:
        self._editing = True
        change()
        self._editing = False
        return self._made.pop()

    def _keep(self, event: TransactionEvent) -> None:
        if self._editing:
            self._made.append(event.update)

    def hello(self) -> bytes:
        """What this copy holds, as a state vector."""
        return self._doc.get_state()

    def answer(self, state_vector: bytes) -> Sent:
        """What the other side lacks. Deletions are all in it; insertions are what can be read in its bytes."""
        update = self._doc.get_update(state_vector)
        carried = set(TOKEN.findall(update.decode(errors="replace")))
        return Sent(
            wire.SYNC_STEP_2,
            update,
            frozenset(self._unconfirmed & carried),
            frozenset(self._unconfirmed_deletions),
        )

    def take(self, update: bytes) -> None:
        """Take what came from others."""
        self._doc.apply_update(update)

    def confirmed(self, sent: Sent) -> None:
        """The server said that this message is durable."""
        tokens = self._unconfirmed & sent.tokens
        deletions = self._unconfirmed_deletions & sent.deletions
        self._unconfirmed -= tokens
        self._unconfirmed_deletions -= deletions
        self._note(Told(acknowledged=tuple(tokens), deletions_acknowledged=tuple(deletions)))

    def replica(self, name: str) -> Replica:
        """This copy, for the checker."""
        return Replica(name, str(self._text), wire.read_state(self._doc.get_state()))
