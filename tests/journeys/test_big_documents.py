"""A 6 MB document is uploaded, opened from storage and joined, and nobody else feels it.

How long the longest stall is on a quiet machine says `python -m bench.big`. The bound here allows for a busy one, which
shows in the second before; taking in the upload at once would stall for 2 s more.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable
from typing import Any

import pytest
from pycrdt import Doc
from websockets.asyncio.client import connect

from bench.big import OPTIONS, Watch, upload, watched
from collab_server.firewall import check_state_vector
from collab_server.update_split import Bounds, split_update
from collab_server.wire import yjs
from collab_server.wire.awareness import AwarenessLimits
from collab_server.wire.lib0 import encode_state_vector
from collab_server.wire.messages import SyncStep1, SyncStep2, Update
from tests.services.big_documents import big_document
from tests.services.fixtures_server import StartServer
from tests.services.server import ServerProcess

SIZE_BYTES = 6_000_000
LONGEST_STALL_MS, TIMES_QUIET = 1_000.0, 4.0
QUIET_S = 1.0  # that `watched` waits before anything happens
LONGEST_SILENCE_S = 20.0  # stock clients leave after 30


async def received(url: str, state_vector: bytes) -> tuple[list[bytes], float]:
    """Join at `state_vector`; what was sent until the end of the sync, and the longest silence before it."""
    updates = []
    heard, silence = time.monotonic(), 0.0
    async with connect(url, **OPTIONS) as socket:
        await socket.send(yjs.encode(SyncStep1(state_vector)))
        async for frame in socket:
            assert isinstance(frame, bytes)
            heard, silence = time.monotonic(), max(silence, time.monotonic() - heard)
            message = yjs.decode(frame, AwarenessLimits())
            if isinstance(message, Update | SyncStep2):
                updates.append(message.update)
            if isinstance(message, SyncStep2):
                return updates, silence
    raise AssertionError("the connection ended before the sync")


def clocks_of(updates: Iterable[bytes]) -> dict[int, int]:
    doc: Doc[Any] = Doc()
    for update in updates:
        doc.apply_update(update)
    return check_state_vector(doc.get_state())


def assert_undisturbed(seen: Watch, started: float, ended: float) -> None:
    for who in seen.delays:
        quiet_ms = seen.longest_ms(who, started - QUIET_S, started)
        assert seen.longest_ms(who, started, ended) < LONGEST_STALL_MS + TIMES_QUIET * quiet_ms


def holds(clocks: dict[int, int], wanted: dict[int, int]) -> bool:
    return all(clocks.get(client, 0) >= end for client, end in wanted.items())


@pytest.mark.timeout(400)
async def test_a_document_of_6_mb_comes_and_is_joined_while_others_type_undisturbed(start_server: StartServer) -> None:
    document = big_document(SIZE_BYTES)
    wanted = clocks_of([document])
    pieces = [piece.update for piece in split_update(document, {}, Bounds(100_000, 5_000, 5_000))]
    parts = [pieces[: int(len(pieces) * share)] for share in (0, 0, 0.5, 0.99, 1)]  # what those who join hold
    vectors = [encode_state_vector(clocks_of(part)) for part in parts]
    server = start_server(auth="open", messages_per_s=100_000, bytes_per_s=10**9)
    url = f"{server.websocket_url}/big"

    async with watched(server, other="small", same="big") as seen:
        started = time.time()
        await upload(url, document)  # which looks whether all of it came back
        ended = time.time()
    assert_undisturbed(seen, started, ended)

    restart(server)
    async with watched(server, other="small") as seen:
        started = time.time()
        whole, silence = await received(url, vectors[0])
        ended = time.time()
    assert holds(clocks_of(whole), wanted)
    assert silence < LONGEST_SILENCE_S
    assert_undisturbed(seen, started, ended)

    async with watched(server, other="small", same="big") as seen:
        started = time.time()
        joined = await asyncio.gather(*(received(url, vector) for vector in vectors))
        ended = time.time()
    assert_undisturbed(seen, started, ended)
    for part, (updates, silence) in zip(parts, joined, strict=True):
        assert holds(clocks_of([*part, *updates]), wanted)
        assert silence < LONGEST_SILENCE_S


def restart(server: ServerProcess) -> None:
    """In good order, so that a checkpoint is opened and not only rows."""
    assert server.stop() == 0
    server.start()
