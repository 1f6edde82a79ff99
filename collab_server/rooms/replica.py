"""The room's own copy of its document: a pycrdt `Doc` behind the firewall.

Nothing reaches the `Doc` unchecked, and nothing touches it again after it failed: a Rust panic or a partly applied
update leaves it unsafe (reading it may end the process). Belongs to one thread. Called by `room` only.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NoReturn

from pycrdt import Doc

from collab_server.firewall import UpdateSummary, check_state_vector, check_update
from collab_server.surrogates import SurrogatePairs
from collab_server.watchdog import WATCHDOG
from collab_server.wire.lib0 import encode_state_vector
from persistence.replay import replay

# lib0 encoding of "no client, nothing known": what a client with an empty document sends.
EMPTY_STATE_VECTOR = b"\x00"


class ReplicaBroken(Exception):
    """The copy failed and must not be used again: rebuild it from storage."""


def is_crdt_failure(error: BaseException) -> bool:
    """Whether `error` tells of the CRDT, and not of this process being asked to end.

    A `PanicException` of the Rust side derives from `BaseException` and cannot be imported: it is told by its name.
    """
    return isinstance(error, Exception) or type(error).__name__ == "PanicException"


class Replica:
    """A document state that grows by updates.

    `clocks` maps each client id to the number of its operations this copy holds: the state vector, kept up to date here
    because asking the `Doc` costs more than an update. `apply` raises `UpdateRefused` or `UpdateGap` (nothing happened)
    or `ReplicaBroken` (this copy is lost).
    """

    __slots__ = ("_broken", "_doc", "_encoded", "_news", "_pairs", "clocks")

    def __init__(self) -> None:
        self._doc: Doc[Any] = Doc()
        self._encoded: bytes | None = None
        self._broken = False
        self._news = False
        self._pairs = SurrogatePairs()
        self.clocks: dict[int, int] = {}

    @classmethod
    def load(cls, checkpoint: bytes | None, updates: Sequence[bytes]) -> Replica:
        """Rebuild a copy from storage. Journaled bytes have passed the firewall when they came in."""
        replica = cls()
        try:
            replica._doc = replay(checkpoint, updates)
            replica.clocks = check_state_vector(replica._doc.get_state())
            for update in (*([checkpoint] if checkpoint else ()), *updates):
                replica._pairs.learn(update)
        except BaseException as error:
            replica._fail(error)
        return replica

    def apply(self, update: bytes) -> UpdateSummary | None:
        """Check and apply `update`; return what it brought, or `None` when everything in it was known already."""
        if self._broken:
            raise ReplicaBroken
        WATCHDOG.feed_before(len(update))
        clocks = self.clocks
        summary = check_update(update, clocks)
        if summary.is_empty:
            return None
        has_pairs = self._pairs.check(update, clocks)
        for client, end in summary.clocks:
            if clocks.get(client, 0) < end:
                self._apply_structs(update, summary)
                if has_pairs:
                    self._pairs.learn(update)
                break
        else:
            if not self._apply_deletes(update):
                return None
        self._encoded = None
        return summary

    def holds_structs_of(self, update: bytes) -> bool:
        """Whether every struct of `update` is here. Applies nothing. Raises `UpdateRefused` or `UpdateGap`."""
        clocks = self.clocks
        return all(clocks.get(client, 0) >= end for client, end in check_update(update, clocks).clocks)

    def _apply_structs(self, update: bytes, summary: UpdateSummary) -> None:
        try:
            self._doc.apply_update(update)
        except BaseException as error:
            self._fail(error)
        clocks = self.clocks
        for client, end in summary.clocks:
            if clocks.get(client, 0) < end:
                clocks[client] = end

    def _apply_deletes(self, update: bytes) -> bool:
        """Apply an update whose structs are all known; say whether its delete set brought news.

        Only an observer can tell, and it makes long runs slow, so it is attached for just these updates: the delete set
        that comes with every reconnect is neither journaled nor relayed again.
        """
        self._news = False
        try:
            subscription = self._doc.observe(self._observed)
            self._doc.apply_update(update)
            self._doc.unobserve(subscription)  # not after a failure: the Doc must not be touched then
        except BaseException as error:
            self._fail(error)
        return self._news

    def _observed(self, _event: object) -> None:
        self._news = True

    def state_vector(self) -> bytes:
        """The state vector in Yjs encoding."""
        return encode_state_vector(self.clocks)

    def diff(self, state_vector: bytes) -> bytes:
        """Everything a peer at `state_vector` lacks, as one update.

        The full state is encoded once and reused until the document changes: a join storm costs one encode.
        """
        if self._broken:
            raise ReplicaBroken
        if state_vector != EMPTY_STATE_VECTOR:
            check_state_vector(state_vector)
        elif self._encoded is not None:
            return self._encoded
        try:
            update: bytes = self._doc.get_update(state_vector)
        except BaseException as error:
            self._fail(error)
        if state_vector == EMPTY_STATE_VECTOR:
            self._encoded = update
        return update

    @property
    def encoded_bytes(self) -> int | None:
        """Size of the full state, if it is known without encoding it."""
        return None if self._encoded is None else len(self._encoded)

    def forget(self) -> None:
        """Make every later use fail."""
        self._broken = True

    def _fail(self, error: BaseException) -> NoReturn:
        """Turn any failure inside the CRDT into `ReplicaBroken`.

        Even an ordinary exception after the firewall has passed (InvalidParent, say) may have applied half an update.
        """
        if not is_crdt_failure(error):
            raise error
        self.forget()
        raise ReplicaBroken(type(error).__name__) from error
