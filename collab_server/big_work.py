"""The work on big documents that would stall the event loop: what runs in a worker process, and only there.

`Sandbox` calls it, with bytes and plain values in and out. The check of an update is the firewall's, only elsewhere;
the CRDT sees nothing here that has not passed it. Called by `rooms.offload`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from collab_server.firewall import UpdateGap, check_state_vector, check_update
from collab_server.surrogates import SurrogatePairs
from collab_server.update_format import UpdateRefused
from collab_server.update_reading import Id
from collab_server.update_split import Bounds, Clocks, split_update
from persistence.replay import replay
from persistence.state_vectors import covers, decode

# A piece takes the loop 1 to 4 ms (measured on 20 MB of edits), and several times that on a busy machine.
BOUNDS = Bounds(max_bytes=32 * 1024, max_structs=2_000, max_deletes=1_000)

PlainPiece = tuple[bytes, Clocks, Clocks, tuple[Id, ...]]
"""A `Piece` as it crosses the pipe."""


@dataclass(frozen=True, slots=True)
class Checked:
    """An update that may be taken in by `pieces`; or why not: `refused` is the firewall's reason, `gap` what it needs
    (client, clock)."""

    pieces: tuple[PlainPiece, ...] = ()
    refused: str | None = None
    gap: tuple[int, int] | None = None


@dataclass(frozen=True, slots=True)
class Folded:
    """One state in `pieces`. `waiting` are the updates (by index) that build on something that is not here."""

    pieces: tuple[PlainPiece, ...]
    clocks: Clocks
    size_bytes: int
    waiting: tuple[int, ...]


def check_and_split(update: bytes, known: Mapping[int, int]) -> Checked:
    """What a room that holds `known` (client → end clock) shall do with `update`."""
    try:
        summary = check_update(update, known)
        SurrogatePairs().check(update, known)
    except UpdateGap as gap:
        return Checked(gap=(gap.client, gap.clock))
    except UpdateRefused as refusal:
        return Checked(refused=refusal.reason)
    return Checked(_plain(summary.instead or update, known))


def try_out(checkpoint: bytes | None, updates: Sequence[bytes], update: bytes) -> Checked:
    """Whether the stored document takes `update`, which was refused once, and can still be read and stored then.

    The pieces are for a room that holds what is stored. Raises, or ends this process, when the CRDT does not take them.
    """
    document = replay(checkpoint, updates)
    checked = check_and_split(update, check_state_vector(document.get_state()))
    for piece, *_facts in checked.pieces:
        document.apply_update(piece)
    replay(document.get_update(), ())
    return checked


def fold_and_split(checkpoint: bytes | None, updates: Sequence[bytes], reaches: Sequence[bytes] = ()) -> Folded:
    """The state that `checkpoint` and `updates` make together. Everything has passed the firewall when it came in.

    `reaches` are those of the updates in the journal, in the same order: they tell which ones wait for others.
    """
    document = replay(checkpoint, updates)
    state = document.get_update()
    clocks = check_state_vector(document.get_state())
    del document
    waiting = tuple(index for index, reach in enumerate(reaches) if not covers(clocks, decode(reach)))
    return Folded(_plain(state, {}), tuple(clocks.items()), len(state), waiting)


def _plain(update: bytes, known: Mapping[int, int]) -> tuple[PlainPiece, ...]:
    return tuple((piece.update, piece.ends, piece.reach, piece.pairs) for piece in split_update(update, known, BOUNDS))
