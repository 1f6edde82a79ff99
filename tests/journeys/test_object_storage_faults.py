"""Promise 1 while the object store fails (F07), two tasks fold one document (F08), and uploads are cut (F15)."""

from __future__ import annotations

import asyncio
import hashlib
import os
import random
import signal
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from tests.services.client import Client
from tests.services.fixtures_server import StartServer
from tests.services.http_faults import Answer, Cut, Fault, Hold, HttpFaults, Request
from tests.services.ministack import Ministack
from tests.services.running import admin_get, metric, rows, until_gone, until_journaled, until_metric
from tests.services.server import ServerProcess
from tests.services.tokens import token

DOCUMENT = "stored"


@pytest.fixture
def proxy(ministack: Ministack, monkeypatch: pytest.MonkeyPatch) -> Iterator[HttpFaults]:
    """Between the server and its object store; the server finds its credentials where boto3 looks for them."""
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", ministack.access_key)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", ministack.secret_key)
    with HttpFaults(ministack.port) as between:
        yield between


def on_s3(ministack: Ministack, bucket: str, url: str, **settings: Any) -> dict[str, Any]:
    return {
        "auth": "dev",
        "s3_bucket": bucket,
        "s3_endpoint_url": url,
        "s3_region": ministack.region,
        "checkpoint_after_s": 600,
        "watchdog_s": 0,
        **settings,
    }


@asynccontextmanager
async def editing(
    server: ServerProcess, document: str = DOCUMENT, *, keys: ServerProcess | None = None
) -> AsyncIterator[Client]:
    """A member; `keys` is the server whose folder holds the signing keys, where it is another one."""
    carried = token(keys or server, "ada", document=document)
    async with Client(server.websocket_url, document, token=carried) as client:
        yield client


async def read(server: ServerProcess, expected: str, document: str = DOCUMENT) -> None:
    """Wait until somebody who joins sees that text."""
    async with editing(server, document) as client:
        await client.until(lambda: str(client.text) == expected)


async def checkpoint(server: ServerProcess, *, keys: ServerProcess | None = None) -> int:
    """Ask for a checkpoint; the status of the answer."""
    carried = token(keys or server, "root", role="viewer", document="none", groups=["admin"])
    path = f"/rooms/{DOCUMENT}/checkpoint"
    return (await asyncio.to_thread(admin_get, server, path, carried, method="POST"))[0]


async def generations(server: ServerProcess) -> list[tuple[int, str]]:
    """Generation and key, oldest first."""
    return [
        (row["generation"], row["key"])
        for row in await rows(
            server,
            "select generation, key from checkpoints join documents on documents.id = document_id"
            " where name = $1 order by 1",
            DOCUMENT,
        )
    ]


async def unfolded(server: ServerProcess) -> int:
    (row,) = await rows(server, "select count(*) from document_updates where folded_into is null")
    return int(row[0])


def uploads(request: Request) -> bool:
    return request.method == "PUT" and "/crdt/" in request.path


@pytest.mark.timeout(300)
async def test_editing_and_opening_go_on_while_the_object_store_says_slow_down(
    ministack: Ministack, s3_bucket: str, proxy: HttpFaults, start_server: StartServer
) -> None:
    """F07: the journal grows, checkpoints are tried again after pauses, and are made when the store is back."""
    server = start_server(
        **on_s3(ministack, s3_bucket, proxy.url, checkpoint_after_updates=5, checkpoint_after_s=0.5, room_grace_s=0)
    )
    async with editing(server, "before") as early:  # a document with a checkpoint
        await early.type("before")
        await until_metric(server, "collab_checkpoints_total", 1, outcome="written")
    proxy.fault = lambda request: Answer(503, "SlowDown") if "/crdt/" in request.path else None
    began = len(proxy.requests)
    async with editing(server) as ada, editing(server) as bob:
        for number in range(60):
            await ada.type(f"{number} ")
            await bob.until(lambda wanted=f"{number} ": str(bob.text).endswith(wanted))  # type: ignore[misc]
        await until_journaled(server, DOCUMENT, 60)
        async with asyncio.timeout(60):
            failed = ("collab_checkpoints_total", {"outcome": "failed"})
            while not await asyncio.to_thread(metric, server, failed[0], **failed[1]):  # noqa: ASYNC110
                await asyncio.sleep(0.05)
        assert await unfolded(server) == 60
        assert await asyncio.to_thread(metric, server, "collab_unfolded_updates") == 60
        # Sixty edits far over every bound are one attempt, and with boto3's own three that is three requests.
        assert sum(uploads(request) for request in proxy.requests[began:]) <= 3
        await read(server, "before", "before")  # its rows are still there
        async with editing(server, "new") as carol:
            await carol.type("new")
        await until_journaled(server, "new", 1)
        proxy.fault = lambda _request: None
        async with asyncio.timeout(60):  # the first pause is 10 s at most, and the document called "new" is folded too
            while await unfolded(server):  # noqa: ASYNC110
                await asyncio.sleep(0.1)
    await read(server, "".join(f"{number} " for number in range(60)))


