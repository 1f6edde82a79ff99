"""Makes hostile updates: real ones with damaged bytes, and sound structs that contradict each other."""

from __future__ import annotations

from collections.abc import Callable, Container, Mapping, Sequence
from random import Random

from collab_server.wire.lib0 import prefixed, varuint
from tests.corpus.encode import Id, item, structs, text, update

STRANGE_INTEGERS = (0, 1, 2, 63, 64, 127, 128, 2**14, 2**31 - 2, 2**31 - 1, 2**31, 2**32 - 1, 2**32, 2**53 - 1, 2**53)


def damage(random: Random, real: bytes, others: Sequence[bytes]) -> bytes:
    """`real` with one to three small wounds: flipped, cut, doubled, spliced, or with an integer out of place."""
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


ROOTS = ("content", "", "map", "list", "xml", "new")
VALUES = (b"\x7e", b"\x7d\x05", b"\x77\x01a", b"\x75\x02\x7e\x78", b"\x76\x01\x01k\x7f", b"\x74\x02\x00\xff")
TYPES = (b"\x00", b"\x01", b"\x02", b"\x03\x01p", b"\x04", b"\x06")

Content = tuple[int, bytes, int]
"""Kind, body, and how many clocks it takes."""


def forge(random: Random, known: Mapping[int, int], spared: Container[int] = ()) -> bytes:
    """Valid structs whose authors, neighbours, parents, keys and kinds are drawn by lot from what a room holds.

    Nothing is written in the name of the `spared` clients and nothing of theirs is deleted; it can be a neighbour.
    """
    clients = [client for client in known if client not in spared] or [1]
    authors = random.sample(clients, min(len(clients), random.randint(0, 2)))
    if len(clients) < 5 and (not authors or random.random() < 0.2):
        authors.append(random.randrange(1, 2**20))
    parts = []
    for author in dict.fromkeys(authors if random.random() < 0.9 else ()):
        start = clock = known.get(author, 0)
        if random.random() < 0.1:  # says again, and otherwise, what is known
            start = clock = random.randint(0, start)
        items = []
        for _ in range(random.randint(1, 4)):
            struct, length = _forged_struct(random, known, (author, clock))
            items.append(struct)
            clock += length
        parts.append(structs(author, start, items))
    deletes = []
    for client in random.sample(clients, random.randint(0, min(2, len(clients)))):
        if end := known.get(client, 0):
            clock = random.randrange(end)
            deletes.append((client, [(clock, random.randint(1, min(8, end - clock)))]))
    return update(*parts, deletes=deletes)


def _forged_struct(random: Random, known: Mapping[int, int], own: Id) -> tuple[bytes, int]:
    if random.random() < 0.07:
        length = random.randint(1, 3)
        return b"\x00" + varuint(length), length
    kind, body, length = random.choice(_CONTENTS)(random)
    place = random.random()
    origin = _some_id(random, known, own) if place < 0.7 else None
    right_origin = _some_id(random, known, own) if 0.35 < place < 0.85 else None
    parent = random.choice(ROOTS) if random.random() < 0.5 else _some_id(random, known, own)
    key = random.choice("kc") if not origin and not right_origin and random.random() < 0.35 else None
    return item(kind, body, parent=parent, key=key, origin=origin, right_origin=right_origin), length


def _some_id(random: Random, known: Mapping[int, int], own: Id) -> Id:
    if not known or random.random() < 0.15:
        return own[0], max(0, own[1] - random.randint(1, 3))
    client = random.choice(list(known))
    recent = random.random() < 0.5
    return client, max(0, known[client] - 1 - random.randrange(8)) if recent else random.randrange(known[client])


def _words(random: Random) -> Content:
    words = random.choice(("a", "ab", "abc", "zażółć", "long " * 5))
    return 4, text(words), len(words)


def _values(random: Random) -> Content:
    number = random.randint(1, 2)
    return 8, varuint(number) + b"".join(random.choices(VALUES, k=number)), number


def _deleted(random: Random) -> Content:
    number = random.randint(1, 3)
    return 1, varuint(number), number


_CONTENTS: tuple[Callable[[Random], Content], ...] = (
    _words,
    _words,
    _values,
    _values,
    _deleted,
    lambda random: (7, random.choice(TYPES), 1),
    lambda random: (7, random.choice(TYPES), 1),
    lambda _random: (3, b"\x02\x00\xff", 1),
    lambda _random: (5, prefixed(b'{"image":"a"}'), 1),
    lambda random: (6, text("bold") + prefixed(random.choice((b"true", b"null"))), 1),
)
