"""The port of what is broken on purpose: a server with its storage. Adapters: `own_deployment`, `hocuspocus`, `remote`.

Called by `campaign`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

from chaos.faults import Fault
from chaos.writer import Address


@dataclass(frozen=True, slots=True)
class About:
    """What a run says of its target: its name, what its acknowledgement means, and which faults it can have."""

    name: str
    acknowledgement: str
    faults: tuple[str, ...]
    can_be_killed: bool = True


class Target(Protocol):
    """A server. `kill` and `restart` are called only where it can be killed."""

    about: About

    async def start(self) -> Address:
        """Start it with its storage, new and empty; where its documents are."""

    async def kill(self) -> None:
        """SIGKILL of the server: nothing is flushed."""

    async def restart(self) -> None:
        """Start it again on the same storage, at the same address."""

    async def stop(self) -> None:
        """End everything that was started. Idempotent."""

    def faults(self) -> Mapping[str, Fault]:
        """What can be broken here, by the names of `about.faults`. To be asked once it was started."""

    def oddities(self) -> list[str]:
        """What happened that nobody asked for, as sentences."""
