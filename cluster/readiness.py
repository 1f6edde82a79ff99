"""Asks every task's admin port whether it is ready, as a load balancer does. Called by `deployment` and `task`."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from contextlib import suppress

from cluster.balancer import Target

EVERY_S = 0.5
TIMEOUT_S = 2.0


async def http_status(port: int, path: str) -> int | None:
    """The status of a GET at a port of this machine; None without an answer in time."""
    with suppress(OSError, TimeoutError, IndexError, ValueError):
        async with asyncio.timeout(TIMEOUT_S):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            try:
                writer.write(f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n".encode())
                return int((await reader.readline()).split(b" ")[1])
            finally:
                writer.close()
    return None


async def is_ready(admin_port: int) -> bool:
    """Whether the task behind that admin port says that it is ready."""
    return await http_status(admin_port, "/readyz") == 200


async def watch(targets: Mapping[Target, int]) -> None:
    """Keep `ready` of each target as its admin port says, for ever."""
    while True:
        await look(targets)
        await asyncio.sleep(EVERY_S)


async def look(targets: Mapping[Target, int]) -> None:
    """Ask all once."""
    for target, ready in zip(targets, await asyncio.gather(*map(is_ready, targets.values())), strict=True):
        target.ready = ready
