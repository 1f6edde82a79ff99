"""A TCP relay on the loopback for tests: what a network does to a connection, without touching the server behind it.

`silence` stops carrying bytes on every open connection and closes none, as a firewall that forgot them does; later ones
work. `lose_answers` and `lose_questions` let one direction vanish, `cut` ends every connection there is, and each piece
of news takes `latency_s` on its way, in both directions. Lives in the test's own loop. Called by tests of links to
other servers.
"""

import asyncio
from collections.abc import Callable
from types import TracebackType
from typing import Self

CHUNK_BYTES = 65_536


class Relay:
    """Listens on a free `port` and forwards to a port of this machine."""

    def __init__(self, target_port: int) -> None:
        self._target_port = target_port
        self._carrying: set[asyncio.Task[None]] = set()
        self._open: list[asyncio.StreamWriter] = []
        self._loses_questions = self._loses_answers = False
        self.port = 0
        self.latency_s = 0.0

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
        self.cut()
        await asyncio.gather(*(writer.wait_closed() for writer in self._open), return_exceptions=True)
        await self._server.wait_closed()

    def silence(self) -> None:
        """Carry nothing more on the connections there are now."""
        for task in self._carrying:
            task.cancel()

    def lose_answers(self) -> None:
        """From now on what the far side says is lost; what it is told arrives. Until `cut`."""
        self._loses_answers = True

    def lose_questions(self) -> None:
        """From now on what the far side is told is lost. Until `cut`."""
        self._loses_questions = True

    def cut(self) -> None:
        """End every connection there is, on both sides; later ones lose nothing."""
        self._loses_questions = self._loses_answers = False
        for writer in self._open:
            writer.close()

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._open.append(writer)
        try:
            far_reader, far_writer = await asyncio.open_connection("127.0.0.1", self._target_port)
        except OSError:
            writer.close()
            return
        self._open.append(far_writer)
        questions = self._carry(reader, far_writer, lambda: self._loses_questions)
        answers = self._carry(far_reader, writer, lambda: self._loses_answers)
        for carrying in (questions, answers):
            task = asyncio.create_task(carrying)
            self._carrying.add(task)
            task.add_done_callback(self._carrying.discard)

    async def _carry(self, source: asyncio.StreamReader, sink: asyncio.StreamWriter, loses: Callable[[], bool]) -> None:
        try:
            while chunk := await source.read(CHUNK_BYTES):
                if loses():
                    continue
                if self.latency_s:
                    await asyncio.sleep(self.latency_s)
                sink.write(chunk)
                await sink.drain()
        except OSError:
            pass  # one side is gone: so is the other
        sink.close()
