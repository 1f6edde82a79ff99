"""The rulings in memory, for tests and for servers that keep nothing. Must never forget a freeze by itself."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from uuid import UUID

from persistence.rulings import Ruling


class MemoryRulings:
    """See `Rulings`. `clock` gives seconds that never step back."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._frozen: set[UUID] = set()
        self._until: dict[tuple[UUID, str], float] = {}

    async def freeze(self, document_id: UUID, operator: str) -> bool:  # noqa: ARG002 - nobody asks who it was
        is_new = document_id not in self._frozen
        self._frozen.add(document_id)
        return is_new

    async def unfreeze(self, document_id: UUID) -> bool:
        was_frozen = document_id in self._frozen
        self._frozen.discard(document_id)
        return was_frozen

    async def keep_out(self, document_id: UUID, subject: str, seconds: float, operator: str) -> None:  # noqa: ARG002
        now = self._clock()
        self._until[document_id, subject] = now + seconds
        self._until = {who: until for who, until in self._until.items() if until > now}

    async def in_force(self, document_ids: Sequence[UUID]) -> dict[UUID, Ruling]:
        now, wanted = self._clock(), set(document_ids)
        kept_out: dict[UUID, dict[str, float]] = {}
        for (document_id, subject), until in self._until.items():
            if document_id in wanted and until > now:
                kept_out.setdefault(document_id, {})[subject] = until - now
        frozen = self._frozen & wanted
        return {each: Ruling(each in frozen, kept_out.get(each, {})) for each in frozen | kept_out.keys()}
