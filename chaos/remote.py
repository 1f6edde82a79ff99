"""A deployment that runs somewhere else: nothing of it is broken but the connections of the kit's own clients.

Adapter of `target.Target`.
"""

from __future__ import annotations

from collections.abc import Mapping

from chaos.faults import Fault
from chaos.target import About
from chaos.writer import Address

MEANING = "what the deployment says over `?ack=1` and `yjs.ack`"


class Remote:
    """The deployment behind an address."""

    def __init__(self, address: Address) -> None:
        self.about = About(address.url, MEANING, (), can_be_killed=False)
        self._address = address

    async def start(self) -> Address:
        """Where its documents are."""
        return self._address

    async def kill(self) -> None:
        """It is not ours to kill. Raises RuntimeError."""
        raise RuntimeError("a deployment somewhere else is not killed")

    async def restart(self) -> None:
        """It is not ours to start. Raises RuntimeError."""
        raise RuntimeError("a deployment somewhere else is not started")

    async def stop(self) -> None:
        """Nothing was started."""

    def faults(self) -> Mapping[str, Fault]:
        """None: the clients cut their own connections."""
        return {}

    def oddities(self) -> list[str]:
        """Nothing can be seen from here."""
        return []