@pytest.mark.timeout(300)
async def test_a_task_that_stood_still_between_upload_and_record_takes_nothing_back(
    ministack: Ministack, s3_bucket: str, proxy: HttpFaults, start_server: StartServer
) -> None:
    """F08: the pointer never goes back, and what the loser stored is gone."""
    slow = start_server(**on_s3(ministack, s3_bucket, proxy.url))
    settings = on_s3(ministack, s3_bucket, ministack.endpoint_url, data_dir=slow.folder / "data")
    quick = start_server(**settings, database_url=slow.environment()["COLLAB_DATABASE_URL"])
    hold = Hold()
    async with editing(slow) as ada:
        await ada.type("one ")
        await until_journaled(slow, DOCUMENT, 1)
        proxy.fault = lambda request: hold if request.method == "GET" and "/crdt/" in request.path else None
        late = asyncio.create_task(checkpoint(slow))
        assert await asyncio.to_thread(hold.reached.wait, 30), "the read-back never came"
        os.kill(slow.pid, signal.SIGSTOP)
        try:
            async with editing(quick, keys=slow) as bob:
                await bob.until(lambda: str(bob.text) == "one ")
                for word in ("two ", "three "):
                    await bob.type(word)
                    assert await checkpoint(quick, keys=slow) == 200
            ahead = await generations(quick)
            assert [generation for generation, _ in ahead] == [1, 2]
        finally:
            hold.go_on.set()
            os.kill(slow.pid, signal.SIGCONT)
        assert await late == 200  # storage is up to date, whoever did it
        assert await generations(quick) == ahead
        stored = {entry["Key"] for entry in ministack.s3.list_objects_v2(Bucket=s3_bucket, Prefix="crdt/")["Contents"]}
        assert stored == {key for _, key in ahead}
        proxy.fault = lambda _request: None
        await ada.type("four ")
        assert await checkpoint(slow) == 200
        assert [generation for generation, _ in await generations(quick)] == [1, 2, 3]
    assert await unfolded(quick) == 0
    quick.restart()
    async with editing(quick, keys=slow) as reader:
        await reader.until(lambda: all(word in str(reader.text) for word in ("one ", "two ", "three ", "four ")))
        assert len(str(reader.text)) == len("one two three four ")


@pytest.mark.timeout(300)
async def test_an_upload_cut_before_a_kill_is_never_pointed_to(
    ministack: Ministack, s3_bucket: str, proxy: HttpFaults, start_server: StartServer
) -> None:
    """F15: cut at a random byte, then kill -9 of the one who was uploading."""
    chance = random.Random(15)
    server = start_server(**on_s3(ministack, s3_bucket, proxy.url))
    expected = ""
    for number in range(3):
        cut = threading.Event()

        def fault(request: Request, cut: threading.Event = cut) -> Fault:
            if not uploads(request):
                return None
            cut.set()
            return Cut(chance.randrange(request.size_bytes))

        async with editing(server) as ada:
            await ada.until(lambda expected=expected: str(ada.text) == expected)  # type: ignore[misc]
            word = f"<{number}> " * 20
            await ada.type(word)
            expected += word
            await until_journaled(server, DOCUMENT, number + 1)
            proxy.fault = fault if number != 1 else lambda _request: None  # one good one in between
            asked = asyncio.create_task(checkpoint(server))
            if number == 1:
                assert await asked == 200
            else:
                assert await asyncio.to_thread(cut.wait, 30)
            server.kill()
            await asyncio.gather(asked, return_exceptions=True)
        proxy.fault = lambda _request: None
        for _, key, digest in [
            tuple(row) for row in await rows(server, "select generation, key, sha256 from checkpoints")
        ]:
            body = ministack.s3.get_object(Bucket=s3_bucket, Key=key)["Body"].read()
            assert hashlib.sha256(body).digest() == digest
        assert len(await generations(server)) == (number >= 1)
        await asyncio.to_thread(server.start)
        await read(server, expected)


@pytest.mark.timeout(300)
async def test_when_the_bucket_was_emptied_a_document_opens_from_its_rows_or_not_at_all(
    ministack: Ministack, s3_bucket: str, proxy: HttpFaults, start_server: StartServer
) -> None:
    """F24: the pointers are ahead of the storage. It shows, and never as an empty document."""
    server = start_server(**on_s3(ministack, s3_bucket, proxy.url, room_grace_s=0, prune_every_s=0.05))
    async with editing(server) as ada:
        for word in ("one ", "two ", "three "):
            await ada.type(word)
            assert await checkpoint(server) == 200
    for entry in ministack.s3.list_objects_v2(Bucket=s3_bucket, Prefix="crdt/")["Contents"]:
        ministack.s3.delete_object(Bucket=s3_bucket, Key=entry["Key"])
    await until_metric(server, "collab_blobs_missing", 3)
    await until_gone(server, "collab_rooms")
    # Else the next checkpoint would repair it, as soon as the reader has left.
    proxy.fault = lambda request: Answer(503, "SlowDown") if uploads(request) else None
    await read(server, "one two three ")
    assert await asyncio.to_thread(metric, server, "collab_checkpoints_unreadable_total") >= 3
    await rows(server, "delete from document_updates where folded_into = 1")
    await until_gone(server, "collab_rooms")
    with pytest.raises(Exception, match="503"):
        await read(server, "one two three ")
    assert await asyncio.to_thread(metric, server, "collab_documents_unloadable_total") == 1
    assert "critical" in {line["level"] for line in server.log_lines if line["event"] == "document_unloadable"}
