"""The room's own copy of its document: a pycrdt `Doc` behind the firewall.

Nothing reaches the `Doc` unchecked, and nothing touches it again after it failed: a Rust panic or a partly applied
update leaves it unsafe (reading it may end the process). Belongs to one thread. Called by `room` only.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NoReturn

from pycrdt import Doc
from pycrdt import Snapshot as Moment

from collab_server.crash_note import CRASH_NOTE
from collab_server.firewall import UpdateGap, UpdateRefused, UpdateSummary, check_state_vector, check_update
from collab_server.rooms.snapshot import Snapshot
from collab_server.surrogates import SurrogatePairs
from collab_server.update_keys import KeyedValues
from collab_server.update_split import Clocks, Piece
from collab_server.watchdog import WATCHDOG
from collab_server.wire.lib0 import encode_state_vector
from persistence.replay import replay

# lib0 encoding of "no client, nothing known": what a client with an empty document sends.
EMPTY_STATE_VECTOR = b"\x00"
# Beyond this a document is kept in pieces: loading, splitting and encoding it would each take the loop too long (a copy
# of this size loads in 12 ms and encodes in 2).
BIG_DOCUMENT_BYTES = 256 * 1024


Judge = Callable[[Clocks, Mapping[int, int], int], None]
"""Whether an update may bring structs up to (client, clock) to a copy at these clocks; with its size in bytes."""


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

    __slots__ = (
        "_broken",
        "_doc",
        "_encoded",
        "_keyed",
        "_news",
        "_pairs",
        "_unencoded_bytes",
        "_waiting",
        "author",
        "clocks",
        "snapshot",
    )

    def __init__(self) -> None:
        self.snapshot: Snapshot | None = None
        self._unencoded_bytes = 0
        self._waiting: list[bytes] = []  # in the `Doc`, which integrates them as soon as it can, but not in `clocks`
        self._doc: Doc[Any] = Doc()
        self._encoded: bytes | None = None
        self._broken = False
        self._news = False
        self._pairs = SurrogatePairs()
        self.author = b""  # of the next update, for the crash note
        self._keyed = KeyedValues()
        self.clocks: dict[int, int] = {}

    @classmethod
    def load(cls, checkpoint: bytes | None, updates: Sequence[bytes]) -> Replica:
        """Rebuild a copy from storage. Journaled bytes have passed the firewall when they came in."""
        replica = cls()
        updates = tuple(updates)
        replica._unencoded_bytes = len(checkpoint or b"") + sum(map(len, updates))
        try:
            replica._doc = replay(checkpoint, updates)
            replica.clocks = check_state_vector(replica._doc.get_state())
            for update in (*([checkpoint] if checkpoint else ()), *updates):
                replica._pairs.learn(update)
                replica._keyed.learn(update)
        except BaseException as error:
            replica._fail(error)
        return replica

    def apply(self, update: bytes, judge: Judge | None = None, sure: int = -1) -> UpdateSummary | None:
        """Check and apply `update`, or what its summary says `instead`; return what it brought, `None` for no news.

        `judge` is called with the clocks of an update that brings structs, before anything is done with it; what it
        raises goes to the caller. Not for one that brings structs of the client `sure` alone: nine in ten.
        """
        if self._broken:
            raise ReplicaBroken
        WATCHDOG.feed_before(len(update))
        clocks = self.clocks
        summary = check_update(update, clocks)
        if summary.is_empty:
            return None
        has_pairs = self._pairs.check(update, clocks)
        update = summary.instead or update
        values = self._keyed.check(update, clocks) if summary.clocks else ()
        for client, end in summary.clocks:
            if clocks.get(client, 0) < end:
                if judge is not None and (client != sure or len(summary.clocks) != 1):
                    judge(summary.clocks, clocks, len(update))
                self._apply_structs(update, summary)
                if has_pairs:
                    self._pairs.learn(update)
                if values:
                    self._keyed.add(values)
                break
        else:
            if not self._apply_deletes(update):
                return None
        self._encoded = None
        if self.snapshot is not None:
            self._note(self.snapshot, update)
        else:
            self._grown(len(update))
        if self._waiting:
            self._look_at_waiting()
        return summary

    def load_piece(self, piece: Piece) -> None:
        """Take in the next piece of a big document from storage; `cut_up` was called before the first."""
        self._apply_piece(piece)
        if self.snapshot is not None:
            self.snapshot.add_piece(piece)

    def load_waiting(self, update: bytes) -> None:
        """Take in a stored update that waits for another one, as `load` does."""
        try:
            self._doc.apply_update(update)
        except BaseException as error:
            self._fail(error)
        self._waiting.append(update)
        self._keyed.learn(update)

    def _look_at_waiting(self) -> None:
        """Count and keep what waited and has been integrated with what just came: joiners get it from the snapshot."""
        waiting, self._waiting = self._waiting, []
        for update in waiting:
            try:
                summary = check_update(update, self.clocks)
            except UpdateGap:
                self._waiting.append(update)
                continue
            except UpdateRefused:  # not the fault of whoever sends now
                continue
            self._advance(summary.clocks)
            if self.snapshot is not None:
                self._note(self.snapshot, update)
        if len(self._waiting) < len(waiting):  # others may have waited for these
            self._look_at_waiting()

    def apply_piece(self, piece: Piece) -> bool:
        """Apply a piece of a checked update; say whether it was news. Raises `UpdateRefused` and `ReplicaBroken`."""
        if self._broken:
            raise ReplicaBroken
        WATCHDOG.feed_before(len(piece.update))  # a piece is short, unless it is one struct, which is never cut
        clocks = self.clocks
        if self._pairs:  # the worker that checked the rest does not know them
            self._pairs.check(piece.update, clocks)
        if piece.ends:
            self._keyed.check(piece.update, clocks)
        if not self.holds(piece.ends):
            self._apply_piece(piece)
        elif piece.ends or not self._apply_deletes(piece.update):
            return False
        self._encoded = None
        if self.snapshot is not None:
            self.snapshot.add_piece(piece)
        else:
            self._grown(len(piece.update))
        if self._waiting:
            self._look_at_waiting()
        return True

    def _note(self, snapshot: Snapshot, update: bytes) -> None:
        try:
            snapshot.add(update)
        except BaseException as error:
            self._fail(error)

    def cut_up(self) -> None:
        """Keep the document in pieces from now on; the first is all there is now.

        To be called before it gets big, while encoding it takes a few milliseconds at most.
        """
        if self.snapshot is None:
            # Without clocks, so that everybody gets it: it holds deletes too.
            self.snapshot = Snapshot([Piece(self.diff(EMPTY_STATE_VECTOR), (), ())] if self.clocks else ())
            self._encoded = None

    def _grown(self, size_bytes: int) -> None:
        """Note that `size_bytes` were applied. What was deleted since does not count, which only encoding tells."""
        self._unencoded_bytes += size_bytes
        if self._unencoded_bytes > BIG_DOCUMENT_BYTES:
            self._unencoded_bytes = len(self.diff(EMPTY_STATE_VECTOR))
            if self._unencoded_bytes > BIG_DOCUMENT_BYTES / 2:
                self.cut_up()

    def check_whole(self, clocks: dict[int, int]) -> None:
        """Fail unless the pieces have made a document of exactly these clocks."""
        try:
            held = check_state_vector(self._doc.get_state())
        except BaseException as error:
            self._fail(error)
        if held != clocks:
            self._fail(ValueError("the pieces make another document"))

    def holds_structs_of(self, update: bytes) -> bool:
        """Whether every struct of `update` is here. Applies nothing. Raises `UpdateRefused` or `UpdateGap`."""
        return self.holds(check_update(update, self.clocks).clocks)

    def holds(self, ends: Clocks) -> bool:
        """Whether every struct below `ends` is here."""
        clocks = self.clocks
        return all(clocks.get(client, 0) >= end for client, end in ends)

    def ahead_of(self, known: Mapping[int, int]) -> int:
        """How many operations one who holds `known` lacks."""
        return sum(max(0, end - known.get(client, 0)) for client, end in self.clocks.items())

    def _apply_structs(self, update: bytes, summary: UpdateSummary) -> None:
        """Apply one update in one transaction.

        This is `Doc.apply_update` without its wrappers, which cost as much as the CRDT's own work on a keystroke. After
        a failure the transaction is let go of with the Doc.
        """
        CRASH_NOTE.begin(self.author, update)
        try:
            doc = self._doc._doc
            transaction = doc.create_transaction()
            doc.apply_update(transaction, update)
            transaction.commit()
            transaction.drop()
        except BaseException as error:
            self._fail(error)
        CRASH_NOTE.end()
        self._advance(summary.clocks)

    def _apply_piece(self, piece: Piece) -> None:
        CRASH_NOTE.begin(self.author, piece.update)
        try:
            self._doc.apply_update(piece.update)
        except BaseException as error:
            self._fail(error)
        CRASH_NOTE.end()
        self._pairs.add(piece.pairs)
        self._keyed.learn(piece.update)
        self._advance(piece.ends)

    def _advance(self, ends: Clocks) -> None:
        clocks = self.clocks
        for client, end in ends:
            if clocks.get(client, 0) < end:
                clocks[client] = end

    def _apply_deletes(self, update: bytes) -> bool:
        """Apply an update whose structs are all known; say whether its delete set brought news.

        Only an observer can tell, and it makes long runs slow, so it is attached for just these updates: the delete set
        that comes with every reconnect is neither journaled nor relayed again.
        """
        self._news = False
        CRASH_NOTE.begin(self.author, update)
        try:
            subscription = self._doc.observe(self._observed)
            self._doc.apply_update(update)
            self._doc.unobserve(subscription)  # not after a failure: the Doc must not be touched then
        except BaseException as error:
            self._fail(error)
        CRASH_NOTE.end()
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

    def delete_set(self) -> bytes:
        """All that was deleted, encoded, and something behind it. The order of clients is not always the same."""
        if self._broken:
            raise ReplicaBroken
        try:
            return Moment.from_doc(self._doc).encode()
        except BaseException as error:
            self._fail(error)

    def diffs(self, state_vector: bytes) -> list[bytes]:
        """The same in as many updates as a big document takes."""
        if self.snapshot is None:
            return [self.diff(state_vector)]
        return self.snapshot.updates_for(check_state_vector(state_vector))

    @property
    def encoded_bytes(self) -> int | None:
        """Size of the full state, if it is known without encoding it."""
        if self.snapshot is not None:
            return self.snapshot.size_bytes
        return None if self._encoded is None else len(self._encoded)

    def become(self, fresh: Replica) -> None:
        """Hold what `fresh` holds, which is not to be used any more; the broken copy is let go of untouched."""
        for name in Replica.__slots__:
            setattr(self, name, getattr(fresh, name))

    def forget(self) -> None:
        """Make every later use fail."""
        self._broken = True

    def _fail(self, error: BaseException) -> NoReturn:
        """Turn any failure inside the CRDT into `ReplicaBroken`.

        Even an ordinary exception after the firewall has passed (InvalidParent, say) may have applied half an update.
        """
        CRASH_NOTE.end()
        if not is_crdt_failure(error):
            raise error
        self.forget()
        raise ReplicaBroken(type(error).__name__) from error
