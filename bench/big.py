"""What others feel while somebody handles a big document: `python -m bench.big [MB]` prints the longest stall a phase.

A real server process, and beside it two watchers, each a process of its own with a pair of members that type and read
250 times a second: one pair in another room, one in the room of the big document. A stall is the longest time from an
edit to its arrival at the other member. Phases: the upload in one message, the first opening after a restart, joins of
five clients at once with empty and with partial state vectors.
"""

from __future__ import annotations

import asyncio
import json
import os
import random
import sys
import tempfile
import time
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pycrdt import Doc
from websockets.asyncio.client import ClientConnection, connect

from bench.micro import typing
from collab_server.firewall import check_state_vector
from collab_server.wire import yjs
from collab_server.wire.awareness import AwarenessLimits
from collab_server.wire.lib0 import encode_state_vector
from collab_server.wire.messages import SyncStep1, SyncStep2, Update
from tests.services.big_documents import big_document
from tests.services.server import ServerProcess

TYPED_EVERY_S = 0.004
EDITS = 20_000
SYNC_STEP_2 = b"\x00\x01"
LONGEST_S = 120.0
OPTIONS: dict[str, Any] = {
    "proxy": None,
    "max_size": None,
    "max_queue": None,
    "open_timeout": LONGEST_S,
    "close_timeout": 0.2,
}


@dataclass
class Watch:
    """What the watchers saw: for each edit when it was sent and how long it took (s)."""

    delays: dict[str, list[tuple[float, float]]] = field(default_factory=dict)

    def longest_ms(self, who: str, start: float, end: float) -> float:
        """The longest delay of an edit sent in that time."""
        return max((delay for sent, delay in self.delays.get(who, ()) if start <= sent <= end), default=0.0) * 1e3


async def watch(url: str) -> None:
    """Type and read in one room until the input ends, then print every delay: the watcher process."""
    updates = [yjs.encode(Update(update)) for update in typing(EDITS, random.randrange(2**31))]
    ours = {update: number for number, update in enumerate(updates)}
    sent: dict[int, float] = {}
    delays: list[tuple[float, float]] = []
    async with connect(url, **OPTIONS) as writer, connect(url, **OPTIONS) as reader:

        async def read() -> None:
            async for message in reader:
                number = ours.get(message) if isinstance(message, bytes) else None
                if number is not None:
                    delays.append((sent[number], time.time() - sent[number]))

        reading = [asyncio.create_task(read()), asyncio.create_task(_ignore(writer))]
        loop = asyncio.get_running_loop()
        ended = loop.run_in_executor(None, sys.stdin.read)
        print("watching", flush=True)
        for number, update in enumerate(updates):
            if ended.done():
                break
            sent[number] = time.time()
            await writer.send(update)
            await asyncio.sleep(TYPED_EVERY_S)
        for task in reading:
            task.cancel()
    print(json.dumps(delays), flush=True)


async def _ignore(socket: ClientConnection) -> None:
    async for _message in socket:
        pass


@asynccontextmanager
async def watched(server: ServerProcess, **rooms: str) -> AsyncIterator[Watch]:
    """Watch those rooms; the delays are there at the end."""
    watchers: dict[str, Process] = {}
    seen = Watch()
    for who, room in rooms.items():
        watchers[who] = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "bench.big",
            "watch",
            f"{server.websocket_url}/{room}",
            stdin=PIPE,
            stdout=PIPE,
            limit=2**26,
        )
    for watcher in watchers.values():
        assert watcher.stdout is not None
        await watcher.stdout.readline()
    await asyncio.sleep(1.0)
    yield seen
    await asyncio.sleep(1.0)
    for who, watcher in watchers.items():
        answer, _ = await watcher.communicate(b"")
        seen.delays[who] = json.loads(answer)


