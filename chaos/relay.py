"""A TCP relay on the loopback that can lose answers: what was asked arrives, what is answered does not.

That is how a network dies around a COMMIT: it is sent, it is done, and nobody hears so. Called by `own_deployment`,
which puts it between the server and PostgreSQL.
"""

from __future__ import annotations

import asyncio

CHUNK_BYTES = 65_536


class Relay:
    """Listens on a free `port` and forwards to a port of this machine."""

    def __init__(self, target_port: int) -> None:
        self._target_port = target_port
        self._loses_answers = False
        self._carrying: set[asyncio.Task[None]] = set()
        self._open: set[asyncio.StreamWriter] = set()
        self._server: asyncio.Server | None = None
        self.port = 0

    async def start(self) -> None:
        """Listen."""
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        """Close everything. Idempotent."""
        if self._server is None:
            return
        self._server.close()
        for task in self._carrying:
            task.cancel()
        await asyncio.gather(*self._carrying, return_exceptions=True)
        left = set(self._open)
        self._break()
        await asyncio.gather(*(writer.wait_closed() for writer in left), return_exceptions=True)
        self._server = None

    def lose_answers(self) -> None:
        """From now on nothing that the far side says gets through."""
        self._loses_answers = True

    def heal(self) -> None:
        """Break the connections that have lost something; later ones work."""
        self._loses_answers = False
        self._break()

    def _break(self) -> None:
        for writer in self._open:
            writer.transport.abort()
        self._open.clear()

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            far_reader, far_writer = await asyncio.open_connection("127.0.0.1", self._target_port)
        except OSError:
            writer.transport.abort()
            return
        self._open |= {writer, far_writer}
        for source, sink, answers in ((reader, far_writer, False), (far_reader, writer, True)):
            task = asyncio.create_task(self._carry(source, sink, answers=answers))
            self._carrying.add(task)
            task.add_done_callback(self._carrying.discard)

    async def _carry(self, source: asyncio.StreamReader, sink: asyncio.StreamWriter, *, answers: bool) -> None:
        try:
            while chunk := await source.read(CHUNK_BYTES):
                if not (answers and self._loses_answers):
                    sink.write(chunk)
                    await sink.drain()
        except OSError:
            pass  # one side is gone: so is the other
        sink.close()
        self._open.discard(sink)
