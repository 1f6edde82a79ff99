"""Four people writing one text together, keystroke by keystroke: a generated trace, not a recorded one.

Each has a replica of the document that learns what the others wrote `LAG_S` later, as over a slow line, and edits what
it sees: types words at 5 to 9 characters a second, pauses between sentences, mistypes and deletes again, deletes a word
in one go, and moves elsewhere in the text. No server may be more than `LAG_S` late, or it would be sent an edit before
what it builds on. Deterministic. Called by `plans`.
"""

from __future__ import annotations

import random

from pycrdt import Doc, Text

from bench.peers.edits import DELETED, TYPED, Edit, client_ids, recorded
from collab_server.update_reading import read_update

LAG_S = 1.0
WRITERS = 4
SEED = 20
PASSAGES = (
    "We met twice this week to settle what the first release must hold. Nobody wants to wait for the search to be done "
    "before people can write together, so it comes later. What cannot come later is the history: whoever opens a page "
    "must be able to see how it came to be, and go back. ",
    "The harbour is quiet in the morning. Two boats lie at the outer wall, one of them with its sails still wet from "
    "the night. A man sweeps the steps in front of the office and does not look up when the first lorry comes down "
    "the road with ice for the market. ",
    "Put the flour in a bowl and make a hollow in the middle. Pour in the warm milk with the yeast, cover it with a "
    "cloth and leave it where it is warm until it has doubled. Then knead in the butter, a piece at a time, and do not "
    "hurry: the dough must come off the bowl by itself. ",
    "For the second experiment the sensor was moved closer to the wall. The readings became steadier but lower, which "
    "we had not expected; a check with the older instrument gave the same. We therefore think that the air near the "
    "window is what disturbed the first series, and repeat it in the cellar. ",
)


class Person:
    """One writer: a replica, a caret, and a hand that decides what comes next."""

    def __init__(self, number: int, client: int) -> None:
        self.client = client
        self.random = random.Random(SEED + number)
        self.doc: Doc[Text]
        self.doc, self.text, self.updates = recorded(client)
        self._words = iter((PASSAGES[number] * 20).split(" "))
        self._pending: list[str] = []  # keys still to be pressed; \b deletes
        self._caret = 0
        self.next_s = 0.2 + number * 0.3

    def press(self) -> None:
        """Press the next key."""
        if not self._pending:
            self._decide()
        key = self._pending.pop(0)
        self._caret = min(self._caret, len(self.text))
        if key == "\b" and self._caret > 0:
            del self.text[self._caret - 1]
            self._caret -= 1
        elif key == "\f" and self._caret > 8:
            del self.text[self._caret - 8 : self._caret]
            self._caret -= 8
        elif key not in "\b\f":
            self.text.insert(self._caret, key)
            self._caret += 1
        self.next_s += self._pause(key)

    def _decide(self) -> None:
        chance = self.random.random()
        word = next(self._words) + " "
        if chance < 0.10 and len(word) > 3:  # a slip, noticed two keys later
            self._pending = [word[0], "q", word[1], "\b", "\b", *word[1:]]
        elif chance < 0.13:
            self._pending = ["\f", *word]
        else:
            self._pending = list(word)
        if chance > 0.92:
            self._caret = self.random.randrange(len(self.text) + 1)

    def _pause(self, key: str) -> float:
        pause = self.random.uniform(0.11, 0.2)
        if key == ".":
            pause += self.random.uniform(0.3, 0.9)
        return pause

    def learn(self, update: bytes) -> None:
        """What somebody else wrote has arrived. The caret keeps its number: it only must be in the text."""
        self.doc.apply_update(update)
        self.updates.clear()


def people_typing(seconds: float) -> list[Edit]:
    """The edits of everybody in `seconds`, members 0 to 3, in the order they were made."""
    people = [Person(number, client) for number, client in enumerate(client_ids(WRITERS))]
    edits: list[Edit] = []
    learnt = 0  # edits that everybody has
    while (now := people[member := _next(people)].next_s) < seconds:
        while learnt < len(edits) and edits[learnt].due_s + LAG_S <= now:
            for other in range(WRITERS):
                if other != edits[learnt].member:
                    people[other].learn(edits[learnt].body)
            learnt += 1
        people[member].press()
        if people[member].updates:
            edits.append(_edit(now, member, people[member].updates.pop()))
    return edits


def _next(people: list[Person]) -> int:
    return min(range(WRITERS), key=lambda number: people[number].next_s)


def _edit(due_s: float, member: int, update: bytes) -> Edit:
    structs, deletes = read_update(update)
    if structs:
        return Edit(due_s, member, update, structs[0].client, structs[0].clock, TYPED)
    return Edit(due_s, member, update, deletes[0].client, deletes[0].clock, DELETED)
