"""A TCP relay on the loopback for tests: what a network does to a connection, without touching the server behind it.

`silence` stops carrying bytes on every open connection and closes none, as a firewall that forgot them does; later ones
work. Lives in the test's own loop. Called by tests of links to other servers.
"""

import asyncio
from types import TracebackType
from typing import Self

CHUNK_BYTES = 65_536


class Relay:
    """Listens on a free `port` and forwards to a port of this machine."""

    def __init__(self, target_port: int) -> None:
        self._target_port = target_port
        self._carrying: set[asyncio.Task[None]] = set()
        self._open: list[asyncio.StreamWriter] = []
        self.port = 0

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.close()
        self.silence()
        await asyncio.gather(*self._carrying, return_exceptions=True)
        for writer in self._open:
            writer.close()
        await asyncio.gather(*(writer.wait_closed() for writer in self._open), return_exceptions=True)
        await self._server.wait_closed()

    def silence(self) -> None:
        """Carry nothing more on the connections there are now."""
        for task in self._carrying:
            task.cancel()

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._open.append(writer)
        try:
            far_reader, far_writer = await asyncio.open_connection("127.0.0.1", self._target_port)
        except OSError:
            writer.close()
            return
        self._open.append(far_writer)
        for source, sink in ((reader, far_writer), (far_reader, writer)):
            task = asyncio.create_task(_carry(source, sink))
            self._carrying.add(task)
            task.add_done_callback(self._carrying.discard)


async def _carry(source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
    try:
        while chunk := await source.read(CHUNK_BYTES):
            sink.write(chunk)
            await sink.drain()
    except OSError:
        pass  # one side is gone: so is the other
    sink.close()
