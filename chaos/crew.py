"""The port of those who write: a crew is some clients of one kind, all in one document.

Adapters: `writer.PythonCrew`, `node_crew.NodeCrew`. Called by `campaign` and by the fault that cuts connections.
"""

from __future__ import annotations

import enum
from collections.abc import Callable
from typing import Protocol

from chaos.checker import Replica
from chaos.ledger import Told

Note = Callable[[int, Told], None]
"""Told which writer reports what."""

DEADLINE_S = 30.0
"""How long a client may take to come in, or a copy to be read, before the run is broken off."""


class Unreachable(Exception):
    """A client cannot come in; the message says what the server answered."""


class Mode(enum.StrEnum):
    """What a crew does."""

    TYPING = "typing"
    """Writes; when it has no connection too, and comes back by itself."""
    QUIET = "quiet"
    """Is connected and writes nothing."""
    AWAY = "away"
    """Has no connection and asks for none."""


class Crew(Protocol):
    """Some clients of one kind. `writers` are their numbers."""

    writers: tuple[int, ...]

    async def open(self, document: str) -> None:
        """Leave, and come to another document, with new copies, quiet. Raises Unreachable."""

    async def be(self, mode: Mode) -> None:
        """Do that from now on. On the way AWAY what a dying connection still brings is heard first."""

    async def cut(self, writer: int) -> None:
        """Break that writer's connection without a word."""

    async def replicas(self) -> list[Replica]:
        """Every writer's copy."""

    async def read(self, document: str) -> Replica:
        """The copy of a new client that has come for it. Raises Unreachable."""

    async def close(self) -> None:
        """Leave for good. Idempotent."""
