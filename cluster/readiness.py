"""Asks every task's admin port whether it is ready, as a load balancer does. Called by `deployment`, `task` and
`balance`."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from contextlib import suppress

from cluster.balancer import Target

EVERY_S = 0.5
TIMEOUT_S = 2.0


async def http_status(port: int, path: str, host: str = "127.0.0.1") -> int | None:
    """The status of a GET; None without an answer in time."""
    with suppress(OSError, TimeoutError, IndexError, ValueError):
        async with asyncio.timeout(TIMEOUT_S):
            reader, writer = await asyncio.open_connection(host, port)
            try:
                writer.write(f"GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n".encode())
                return int((await reader.readline()).split(b" ")[1])
            finally:
                writer.close()
    return None


async def is_ready(admin_port: int, host: str = "127.0.0.1") -> bool:
    """Whether the task behind that admin port says that it is ready."""
    return await http_status(admin_port, "/readyz", host) == 200


async def watch(targets: Mapping[Target, int]) -> None:
    """Keep `ready` of each target as its admin port says, for ever."""
    while True:
        await look(targets)
        await asyncio.sleep(EVERY_S)


async def look(targets: Mapping[Target, int]) -> None:
    """Ask all once."""
    asked = (is_ready(admin_port, target.host) for target, admin_port in targets.items())
    for target, ready in zip(targets, await asyncio.gather(*asked), strict=True):
        target.ready = ready
