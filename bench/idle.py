"""What an idle connection and an empty room cost in memory. `python -m bench.idle` prints it; nothing else calls this.

A real server process, real sockets, a person of its own behind each. First one connection in every room, then all the
others: the second step is what a connection costs, the first one less that is a room. What is counted is memory of the
server process that is in RAM (VmRSS), not the kernel's socket buffers.
"""

from __future__ import annotations

import asyncio
import os
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.table import Table

from collab_server.wire import yjs
from collab_server.wire.awareness import AwarenessEntry
from collab_server.wire.messages import Awareness, Message, SyncStep1, SyncStep2
from commands.running import allow_many_sockets
from tests.services.raw_socket import frame, opening
from tests.services.running import metric, resident_bytes
from tests.services.server import ServerProcess
from tests.services.tokens import token

ROOMS = 1_000
CONNECTIONS = 4_000
AT_ONCE = 50
SETTLED_S = 5.0  # one turn of the wheel, and the commits of what joining has caused
NOTHING = b"\x00\x00"  # an update without content
CURSOR = b'{"user":{"name":"Ada Lovelace","color":"#30bced"},"cursor":{"anchor":17,"head":17}}'


@dataclass(frozen=True, slots=True)
class Cost:
    """Bytes of the server process."""

    connection: float
    room: float
    all: float  # of every connection with its share of the rooms


async def connect(server: ServerProcess, number: int, says: list[Message]) -> asyncio.StreamWriter:
    """An upgraded socket in one of the rooms that has said `says`."""
    reader, writer = await asyncio.open_connection("127.0.0.1", server.ws_port, limit=2**16)
    ticket = token(server, f"person-{number}", document="*")
    writer.write(opening(f"room-{number % ROOMS}", f"Authorization: Bearer {ticket}"))
    head = await reader.readuntil(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 101"), head
    writer.write(b"".join(frame(yjs.encode(message)) for message in says))
    return writer


async def resident_with(
    server: ServerProcess, sockets: list[asyncio.StreamWriter], total: int, *, cursors: bool
) -> int:
    """Bytes in RAM once `total` sockets are open and quiet."""
    while len(sockets) < total:
        batch = range(len(sockets), min(len(sockets) + AT_ONCE, total))
        sockets += await asyncio.gather(*(connect(server, number, hello(number, cursors)) for number in batch))
    until = time.monotonic() + SETTLED_S
    while time.monotonic() < until or await asyncio.to_thread(metric, server, "collab_members") != total:  # noqa: ASYNC110
        await asyncio.sleep(0.1)
    return resident_bytes(server.pid)


def hello(number: int, cursors: bool) -> list[Message]:
    """What a stock client says when it comes: without an editor it shows no cursor."""
    said: list[Message] = [SyncStep1(b"\x00"), SyncStep2(NOTHING)]
    return [*said, Awareness((AwarenessEntry(number + 1, 1, CURSOR),))] if cursors else said


async def measure(*, cursors: bool) -> Cost:
    """Measure on a server of its own."""
    with tempfile.TemporaryDirectory(prefix="collab-bench-") as folder:
        os.chmod(folder, 0o711)  # noqa: PTH101 - nothing else runs yet; PostgreSQL is another user for root
        server = ServerProcess(Path(folder), auth="dev", keepalive_s=600, ping_interval_s=600)
        server.start()
        sockets: list[asyncio.StreamWriter] = []
        try:
            await asyncio.to_thread(metric, server, "collab_members")  # what the first scrape needs
            none = resident_bytes(server.pid)
            one_each = await resident_with(server, sockets, ROOMS, cursors=cursors)
            all_of_them = await resident_with(server, sockets, CONNECTIONS, cursors=cursors)
        finally:
            for socket in sockets:
                socket.transport.abort()
            server.stop()
    connection = (all_of_them - one_each) / (CONNECTIONS - ROOMS)
    return Cost(connection, (one_each - none) / ROOMS - connection, (all_of_them - none) / CONNECTIONS)


def main() -> None:
    """Measure and print."""
    allow_many_sockets()
    console = Console()
    title = f"{CONNECTIONS} connections in {ROOMS} rooms, KiB"
    table = Table("clients", "a connection", "a room", "a connection with its share of the rooms", title=title)
    for cursors in (False, True):
        with console.status("connecting …"):
            cost = asyncio.run(measure(cursors=cursors))
        kind = "with a cursor" if cursors else "without a cursor"
        table.add_row(kind, *(f"{size / 1024:.2f}" for size in (cost.connection, cost.room, cost.all)))
    console.print(table)


if __name__ == "__main__":
    main()
