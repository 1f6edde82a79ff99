"""Turns real updates into hostile ones: by damage to their bytes, or by writing sound structs that make no sense."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from random import Random

from collab_server.wire.lib0 import prefixed, varuint
from tests.corpus.encode import Id, item, structs, text, update

STRANGE_INTEGERS = (0, 1, 2, 63, 64, 127, 128, 2**14, 2**31 - 2, 2**31 - 1, 2**31, 2**32 - 1, 2**32, 2**53 - 1, 2**53)
ROOTS = ("content", "", "map", "list", "xml", "new")
VALUES = (
    b"\x7e",
    b"\x7d\x05",
    b"\x77\x01a",
    b"\x75\x02\x7e\x78",
    b"\x76\x01\x01k\x7f",
    b"\x74\x02\x00\xff",
    b"\x7b" + b"\x7f" * 8,
)


def damage(random: Random, real: bytes, others: Sequence[bytes]) -> bytes:
    """`real` with one to three small wounds: flipped, cut, doubled, spliced, or with an integer that is out of place."""
    found = bytearray(real)
    for _ in range(random.randint(1, 3)):
        at = random.randrange(len(found) + 1)
        end = min(len(found), at + random.randint(1, 6))
        match random.randrange(7):
            case 0 if at < len(found):
                found[at] ^= 1 << random.randrange(8)
            case 1 if at < len(found):
                found[at] = random.randrange(256)
            case 2:
                del found[at:end]
            case 3:
                found[at:at] = found[at:end] or b"\x01"
            case 4:
                other = random.choice(others)
                start = random.randrange(len(other))
                found[at:end] = other[start : start + random.randint(1, 12)]
            case 5:
                value = random.choice(STRANGE_INTEGERS)
                found[at:end] = varuint(value) if value < 2**53 else b"\x80" * 7 + b"\x10"
            case _:
                del found[at:]
    return bytes(found)


def forge(random: Random, known: Mapping[int, int]) -> bytes:
    """An update of valid structs whose places, kinds and deletes are drawn by lot from what the room knows."""
    clients = list(known) or [1]
    authors = random.sample(clients, min(len(clients), random.randint(0, 2)))
    if random.random() < 0.4 or not authors:
        authors.append(random.randrange(1, 2**32))
    parts = []
    for author in dict.fromkeys(authors):
        start = known.get(author, 0)
        if random.random() < 0.2:
            start = random.randint(0, start)
        items = [_item(random, known, (author, start)) for _ in range(random.randint(1, 4))]
        parts.append(structs(author, start, items))
    deletes = []
    for client in random.sample(clients, random.randint(0, min(2, len(clients)))):
        end = known.get(client, 0)
        if end:
            clock = random.randrange(end)
            deletes.append((client, [(clock, random.randint(1, min(8, end - clock)))]))
    return update(*parts, deletes=deletes)


def _item(random: Random, known: Mapping[int, int], own: Id) -> bytes:
    if random.random() < 0.1:
        return b"\x00" + varuint(random.randint(1, 4))
    content, body = random.choice(_CONTENTS)(random)
    place = random.random()
    origin = _some_id(random, known, own) if place < 0.7 else None
    right_origin = _some_id(random, known, own) if 0.4 < place < 0.85 else None
    parent = random.choice(ROOTS) if random.random() < 0.6 else _some_id(random, known, own)
    key = random.choice(("k", "class", "")) if random.random() < 0.2 else None
    return item(content, body, parent=parent, key=key, origin=origin, right_origin=right_origin)


def _some_id(random: Random, known: Mapping[int, int], own: Id) -> Id:
    if not known or random.random() < 0.1:
        return own[0], max(0, own[1] - 1 + random.randint(0, 2))
    client = random.choice(list(known))
    return client, random.randrange(known[client])


_CONTENTS = (
    lambda random: (1, varuint(random.randint(1, 3))),
    lambda random: (3, b"\x02\x00\xff"),
    lambda random: (4, text(random.choice(("a", "zażółć", "long " * 5, "\ufffd")))),
    lambda random: (5, prefixed(b'{"image":"a"}')),
    lambda random: (6, text("bold") + prefixed(random.choice((b"true", b"null", b"{}")))),
    lambda random: (7, random.choice((b"\x00", b"\x01", b"\x02", b"\x03\x01p", b"\x04", b"\x06"))),
    lambda random: (8, varuint(2) + random.choice(VALUES) + random.choice(VALUES)),
    lambda random: (8, varuint(1) + random.choice(VALUES)),
)
