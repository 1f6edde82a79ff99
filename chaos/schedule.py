"""Which faults strike when, drawn from a seed: the same seed and options give the same schedule. Pure.

A run is a row of rounds. In each the clients write, faults strike one after the other, copies are compared; then the
clients write again and the server is killed in the middle of it. Called by `campaign`.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass

SIGKILL = "sigkill"
SHORTEST_GAP_S = 0.3
LONGEST_GAP_S = 1.5
MOST_STRIKES = 2

LASTS_S: dict[str, tuple[float, float]] = {
    SIGKILL: (0.0, 0.5),
    "freeze": (0.5, 4.0),
    "postgres-stop": (0.3, 3.0),
    "postgres-cut": (0.2, 1.5),
    "disk-full": (1.0, 4.0),
    "store-away": (1.0, 4.0),
    "client-cut": (0.0, 0.0),
}
"""Every fault there is, and for how many seconds it lasts: from, to. A frozen server's watchdog would end it at ten."""


@dataclass(frozen=True, slots=True)
class Strike:
    """One fault: `after_s` the one before it has healed, for `lasts_s`. `dice` seeds what it draws itself."""

    fault: str
    after_s: float
    lasts_s: float
    dice: int


@dataclass(frozen=True, slots=True)
class Round:
    """The strikes of a round, and for how long the clients then write until the server is killed."""

    number: int
    strikes: tuple[Strike, ...]
    kill_after_s: float


def schedule(
    seed: int, rounds: int, faults: Sequence[str], *, kill_after_s: tuple[float, float] = (0.1, 0.9)
) -> tuple[Round, ...]:
    """The rounds of a run. With no fault but SIGKILL a round is its last kill only, at a random moment.

    Raises ValueError for a fault that does not exist.
    """
    if unknown := set(faults) - set(LASTS_S):
        raise ValueError(f"no such fault: {', '.join(sorted(unknown))}; there are {', '.join(LASTS_S)}")
    chance = random.Random(seed)
    kinds = sorted(set(faults))
    return tuple(_round(number, kinds, chance, kill_after_s) for number in range(1, rounds + 1))


def _round(number: int, kinds: list[str], chance: random.Random, kill_after_s: tuple[float, float]) -> Round:
    strikes = (
        () if set(kinds) <= {SIGKILL} else tuple(_strike(kinds, chance) for _ in range(chance.randint(1, MOST_STRIKES)))
    )
    return Round(number, strikes, round(chance.uniform(*kill_after_s), 3))


def _strike(kinds: list[str], chance: random.Random) -> Strike:
    fault = chance.choice(kinds)
    return Strike(
        fault,
        round(chance.uniform(SHORTEST_GAP_S, LONGEST_GAP_S), 3),
        round(chance.uniform(*LASTS_S[fault]), 3),
        chance.getrandbits(32),
    )
