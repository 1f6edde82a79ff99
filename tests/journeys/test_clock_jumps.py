"""F10: the clock on the wall jumps by an hour, either way. Only the times in tokens may notice.

The server runs with a `time.time` of the test's own, loaded by Python itself at the start of the process.
"""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest
from websockets.exceptions import InvalidStatus

from collab_server.errors import Close
from collab_server.wire.awareness import AwarenessEntry
from collab_server.wire.messages import Awareness
from tests.services.client import Client
from tests.services.fixtures_server import StartServer
from tests.services.running import journaled, metric, until_gone, until_journaled
from tests.services.server import ServerProcess
from tests.services.tokens import token

HOUR_S = 3_600
SHIFTED_CLOCK = """
import time
from pathlib import Path

_real, _shift = time.time, Path({path!r})
time.time = lambda: _real() + float(_shift.read_text())
"""


class WallClock:
    """The server's: right until it `jumps`."""

    def __init__(self, folder: Path) -> None:
        self._shift = folder / "shift"
        self.jump(0)
        (folder / "sitecustomize.py").write_text(SHIFTED_CLOCK.format(path=str(self._shift)))

    def jump(self, to_s: float) -> None:
        """Be so many seconds off from now on."""
        draft = self._shift.with_suffix(".new")
        draft.write_text(str(to_s))
        draft.rename(self._shift)


@pytest.fixture
def wall_clock(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> WallClock:
    folder = tmp_path_factory.mktemp("clock")
    monkeypatch.setenv("PYTHONPATH", str(folder))
    return WallClock(folder)


async def status_with(server: ServerProcess, token: str) -> int:
    try:
        async with Client(server.websocket_url, "jumpy", token=token):
            return 101
    except InvalidStatus as refusal:
        return refusal.response.status_code


async def until_more_checkpoints(server: ServerProcess, written: float) -> None:
    async with asyncio.timeout(20):
        while await asyncio.to_thread(metric, server, "collab_checkpoints_total", outcome="written") == written:  # noqa: ASYNC110
            await asyncio.sleep(0.02)


def has_cursor(client: Client, client_id: int) -> bool:
    entry = client.awareness.get(client_id)
    return entry is not None and json.loads(entry.state) is not None


async def test_a_clock_that_jumps_ends_tokens_and_nothing_else(
    start_server: StartServer, wall_clock: WallClock
) -> None:
    server = start_server(auth="dev", room_grace_s=0, checkpoint_after_s=0.2)
    long_lived = token(server, "ada", expires_s=2 * HOUR_S)
    watchers = token(server, "watcher", expires_s=2 * HOUR_S)
    short_lived = token(server, "bob", expires_s=HOUR_S / 2)
    async with (
        Client(server.websocket_url, "jumpy", token=long_lived) as ada,
        Client(server.websocket_url, "jumpy", token=watchers) as watcher,
        Client(server.websocket_url, "jumpy", token=short_lived) as bob,
    ):
        await ada.send(Awareness((AwarenessEntry(ada.doc.client_id, 1, b"{}"),)))
        await watcher.until(lambda: has_cursor(watcher, ada.doc.client_id))

        wall_clock.jump(HOUR_S)
        assert await status_with(server, short_lived) == 401
        assert await status_with(server, long_lived) == 101
        assert (await bob.until_closed())[0] == Close.EXPIRED.code

        for shift_s, text in ((HOUR_S, "later "), (-HOUR_S, "earlier ")):
            wall_clock.jump(shift_s)
            written = metric(server, "collab_checkpoints_total", outcome="written")
            rows = await journaled(server, "jumpy")
            await ada.type(text)
            await watcher.until_text(str(ada.text))
            await until_journaled(server, "jumpy", rows + 1)
            await until_more_checkpoints(server, written)
            assert has_cursor(watcher, ada.doc.client_id)

        assert await status_with(server, token(server, "eve")) == 401  # not valid for another hour
        wall_clock.jump(-20)
        assert await status_with(server, token(server, "eve")) == 101  # within the leeway for clocks that differ
        assert (ada.closed, watcher.closed) == (None, None)
        wall_clock.jump(HOUR_S)
    await until_gone(server, "collab_rooms")  # empty ones go when they should
