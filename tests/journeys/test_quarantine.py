"""What was refused is not lost: operators see it, fetch it, and put it back once it is sound. Poison stays out.

The offline copy here is one that a room refuses: it builds on an edit that only another device of its author has.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from typing import Any

import pytest
from pycrdt import Doc, Text

from collab_server.wire.messages import SyncStep1, SyncStep2, Update
from tests.corpus.document import corpus_document
from tests.corpus.encode import item, structs, text, update
from tests.services.client import Client
from tests.services.fixtures_postgres import PostgresOfMajor
from tests.services.running import admin_get, admin_json, admin_post, running_server
from tests.services.server import ServerProcess
from tests.services.tokens import token

# Sound in itself, but its parent is a word in an array, which can hold nothing: only the CRDT notices.
BREAKS_THE_CRDT = update(structs(5, 0, [item(4, text("a"), parent=(1, 0))]))


@pytest.fixture(scope="module")
def server(postgres_of_major: PostgresOfMajor, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    with running_server(
        postgres_of_major, tmp_path_factory, auth="dev", quarantine_max_rows=20, quarantine_max_bytes=1_000
    ) as server:
        yield server


def operator(server: ServerProcess) -> str:
    return token(server, "root", role="viewer", document="none", groups=["admin"])


async def kept(server: ServerProcess, document: str, number: int) -> list[dict[str, Any]]:
    """The rows of a document once there are so many, newest first."""
    async with asyncio.timeout(20):
        while True:
            status, answer = await asyncio.to_thread(
                admin_json, server, f"/quarantine?document={document}", operator(server)
            )
            assert status == 200
            if len(answer["updates"]) >= number:
                assert len(answer["updates"]) == number
                return list(answer["updates"])
            await asyncio.sleep(0.02)


async def act(server: ServerProcess, row: int, action: str) -> tuple[int, dict[str, Any]]:
    """What the port answers to `replay` or `drop`."""
    path = f"/quarantine/{row}/{action}"
    status, body = await asyncio.to_thread(admin_get, server, path, operator(server), method="POST")
    return status, json.loads(body)


def questions(client: Client) -> int:
    """How often it was asked for what the room lacks."""
    return sum(isinstance(message, SyncStep1) for message in client.received)


async def rule(server: ServerProcess, document: str, action: str) -> None:
    """Freeze the document, or end that."""
    path = f"/rooms/{document}/{action}"
    status, told = await asyncio.to_thread(admin_post, server, path, operator(server), {})
    assert status == 200, told


async def refused(server: ServerProcess, document: str, message: Update | SyncStep2, who: str) -> None:
    """One sends it as its first word, and whenever it is asked, and is closed for it."""
    async with Client(server.websocket_url, document, token=token(server, who), hello=False) as client:
        times = 0
        while client.closed is None:
            times += 1
            await client.send(message)
            await client.until(lambda: client.closed is not None or questions(client) > times)  # noqa: B023
        assert (await client.until_closed())[0] == 4409


def two_edits(client_id: int) -> tuple[bytes, bytes]:
    """An edit, and one that builds on it."""
    doc: Doc[Any] = Doc(client_id=client_id)
    words = doc.get("content", type=Text)
    words += "first "
    first = doc.get_update()
    before = doc.get_state()
    words += "second"
    return first, doc.get_update(before)


async def test_a_refused_offline_copy_comes_back_as_its_authors_edit_once_nothing_is_missing(
    server: ServerProcess,
) -> None:
    first, second = two_edits(77)
    async with Client(server.websocket_url, "offline", token=token(server, "ada")) as ada:
        await refused(server, "offline", SyncStep2(second), "bob")
        [row] = await kept(server, "offline", 1)
        assert (row["actor_id"], row["reason"], row["has_content"]) == ("bob", "gap", True)
        path = f"/quarantine/{row['id']}/update"
        assert await asyncio.to_thread(admin_get, server, path, operator(server)) == (200, second)

        status, report = await act(server, row["id"], "replay")
        assert (status, report["outcome"]) == (409, "gap")
        assert str(ada.text) == ""
        assert (await kept(server, "offline", 1))[0]["has_content"]

        await ada.send(Update(first))
        await rule(server, "offline", "freeze")
        status, report = await act(server, row["id"], "replay")
        assert (status, report["outcome"]) == (409, "refused")
        assert "frozen" in report["detail"]
        await rule(server, "offline", "unfreeze")
        status, report = await act(server, row["id"], "replay")
        assert (status, report["outcome"]) == (200, "replayed"), report
        await ada.until(lambda: any(message == Update(second) for message in ada.received))
        [row] = await kept(server, "offline", 1)
        assert (row["has_content"], row["replayed_at"] is not None) == (False, True)
        assert (await act(server, row["id"], "replay"))[1]["outcome"] == "no_content"
    server.restart()  # it was journaled before the quarantine let go of it
    async with Client(server.websocket_url, "offline", token=token(server, "ada")) as ada:
        assert str(ada.text) == "first second"


@pytest.mark.parametrize(
    ("poison", "outcome"), [(bytes.fromhex("80808040"), "refused"), (BREAKS_THE_CRDT, "trial_failed")]
)
async def test_poison_is_refused_again_without_harm_to_the_room(
    server: ServerProcess, poison: bytes, outcome: str
) -> None:
    document = f"poison-{outcome}"
    async with Client(server.websocket_url, document, token=token(server, "ada")) as ada:
        await ada.send(Update(corpus_document()))
        await ada.type("kept")
        await refused(server, document, Update(poison), f"mallory-{outcome}")
        [row] = await kept(server, document, 1)
    async with Client(server.websocket_url, document, token=token(server, "ada")) as ada:
        status, report = await act(server, row["id"], "replay")
        assert (status, report["outcome"]) == (409, outcome), report
        await ada.type("!")
        async with Client(server.websocket_url, document, token=token(server, "eve")) as eve:
            await eve.until_text("kept!")
        assert ada.closed is None
        assert (await kept(server, document, 1))[0]["has_content"]
        assert await act(server, row["id"], "drop") == (200, {"dropped": True})
        assert await kept(server, document, 0) == []
        assert (await act(server, row["id"], "replay"))[0] == 404


async def test_a_flood_of_refusals_is_counted_and_what_is_too_large_keeps_its_digest(server: ServerProcess) -> None:
    for number in range(25):
        await refused(server, "flood", Update(b"\x80\x80\x80\x40" + b"x" * 90 * number), "mallory")
    rows = list[dict[str, Any]]()
    async with asyncio.timeout(20):
        while sum(1 + row["unkept"] for row in rows) < 25:
            rows = await kept(server, "flood", 20)
    assert {row["size_bytes"] for row in rows if not row["has_content"]} == {
        size for row in rows if (size := row["size_bytes"]) > 1_000
    }


async def test_pages_and_rows_that_cannot_be_meant_are_refused(server: ServerProcess) -> None:
    for query in ("limit=0", "limit=501", "limit=x", "before=0", "before=-1", f"before={2**63}"):
        assert admin_json(server, f"/quarantine?{query}", operator(server))[0] == 400, query
    for path in ("/quarantine/999999999999999999999/update", "/quarantine/4711/update"):
        assert admin_json(server, path, operator(server))[0] == 404, path
    for action in ("replay", "drop"):
        path = f"/quarantine/1/{action}"
        assert admin_get(server, path, method="POST")[0] == 401
        assert admin_get(server, path, token(server, "ada", role="owner"), method="POST")[0] == 403
        assert admin_get(server, path, operator(server))[0] == 405
