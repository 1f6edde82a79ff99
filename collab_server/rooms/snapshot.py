"""A big document in pieces, as it is sent to those who join: nothing is encoded on the loop for them.

The pieces in their order make the whole document. They come from the load (split in a worker process), from big updates
(split there too), and from what was edited since. A joiner gets those with something it lacks, as updates it can apply
one after the other; each is one frame built once and shared by all joiners. So a slow line never waits half a minute
for one message, which is when stock clients leave, and a join costs a few writes, whatever the joiner knows already.

What is sent may hold things the joiner has: they do no harm. What it lacks is never left out: a piece without
deletes is, when the joiner holds every struct of it; deletes always go, for no state vector tells of them.
Belongs to one replica. Called by `replica`, and by `offload` to renew it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping, Sequence

from pycrdt import merge_updates

from collab_server.update_split import Piece
from collab_server.wire.dialect import Dialect
from collab_server.wire.frame import binary_frame

NOTHING = b"\x00\x00"  # the update without structs and deletes
# Small edits are merged so many at a time: 0.2 ms. `merge_updates` is quadratic.
MERGED_AT_ONCE = 100
MERGED_BYTES = 64 * 1024
# Edits since the last fold beyond which a new one pays: they hold what was deleted since, and history the fold drops.
RENEW_AFTER_PIECES, RENEW_AFTER_BYTES, RENEW_AFTER_SHARE = 200, 1024 * 1024, 0.25


class Snapshot:
    """The pieces of one document. `add` takes what is applied after they were made."""

    def __init__(self, pieces: Iterable[Piece]) -> None:
        self._pieces = list(pieces)
        self._frames: dict[Dialect, list[bytes]] = {}
        self._recent: list[bytes] = []
        self._recent_clocks: dict[int, int] = {}
        self._recent_bytes = 0
        self._renewals = 0
        self._folded = len(self._pieces)
        self.is_wanted = False  # a new fold, to know how large the document is
        self.folding = asyncio.Lock()  # held by the fold under way
        self._uploaded_bytes = 0  # since the last fold, by big updates, which come encoded
        self._has_deletes = False  # since the last fold
        self.size_bytes = self.folded_bytes = sum(len(piece.update) for piece in self._pieces)

    def add(self, update: bytes) -> None:
        """Note an update that was just applied."""
        self.size_bytes += len(update)
        if update[-1]:  # not the 0 of an empty delete set
            self._has_deletes = True
        self._recent.append(update)
        self._recent_bytes += len(update)
        if len(self._recent) >= MERGED_AT_ONCE or self._recent_bytes >= MERGED_BYTES:
            self._settle()

    def add_piece(self, piece: Piece) -> None:
        """Note a piece of a big update that was just applied."""
        self._settle()
        self.size_bytes += len(piece.update)
        self._uploaded_bytes += len(piece.update)
        if not piece.ends:
            self._has_deletes = True
        self._pieces.append(piece)

    def _settle(self) -> None:
        """Make one piece of the recent edits. Its clocks stay unknown, so everybody gets it."""
        if self._recent:
            self._pieces.append(Piece(merged(self._recent), (), ()))
            self._recent, self._recent_bytes = [], 0

    def answer(self, dialect: Dialect, known: Mapping[int, int]) -> tuple[list[bytes], bytes]:
        """For one who holds `known`: the frames to send, and the update that the SyncStep2 after them shall carry."""
        frames = self._frames.setdefault(dialect, [])
        for piece in self._pieces[len(frames) :]:
            frames.append(binary_frame(dialect.encode_update(piece.update)))
        wanted = [frame for piece, frame in zip(self._pieces, frames, strict=True) if _lacks(known, piece)]
        return wanted, merged(self._recent)

    @property
    def mark(self) -> tuple[int, int]:
        """Now, for `since`."""
        return self._renewals, len(self._pieces)

    def since(self, mark: tuple[int, int]) -> list[bytes] | None:
        """What was applied since `mark`, perhaps with a little of what was before; None when that cannot be told."""
        renewals, pieces = mark
        if renewals != self._renewals:
            return None
        news = [piece.update for piece in self._pieces[pieces:]]
        return [*news, merged(self._recent)] if self._recent else news

    def updates_for(self, known: Mapping[int, int]) -> list[bytes]:
        """The same for another task, as plain updates."""
        wanted = [piece.update for piece in self._pieces if _lacks(known, piece)]
        return [*wanted, merged(self._recent)] if self._recent or not wanted else wanted

    # Renewing

    @property
    def is_due(self) -> bool:
        """Whether so much was edited since the last fold that a new one pays, or its size is asked for."""
        since_bytes = self.size_bytes - self.folded_bytes
        most_bytes = max(RENEW_AFTER_BYTES, RENEW_AFTER_SHARE * self.folded_bytes)
        return self.is_wanted or len(self._pieces) - self._folded > RENEW_AFTER_PIECES or since_bytes > most_bytes

    def came_folded(self) -> None:
        """All there is comes from a fold, as a document from storage does."""
        self._folded, self.folded_bytes = len(self._pieces), self.size_bytes
        self._uploaded_bytes, self._has_deletes = 0, False

    @property
    def least_bytes(self) -> int:
        """About what the document has at least, however much a fold may save."""
        return 0 if self._has_deletes else self.folded_bytes + self._uploaded_bytes

    def settled(self) -> list[bytes]:
        """All updates up to now, to be folded; what comes meanwhile is kept by `renew`."""
        self._settle()
        return [piece.update for piece in self._pieces]

    def renew(self, replaced: int, pieces: Sequence[Piece]) -> None:
        """Put `pieces`, the fold of the first `replaced` ones, in their place."""
        later = self._pieces[replaced:]
        self._renewals += 1
        self._pieces = [*pieces, *later]
        self._frames.clear()
        self._uploaded_bytes, self._has_deletes = 0, bool(later or self._recent)
        self._folded = len(pieces)
        self.is_wanted = False
        self.folded_bytes = sum(len(piece.update) for piece in pieces)
        self.size_bytes = sum(len(piece.update) for piece in self._pieces) + self._recent_bytes


def merged(updates: Sequence[bytes]) -> bytes:
    """One update for all of `updates`."""
    if len(updates) == 1:
        return updates[0]
    return merge_updates(*updates) if updates else NOTHING


def _lacks(known: Mapping[int, int], piece: Piece) -> bool:
    """Whether one who holds `known` may lack something of `piece`. One without structs is of deletes, or merged."""
    return not piece.ends or any(known.get(client, 0) < end for client, end in piece.ends)
