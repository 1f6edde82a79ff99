"""Loads hostile.txt and builds the bombs that are too large to write down."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from collab_server.wire.lib0 import prefixed, varuint
from tests.corpus.encode import item, structs, text, update


@dataclass(frozen=True)
class Hostile:
    """`body` of a `kind` (update, state_vector, frame) that must be refused for `reason`.

    "gap" means an `UpdateGap`, "applied" that it must not be refused.
    """

    kind: str
    name: str
    reason: str
    body: bytes

    def __str__(self) -> str:
        return f"{self.kind}-{self.name}"


def hostile_bytes() -> list[Hostile]:
    """The whole corpus."""
    return _written_down() + _bombs()


def _written_down() -> list[Hostile]:
    found = []
    for line in Path(__file__).with_name("hostile.txt").read_text().splitlines():
        if line and not line.startswith("#"):
            kind, name, reason, *digits = line.split()
            found.append(Hostile(kind, name, reason, bytes.fromhex("".join(digits).replace("-", ""))))
    return found


def _bombs() -> list[Hostile]:
    return [
        # 52 kB overflow the stack of the Rust decoder, which ends the process.
        Hostile("update", "depth_bomb_arrays", "depth", one_value(b"\x75\x01" * 50_000 + b"\x7e")),
        Hostile("update", "depth_bomb_objects", "depth", one_value(b"\x76\x01\x00" * 50_000 + b"\x7e")),
        Hostile("update", "depth_bomb_65_levels", "depth", one_value(b"\x75\x01" * 65 + b"\x7e")),
        Hostile("update", "depth_bomb_json", "json", one_embed(b"[" * 50_000 + b"]" * 50_000)),
        Hostile("update", "depth_bomb_json_65_levels", "depth", one_embed(b"[" * 65 + b"]" * 65)),
        Hostile("update", "depth_bomb_format", "depth", one_format(b'{"a":' * 65 + b"1" + b"}" * 65)),
        # Deleting the lowest of 31,300 levels overflows the stack too.
        Hostile("update", "nesting_bomb", "nesting", nested_types(2_000)),
        Hostile("update", "nesting_bomb_behind_siblings", "nesting", nested_types(1_200, behind_text=True)),
        Hostile(
            "update", "root_name_bomb", "root_name", update(structs(5, 0, [item(4, text("a"), parent="x" * 1_001)]))
        ),
        # Pure-Python big integers take 1.9 s for this one.
        Hostile("update", "integer_bomb", "varint", b"\xff" * 131_072 + b"\x01"),
        Hostile("state_vector", "integer_bomb", "varint", b"\xff" * 131_072 + b"\x01"),
        Hostile("frame", "awareness_integer_bomb", "varint", b"\x01" + prefixed(b"\xff" * 131_072 + b"\x01")),
        Hostile("frame", "awareness_ghosts", "awareness_entries", b"\x01" + prefixed(_ghosts(100_000))),
        Hostile("frame", "awareness_large_state", "awareness_state", b"\x01" + prefixed(_state(b"[" * 20_000))),
    ]


def one_value(value: bytes) -> bytes:
    """An update that adds one value (lib0 "any") to an array."""
    return update(structs(5, 0, [item(8, b"\x01" + value, parent="arr")]))


def one_embed(json: bytes) -> bytes:
    """An update that adds one embed to a text."""
    return update(structs(5, 0, [item(5, prefixed(json), parent="text")]))


def one_format(json: bytes) -> bytes:
    """An update that adds one format mark to a text."""
    return update(structs(5, 0, [item(6, text("bold") + prefixed(json), parent="text")]))


def nested_types(levels: int, *, behind_text: bool = False) -> bytes:
    """An update that puts a map in a map in a map; or, harder to see, arrays each behind a letter of the one above."""
    items = [item(7, b"\x01", parent="map", key="k")]
    for clock in range(levels - 1):
        if behind_text:
            parent = (5, 2 * clock)
            items += item(8, b"\x01\x7e", parent=parent), item(7, b"\x00", origin=(5, 2 * clock + 1))
        else:
            items.append(item(7, b"\x01", parent=(5, clock), key="k"))
    return update(structs(5, 0, items))


def _ghosts(count: int) -> bytes:
    return varuint(count) + b"".join(varuint(client) + b"\x01\x02{}" for client in range(count))


def _state(state: bytes) -> bytes:
    return b"\x01\x05\x01" + prefixed(state)
