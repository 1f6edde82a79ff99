"""What one struct of a Yjs v1 update may hold: a reader for every info byte a real client writes.

A reader takes the update and a position and returns how many clocks the content spans and the next position. It looks
at bytes in place, never allocates by a declared count, never recurses deeper than `MAX_DEPTH`, and raises
`UpdateRefused`, `MalformedMessage` or, past the end, `IndexError`. Pure. Called by `firewall` and `update_graph`.

Where Yjs and the CRDT behind this server (yrs) read the same bytes differently, an attack could hide from the check:
such bytes are refused although Yjs knows them. They are XML hooks and JSON content (not written since Yjs 13), of which
yrs reads one string too few and one too many, and info bytes with a fifth content bit, which yrs ignores.

Source of the format: yjs Item.js, Content*.js, GC.js, Skip.js; lib0 decoding.js (`readAny`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

import orjson

from collab_server.wire.lib0 import MAX_VARUINT_BYTES, read_bytes, read_string, read_varuint

# Levels of arrays and objects in one value. The Rust decoder overflows its stack at about 26,000 (serde_json stops at
# 128); people's values have a handful.
MAX_DEPTH = 64
MAX_ROOT_NAME_BYTES = 1_000  # a root type is never collected, so its name is not a place to store things

Reader = Callable[[bytes, int], tuple[int, int]]

SKIP = 10
FILLERS = frozenset({0, SKIP})  # info bytes of structs without content: collected garbage, and a hole
HAS_ORIGIN, HAS_RIGHT_ORIGIN, HAS_PARENT_SUB = 0x80, 0x40, 0x20
_CONTENT_BITS = 0x1F
_XML_ELEMENT = 3
_TYPES = frozenset({0, 1, 2, _XML_ELEMENT, 4, 6})  # array, map, text, XML element, fragment and text
_REFUSED_TYPES = {5: "xml_hook", 7: "weak_link", 9: "subdocument"}
_REFUSED_CONTENT = {2: "json_content", 9: "subdocument", 11: "move"}


class UpdateRefused(Exception):
    """The bytes must not reach the CRDT. `reason` is a short slug, safe to show and to count by."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


def _deleted(update: bytes, at: int) -> tuple[int, int]:
    return read_varuint(update, at)


def _binary(update: bytes, at: int) -> tuple[int, int]:
    return 1, _skip_bytes(update, at)


def _string(update: bytes, at: int) -> tuple[int, int]:
    length = update[at]
    at += 1
    if length >= 0x80:
        length, at = read_varuint(update, at - 1)
    end = at + length
    if end > len(update):
        raise UpdateRefused("truncated")
    try:
        text = update[at:end].decode()
    except UnicodeDecodeError:
        raise UpdateRefused("utf8") from None
    if len(text) == length:  # ASCII
        return length, end
    return len(text.encode("utf-16-le")) // 2, end  # Yjs counts UTF-16 code units


def _embed(update: bytes, at: int) -> tuple[int, int]:
    return 1, _check_json(update, at)


def _format(update: bytes, at: int) -> tuple[int, int]:
    _key, at = read_string(update, at)
    return 1, _check_json(update, at)


def read_type(update: bytes, at: int) -> tuple[int, int]:
    """A shared type that others are put in."""
    ref = update[at]  # Yjs reads an integer here, yrs a byte: below 128 they agree
    at += 1
    if ref not in _TYPES:
        raise UpdateRefused(_REFUSED_TYPES.get(ref, "unknown_type"))
    if ref == _XML_ELEMENT:
        _name, at = read_string(update, at)
    return 1, at


def _any(update: bytes, at: int) -> tuple[int, int]:
    count, at = read_varuint(update, at)
    if count > len(update) - at:
        raise UpdateRefused("count")
    return count, skip_values(update, at, count)


def _skip_bytes(update: bytes, at: int) -> int:
    length, at = read_varuint(update, at)
    at += length
    if at > len(update):
        raise UpdateRefused("truncated")
    return at


# JSON, as text


def _check_json(update: bytes, at: int) -> int:
    text, at = read_bytes(update, at)
    try:
        value = orjson.loads(text)  # as strict as serde_json, which reads it next: no NaN, no half of a surrogate pair
    except orjson.JSONDecodeError:
        raise UpdateRefused("json") from None
    if text.count(b"[") + text.count(b"{") > MAX_DEPTH and _is_too_deep(value):
        raise UpdateRefused("depth")
    return at


def _is_too_deep(value: object) -> bool:
    level = [value]
    for _ in range(MAX_DEPTH):
        level = [child for parent in level for child in _children(parent) if isinstance(child, (dict, list))]
    return bool(level)


def _children(value: object) -> Iterable[object]:
    if isinstance(value, dict):
        return value.values()
    return value if isinstance(value, list) else ()


# Any, lib0's binary JSON

_UNDEFINED, _NULL, _INTEGER, _FLOAT32, _FLOAT64, _BIGINT, _FALSE, _TRUE = range(127, 119, -1)
_TEXT, _OBJECT, _ARRAY, _BYTES = range(119, 115, -1)
_CONTAINERS = frozenset({_OBJECT, _ARRAY})
_WIDTHS = {_UNDEFINED: 0, _NULL: 0, _FLOAT32: 4, _FLOAT64: 8, _BIGINT: 8, _FALSE: 0, _TRUE: 0}


def _check_any(update: bytes, at: int, levels: int) -> int:
    """The position after one value that nests at most `levels` arrays and objects."""
    tag = update[at]
    at += 1
    if tag == _TEXT:
        return read_string(update, at)[1]
    if tag == _INTEGER:
        return _skip_integer(update, at)
    if tag in _WIDTHS:
        return at + _WIDTHS[tag]  # past the end: the next read says so
    if tag == _BYTES:
        return _skip_bytes(update, at)
    if tag in _CONTAINERS:
        return _check_any_children(update, at, levels, is_object=tag == _OBJECT)
    raise UpdateRefused("unknown_value")


def skip_values(update: bytes, at: int, count: int) -> int:
    """The position after `count` values."""
    for _ in range(count):
        at = _check_any(update, at, MAX_DEPTH)
    return at


def _check_any_children(update: bytes, at: int, levels: int, *, is_object: bool) -> int:
    count, at = read_varuint(update, at)
    if count * (1 + is_object) > len(update) - at:
        raise UpdateRefused("count")
    if levels == 0:
        raise UpdateRefused("depth")
    for _ in range(count):
        if is_object:
            _key, at = read_string(update, at)
        at = _check_any(update, at, levels - 1)
    return at


def _skip_integer(update: bytes, at: int) -> int:
    """lib0 `readVarInt`: the first byte has a sign bit and 6 bits, so 8 bytes hold 2^55 and any safe integer."""
    for end in range(at, at + MAX_VARUINT_BYTES):
        if update[end] < 0x80:
            return end + 1
    raise UpdateRefused("varint")


# One entry an info byte


def _readers() -> tuple[Reader | None, ...]:
    """The reader of each info byte; `None` where there is none.

    Any content may have any place: a text item behind a map entry makes no sense, but becomes one in every replica that
    takes it, and whoever tells others of its state must not be refused for it.
    """
    contents = {1: _deleted, 3: _binary, 4: _string, 5: _embed, 6: _format, 7: read_type, 8: _any}
    return tuple(contents.get(info & _CONTENT_BITS) for info in range(0x100))


READERS = _readers()


def reason_against(info: int) -> str:
    """Why an info byte without a reader is refused."""
    return _REFUSED_CONTENT.get(info & _CONTENT_BITS, "unknown_content")
