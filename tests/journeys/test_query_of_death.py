"""An update that ends the process ends one, once: it is kept, its author is barred on every task, the rest goes on.

The server here is the real one but for the CRDT, in which certain words do what only an unknown fault could (F17, F18,
F19, T29).
"""

from __future__ import annotations

import asyncio
import os
import signal
from typing import Any

import pytest
from pycrdt import Doc, Text
from websockets.exceptions import ConnectionClosed, InvalidStatus

from collab_server.wire.messages import Update
from tests.services import deadly_server
from tests.services.client import Client
from tests.services.deadly_server import EXHAUST, HANG, KILLED, SEGFAULT
from tests.services.fixtures_server import StartServer
from tests.services.running import rows, until_journaled
from tests.services.server import ServerProcess
from tests.services.tokens import token

WATCHDOG_S = 3.0
REASONS = {SEGFAULT: "crash", HANG: "crash", EXHAUST: "crash", KILLED: "killed"}
KEPT = """
    select q.id, q.actor_id, q.reason, q.content, q.sha256 from quarantined_updates q
    join documents d on d.id = q.document_id where d.name = $1 order by q.id
"""


def deadly(start_server: StartServer, **settings: Any) -> ServerProcess:
    return start_server(program=deadly_server.__name__, auth="dev", watchdog_s=WATCHDOG_S, **settings)


def update_with(word: bytes) -> bytes:
    doc: Doc[Any] = Doc(client_id=666)
    doc.get("elsewhere", type=Text).insert(0, word.decode())
    update: bytes = doc.get_update()
    return update


async def until_ready_again(server: ServerProcess, times: int) -> None:
    async with asyncio.timeout(60):
        while server.times_ready < times:  # noqa: ASYNC110
            await asyncio.sleep(0.02)


async def until_kept(server: ServerProcess, document: str, number: int) -> list[Any]:
    async with asyncio.timeout(20):
        while len(found := await rows(server, KEPT, document)) < number:  # noqa: ASYNC110
            await asyncio.sleep(0.02)
    return found


async def kill_with(server: ServerProcess, document: str, word: bytes, who: str = "mallory") -> None:
    """Somebody sends it, and the connection breaks without a word."""
    async with Client(server.websocket_url, document, token=token(server, who), hello=False) as mallory:
        await mallory.send(Update(update_with(word)))
        assert (await mallory.until_closed())[0] == 1006


async def refused(server: ServerProcess, document: str, who: str) -> bool:
    """Whether that person gets no seat to write."""
    try:
        async with Client(server.websocket_url, document, token=token(server, who), hello=False):
            return False
    except InvalidStatus as refusal:
        return refusal.response.status_code == 400


@pytest.mark.parametrize("word", REASONS)
async def test_what_was_committed_is_there_again_and_what_ended_the_process_is_not(
    start_server: StartServer, word: bytes
) -> None:
    server = deadly(start_server)
    async with Client(server.websocket_url, "demo", token=token(server, "ada")) as ada:
        await ada.type("committed")
        await until_journaled(server, "demo", 1)
        await kill_with(server, "demo", word)
        assert (await ada.until_closed())[0] == 1006
    await until_ready_again(server, 2)
    [kept] = await until_kept(server, "demo", 1)
    assert (kept["actor_id"], kept["reason"]) == ("mallory", REASONS[word])
    assert kept["content"] == update_with(word)
    async with Client(server.websocket_url, "demo", token=token(server, "ada")) as ada:
        assert str(ada.text) == "committed"
        assert str(ada.doc.get("elsewhere", type=Text)) == ""
        await ada.type("!")
        await until_journaled(server, "demo", 2)
    assert await refused(server, "demo", "mallory") == (word != KILLED)  # which may have been chance, once
    assert server.stop() == 0


async def test_a_reconnecting_attacker_ends_one_task_and_is_refused_by_all_the_others(
    start_server: StartServer,
) -> None:
    first = deadly(start_server)
    url, shared = first.environment()["COLLAB_DATABASE_URL"], first.folder / "data"
    others = [deadly(start_server, database_url=url, data_dir=shared) for _ in range(2)]
    keys = token(first, "mallory"), token(first, "ada")
    pids = [server.pid for server in others]
    async with (
        Client(others[0].websocket_url, "demo", token=keys[0]) as lurking,
        Client(others[0].websocket_url, "elsewhere", token=keys[0]) as elsewhere,
        Client(others[0].websocket_url, "demo", token=keys[1]) as ada,
    ):
        async with Client(first.websocket_url, "demo", token=keys[0], hello=False) as mallory:
            await mallory.send(Update(update_with(SEGFAULT)))
            await mallory.until_closed()
        await until_kept(first, "demo", 1)
        assert (await lurking.until_closed())[0] == 4409  # a seat it had before, on a task that lives
        assert (await elsewhere.until_closed())[0] == 4409
        for server in (*others, first):
            if server is first:
                await until_ready_again(first, 2)
            for document in ("demo", "a-new-one"):
                with pytest.raises((InvalidStatus, ConnectionClosed)):
                    await Client(server.websocket_url, document, token=keys[0]).__aenter__()
        await ada.type("undisturbed")
        assert ada.closed is None
    assert [server.pid for server in others] == pids
    assert [server.times_ready for server in others] == [1, 1]
    assert len(await rows(first, KEPT, "demo")) == 1


async def test_a_server_that_crashes_again_and_again_is_given_up_with_a_code_of_its_own(
    start_server: StartServer,
) -> None:
    server = deadly(start_server)
    for attempt in range(6):  # six people: each is barred after the first
        await kill_with(server, f"demo-{attempt}", SEGFAULT, f"mallory-{attempt}")
        if attempt < 5:
            await until_ready_again(server, attempt + 2)
    assert await asyncio.to_thread(server.exit_code) == 70
    for attempt in range(6):  # the last one too
        await until_kept(server, f"demo-{attempt}", 1)


async def test_a_crash_that_no_update_caused_bars_nobody(start_server: StartServer) -> None:
    server = deadly(start_server)
    async with Client(server.websocket_url, "demo", token=token(server, "ada")) as ada:
        await ada.type("committed")
        await until_journaled(server, "demo", 1)
        os.kill(server.pid, signal.SIGSEGV)
        await ada.until_closed()
    await until_ready_again(server, 2)
    async with Client(server.websocket_url, "demo", token=token(server, "ada")) as ada:
        assert str(ada.text) == "committed"
    assert await rows(server, KEPT, "demo") == []
    assert "was ended by SIGSEGV: starting it again" in server.output
