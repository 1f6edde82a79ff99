"""A deployment of ours on this machine: `collab-server serve`, PostgreSQL with fsync, a folder for checkpoints.

Between server and PostgreSQL stands a relay that can lose answers. Adapter of `target.Target`.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

from chaos.faults import DiskFull, Fault, Freeze, PostgresCut, PostgresStop, Sigkill, StoreAway
from chaos.own_server import OwnServer, ServerFailed
from chaos.relay import Relay
from chaos.schedule import LASTS_S
from chaos.target import About
from chaos.writer import Address
from persistence.embedded_postgres import EmbeddedPostgres

SETTINGS: dict[str, object] = {
    "auth": "open",
    "checkpoint_after_updates": 150,  # so that every round has some
    "checkpoint_after_s": 1,
    "messages_per_s": 100_000,  # what was written offline comes at once
    "messages_burst": 100_000,
    "syncs_per_10_s": 1000,
}


class OwnDeployment:
    """Everything in one folder, which is the caller's to remove."""

    about = About(
        "collab-server",
        "the edit is in PostgreSQL's log, on disk, before the client is told (`?ack=1`, and the subprotocol `yjs.ack`)",
        tuple(name for name in LASTS_S if name != "client-cut" and (name != "disk-full" or DiskFull.works_here)),
    )

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._postgres = EmbeddedPostgres()
        self._relay: Relay | None = None
        self._server: OwnServer | None = None

    async def start(self) -> Address:
        """Start it with its storage, new and empty; where its documents are."""
        url = await self._postgres.start(self._folder / "postgres")
        self._relay = Relay(self._postgres.port)
        await self._relay.start()
        through = urlsplit(url)
        netloc = through.netloc.replace(f":{self._postgres.port}", f":{self._relay.port}")
        database = urlunsplit(through._replace(netloc=netloc))
        self._server = OwnServer(self._folder, {**SETTINGS, "database_url": database})
        await self._server.start()
        return Address(f"ws://127.0.0.1:{self._server.port}/ws")

    async def kill(self) -> None:
        """SIGKILL of the server: nothing is flushed."""
        if self._server is not None:
            await self._server.kill()

    async def restart(self) -> None:
        """Start it again on the same storage, at the same address."""
        if self._server is not None:
            await self._server.start()

    async def stop(self) -> None:
        """End everything that was started. Idempotent."""
        if self._server is not None:
            await self._server.stop()
        if self._relay is not None:
            await self._relay.stop()
        await self._postgres.stop()

    def faults(self) -> Mapping[str, Fault]:
        """What can be broken here, by the names of `about.faults`. Raises ServerFailed before it was started."""
        if self._server is None or self._relay is None:
            raise ServerFailed("it was not started")
        found: dict[str, Fault] = {
            "sigkill": Sigkill(self._server.kill, self._server.start),
            "freeze": Freeze(self._server),
            "postgres-stop": PostgresStop(self._postgres),
            "postgres-cut": PostgresCut(self._relay),
            "disk-full": DiskFull(self._server),
            "store-away": StoreAway(self._folder / "server" / "objects"),
        }
        return {name: found[name] for name in self.about.faults}

    def oddities(self) -> list[str]:
        """What happened that nobody asked for, as sentences."""
        ended = 0 if self._server is None else self._server.ended_by_itself
        return [f"the server ended by itself {ended} times and was started again"] if ended else []
