"""The relay that loses answers: what was asked is done, and nobody hears so."""

from __future__ import annotations

import asyncio
from contextlib import suppress

from chaos.relay import Relay


async def test_what_is_asked_arrives_what_is_answered_is_lost_and_the_cure_breaks_the_connection() -> None:
    heard: list[bytes] = []
    arrived, ended = asyncio.Event(), asyncio.Semaphore(0)

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError):
            while line := await reader.readline():
                heard.append(line)
                arrived.set()
                writer.write(b"done " + line)
        writer.close()
        with suppress(OSError):
            await writer.wait_closed()
        ended.release()

    far = await asyncio.start_server(answer, "127.0.0.1", 0)
    relay = Relay(far.sockets[0].getsockname()[1])
    await relay.start()
    try:
        reader, writer = await asyncio.open_connection("127.0.0.1", relay.port)
        writer.write(b"one\n")
        assert await reader.readline() == b"done one\n"
        arrived.clear()
        relay.lose_answers()
        writer.write(b"commit\n")
        await arrived.wait()
        assert heard == [b"one\n", b"commit\n"]
        relay.heal()
        with suppress(ConnectionResetError):  # or an end, as the system likes
            assert await reader.readline() == b""
        writer.close()
        with suppress(ConnectionResetError):
            await writer.wait_closed()
        reader, writer = await asyncio.open_connection("127.0.0.1", relay.port)
        writer.write(b"two\n")
        assert await reader.readline() == b"done two\n"
        writer.close()
        await writer.wait_closed()
    finally:
        await relay.stop()
        for _connection in range(2):
            await ended.acquire()
        far.close()
        await far.wait_closed()
