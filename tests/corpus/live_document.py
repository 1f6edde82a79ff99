"""A document behind the firewall, kept as a room keeps it, that cries out when the two disagree about an update."""

from __future__ import annotations

from pycrdt import Doc, Text

from collab_server.firewall import UpdateGap, UpdateRefused, check_state_vector, check_update
from collab_server.surrogates import SurrogatePairs
from collab_server.update_keys import KeyedValues


class Disagreement(AssertionError):
    """The CRDT failed on, or set aside, what the firewall let through. The message has the update in hex."""


class LiveDocument:
    """Holds the updates it was offered and took. `known` is what a room would call its clocks."""

    def __init__(self, *updates: bytes) -> None:
        self._journal: list[bytes] = []
        self.known: dict[int, int] = {}
        self._doc: Doc[object] = Doc()
        self._pairs = SurrogatePairs()
        self._keyed = KeyedValues()
        for update in updates:
            assert self.offer(update) == "applied"

    def offer(self, update: bytes) -> str:
        """What became of `update`: "applied", "gap", "invalid_parent", or the reason for its refusal."""
        try:
            summary = check_update(update, self.known)
            self._pairs.check(update, self.known)
            update = summary.instead or update
            values = self._keyed.check(update, self.known) if summary.clocks else ()
        except UpdateGap:
            return "gap"
        except UpdateRefused as refused:
            return refused.reason
        try:
            self._doc.apply_update(update)
        except RuntimeError:  # only the document can tell that a parent is no type: rooms rebuild then
            self._rebuild()
            return "invalid_parent"
        except BaseException as error:
            raise Disagreement(f"{type(error).__name__} on {update.hex()} at {self.known}") from error
        self._journal.append(update)
        self._pairs.learn(update)
        self._keyed.add(values)
        for client, end in summary.clocks:
            self.known[client] = max(end, self.known.get(client, 0))
        if check_state_vector(self._doc.get_state()) != self.known:
            raise Disagreement(f"set aside: {update.hex()} at {self.known}")
        return "applied"

    def text(self, name: str) -> str:
        """What the text of that name reads."""
        return str(self._doc.get(name, type=Text))

    def verify(self) -> None:
        """A fresh document built from this one's state knows as much: it can still be sent and stored."""
        fresh: Doc[object] = Doc()
        fresh.apply_update(self._doc.get_update())
        if check_state_vector(fresh.get_state()) != self.known:
            raise Disagreement("the encoded state is not the whole state")

    def _rebuild(self) -> None:
        self._doc = Doc()
        # One transaction each: a parent that is no type is tolerated once it was deleted and collected, not before.
        for update in self._journal:
            self._doc.apply_update(update)
