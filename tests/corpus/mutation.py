"""Turns real updates into hostile ones by damage to their bytes."""

from __future__ import annotations

from collections.abc import Sequence
from random import Random

from collab_server.wire.lib0 import varuint

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
