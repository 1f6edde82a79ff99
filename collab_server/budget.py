"""What all connections together may hold in memory: unfinished messages of theirs and unsent ones of ours. Pure.

Each connection has bounds of its own, but 20,000 times those is more than any machine has. Counted by the wheel while
it visits everyone anyway, so a message pays nothing for it and the sum is up to one turn old. Decides who is closed;
the server closes.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TypeVar

RELIEF_SHARE = 0.9  # go this far below the bound, so that the next message does not start it all again

Holder = TypeVar("Holder")


class BufferBudget:
    """`count` everyone visited in a step of the wheel, then `end_step`; `steps` of them are everyone once."""

    def __init__(self, max_bytes: int, steps: int) -> None:
        self.max_bytes = max_bytes
        self._counted = [0] * steps
        self._step = 0

    def count(self, held_bytes: int) -> None:
        """One more connection holds so much."""
        self._counted[self._step] += held_bytes

    def end_step(self) -> bool:
        """Whether all connections, as of their last visit, hold too much together."""
        over = self.held_bytes > self.max_bytes
        self._step = (self._step + 1) % len(self._counted)
        self._counted[self._step] = 0
        return over

    @property
    def held_bytes(self) -> int:
        """What was counted in the last turn."""
        return sum(self._counted)

    def to_close(self, held: Iterable[tuple[int, Holder]]) -> list[Holder]:
        """Who must go so that the rest is well within the budget: the largest first, nobody if all is well."""
        largest_first = sorted(held, key=lambda share: share[0], reverse=True)
        total = sum(size for size, _holder in largest_first)
        closing: list[Holder] = []
        if total > self.max_bytes:
            for size, holder in largest_first:
                if total <= self.max_bytes * RELIEF_SHARE:
                    break
                total -= size
                closing.append(holder)
        return closing
