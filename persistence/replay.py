"""Rebuilding a document from a checkpoint and updates in any order.

Called by the fold (in a worker process) and by the room's replica, on bytes that passed the firewall when they came in.
It must not rely on the order of rows: tasks commit on their own, so a row may stand before one it builds on.
"""

from collections.abc import Sequence
from typing import Any

from pycrdt import Doc


class ReplayFailed(Exception):
    """The CRDT refused an update; `index` is its place in `updates`, None for the checkpoint. Names no content."""

    def __init__(self, index: int | None, error: Exception) -> None:
        # The text of a decoding error may quote the bytes; its class is enough to tell one from another.
        super().__init__(f"{'the checkpoint' if index is None else f'update {index}'}: {type(error).__name__}")
        self.index = index
        self.kind = type(error).__name__


def replay(checkpoint: bytes | None, updates: Sequence[bytes]) -> Doc[Any]:
    """A new document that holds `checkpoint` (a Yjs v1 update) and every one of `updates` that can be integrated.

    Each pass applies all updates in one transaction (20,000 take 30 ms), and a last pass finds nothing left to do.
    yrs 0.28 needs it: of an update that was set aside because another was missing, it can forget to try the rest
    once that other one has come (A and B wait for C, B builds on A: after A, B, C in this order B is left out).
    Known structs cost little. What yrs refuses within one transaction it may take one by one, as it took it from the
    clients: then that is done. Raises ReplayFailed, or pyo3's PanicException.
    """
    try:
        return _replay_together(checkpoint, updates)
    except ReplayFailed as failure:
        if failure.index is None:
            raise
    return _replay_one_by_one(checkpoint, updates)  # in a new document: the failed one is unusable


def _replay_together(checkpoint: bytes | None, updates: Sequence[bytes]) -> Doc[Any]:
    document: Doc[Any] = Doc()
    if checkpoint is not None:
        _apply(document, checkpoint, None)
    held = document.get_state()
    while updates:
        with document.transaction():
            for index, update in enumerate(updates):
                _apply(document, update, index)
        if (holds := document.get_state()) == held:
            break
        held = holds
    return document


def _replay_one_by_one(checkpoint: bytes | None, updates: Sequence[bytes]) -> Doc[Any]:
    """Each update in a transaction of its own; what fails is tried again after the others."""
    document: Doc[Any] = Doc()
    if checkpoint is not None:
        _apply(document, checkpoint, None)
    held = b""
    while (holds := document.get_state()) != held:
        held = holds
        failures = []
        for index, update in enumerate(updates):
            try:
                _apply(document, update, index)
            except ReplayFailed as failure:
                failures.append(failure)
    if failures:
        raise failures[0]
    return document


def _apply(document: Doc[Any], update: bytes, index: int | None) -> None:
    try:
        document.apply_update(update)
    except (ValueError, RuntimeError) as error:
        raise ReplayFailed(index, error) from error