async def upload(url: str, document: bytes) -> float:
    """Send the document in one message; returns how long until everything in it was taken in."""
    started = time.time()
    doc: Doc[Any] = Doc()
    async with connect(url, **OPTIONS) as socket:
        await socket.send(yjs.encode(Update(document)))
        await socket.send(yjs.encode(SyncStep1(b"\x00")))  # answered when it is its turn: after the upload
        await _synced(socket, doc)
        took = time.time() - started
    whole: Doc[Any] = Doc()
    whole.apply_update(document)
    held, wanted = check_state_vector(doc.get_state()), check_state_vector(whole.get_state())
    assert all(held.get(client, 0) >= clock for client, clock in wanted.items()), "the upload is not all there"
    return took


async def join(url: str, state_vector: bytes) -> tuple[float, int, float]:
    """Join; returns how long until synced, the bytes it took, and the longest silence."""
    started = heard = time.time()
    size, silence = 0, 0.0
    async with connect(url, **OPTIONS) as socket:
        await socket.send(yjs.encode(SyncStep1(state_vector)))
        async for message in socket:
            silence, heard = max(silence, time.time() - heard), time.time()
            size += len(message)
            if isinstance(message, bytes) and message[:2] == SYNC_STEP_2:
                return time.time() - started, size, silence
    raise AssertionError("closed before it was synced")


async def _synced(socket: ClientConnection, doc: Doc[Any]) -> None:
    async for message in socket:
        assert isinstance(message, bytes), "the server sends no text"
        decoded = yjs.decode(message, LIMITS)
        if isinstance(decoded, SyncStep2 | Update):
            doc.apply_update(decoded.update)
        if isinstance(decoded, SyncStep2):
            return


LIMITS = AwarenessLimits()


def parts_of(document: bytes) -> list[bytes]:
    """State vectors of clients that hold none, half, nearly all and all of it."""
    doc: Doc[Any] = Doc()
    doc.apply_update(document)
    clocks = check_state_vector(doc.get_state())
    partial = [{client: int(end * share) for client, end in clocks.items()} for share in (0.5, 0.999, 1)]
    return [b"\x00", b"\x00", *map(encode_state_vector, partial)]


async def measure(size_bytes: int) -> None:
    """Every phase, on one server."""
    document = big_document(size_bytes)
    vectors = parts_of(document)
    with tempfile.TemporaryDirectory(prefix="collab-bench-") as folder:
        os.chmod(folder, 0o711)  # noqa: PTH101 - nothing else runs yet; PostgreSQL is another user for root
        server = ServerProcess(Path(folder), auth="open", messages_per_s=100_000, bytes_per_s=10**9)
        server.start()
        try:
            url = f"{server.websocket_url}/big"
            async with watched(server, other="small", same="big") as seen:
                quiet = time.time(), time.time() + 1.0
                await asyncio.sleep(1.0)
                start = time.time()
                took = await upload(url, document)
                end = time.time()
            report("quiet", seen, quiet[0], quiet[1], "")
            report("upload", seen, start, end, f"taken in after {took:.1f} s")
            server.stop()
            server.start()
            async with watched(server, other="small") as seen:
                start = time.time()
                took, size, _silence = await join(url, b"\x00")
                end = time.time()
            report("opening", seen, start, end, f"open and joined after {took:.1f} s, {size} bytes")
            async with watched(server, other="small", same="big") as seen:
                start = time.time()
                joined = await asyncio.gather(*(join(url, vector) for vector in vectors))
                end = time.time()
            detail = ", ".join(f"{took:.1f} s {size >> 10} KiB" for took, size, _silence in joined)
            report("joins", seen, start, end, f"{detail}; longest silence {max(s for _, _, s in joined):.1f} s")
        finally:
            server.stop()


def report(phase: str, seen: Watch, start: float, end: float, detail: str) -> None:
    """One line."""
    stalls = ", ".join(f"{who} room {seen.longest_ms(who, start, end):.0f} ms" for who in seen.delays)
    print(f"{phase:8} longest stall: {stalls}   {detail}", flush=True)


def main() -> None:
    """Measure, or watch for a measurement."""
    if sys.argv[1:2] == ["watch"]:
        asyncio.run(watch(sys.argv[2]))
    else:
        asyncio.run(measure(int(float(sys.argv[1] if sys.argv[1:] else 20) * 1_000_000)))


if __name__ == "__main__":
    main()
