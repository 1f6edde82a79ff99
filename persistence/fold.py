"""Folding and rendering a document: what runs in the worker process, and only there.

A stored update can be hostile: the CRDT may overflow its stack, eat memory or never return. So nothing here is ever
called in the server's own process; `Sandbox` calls it and ends the process when it misbehaves. Pure: bytes in, bytes
out, one fresh Doc a call. `fold` and `render` are separate calls because reading content can hang where folding does
not, and a checkpoint must not wait for counts.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from pycrdt import Doc, Text

from persistence.replay import ReplayFailed, replay
from persistence.state_vectors import covers, decode

CONTENT_ROOT = "content"
"""The shared type that holds a document's text: Fountain for screenplays, Markdown otherwise."""

Row = tuple[int, bytes, bytes]
"""A journal row as (id, update, reach)."""


class FoldRefused(Exception):
    """The rows cannot be folded, or the result does not hold what it must. Its text names rows, never content."""


@dataclass(frozen=True, slots=True)
class FoldResult:
    """`state` is a Yjs v1 update that holds the whole document, `state_vector` its state vector.

    `contained_ids` are the rows whose every struct and delete `state` holds. The others wait for structs that are not
    here yet, so they must stay in the journal.
    """

    state: bytes
    state_vector: bytes
    contained_ids: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class RenderedText:
    """A document's text without formats and embeds.

    `words` are maximal runs of characters that are not Unicode white space (as `str.split` cuts them). `characters` are
    Unicode code points, line breaks included: neither UTF-16 units nor bytes nor graphemes.
    """

    markdown: str
    words: int
    characters: int


def fold(previous: bytes | None, rows: Sequence[Row]) -> FoldResult:
    """Replay `previous` (a Yjs v1 update) and all `rows` into one document, encode it, and check the encoding.

    Raises FoldRefused when an update cannot be applied or the encoding does not load back whole.
    """
    try:
        before = replay(previous, ()).get_state()
        document = replay(previous, [update for _, update, _ in rows])
    except ReplayFailed as error:
        name = "the previous state" if error.index is None else f"row {rows[error.index][0]}"
        raise FoldRefused(f"{name} cannot be applied: {error.kind}") from error
    state, state_vector = document.get_update(), document.get_state()
    _verify(state, state_vector, before)
    clocks = decode(state_vector)
    contained = tuple(row_id for row_id, _, reach in rows if covers(clocks, decode(reach)))
    return FoldResult(state, state_vector, contained)


def render(state: bytes) -> RenderedText | None:
    """The text of the content root, None when the document has no such root. May never return: see above."""
    document: Doc[Text] = Doc()
    document.apply_update(state)
    if CONTENT_ROOT not in document.keys():  # noqa: SIM118 - a Doc is no mapping: `in` would iterate
        return None
    markdown = str(document.get(CONTENT_ROOT, type=Text))
    return RenderedText(markdown, words=len(markdown.split()), characters=len(markdown))


def _verify(state: bytes, state_vector: bytes, before: bytes) -> None:
    """What is about to replace the journal must load again, be all there, and have lost nothing."""
    try:
        again = replay(state, ())
    except ReplayFailed as error:
        raise FoldRefused(f"the encoded result does not load: {error.kind}") from error
    clocks = decode(state_vector)
    if decode(again.get_state()) != clocks:
        raise FoldRefused("the encoded result loads as another state")
    if not covers(clocks, decode(before)):
        raise FoldRefused("the result lacks something the previous state has")
