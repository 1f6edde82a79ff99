"""A document is restored while two tasks hold it: everyone goes on with the restored state, and nothing of the replaced
history comes back, by no client and from no task.
"""

from __future__ import annotations

import asyncio
import subprocess
import sys

import pytest
from websockets.exceptions import InvalidStatus

from collab_server.wire.messages import SyncStep1
from tests.services.client import Client
from tests.services.fixtures_server import StartServer
from tests.services.node import VERSIONS, NodeClient
from tests.services.redis import RedisServer
from tests.services.running import metric, rows, until_metric
from tests.services.server import ServerProcess

DOCUMENT = "restored"


async def command(server: ServerProcess, *arguments: str) -> subprocess.CompletedProcess[str]:
    """`collab-server restore …` as an operator types it, beside the running server; clients go on meanwhile."""
    return await asyncio.to_thread(
        subprocess.run,
        [sys.executable, "-m", "commands.cli", "restore", *arguments],
        env=server.environment(),
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


async def until_generations(server: ServerProcess, number: int) -> None:
    """Wait until so many generations of the document were made."""
    await until_metric(server, "collab_checkpoints_total", number, outcome="written")


@pytest.mark.timeout(300)
async def test_a_document_is_restored_under_two_tasks_and_old_copies_stay_out(
    start_server: StartServer, redis_server: RedisServer, node_packages: object
) -> None:
    settings = {"auth": "open", "redis_url": redis_server.url, "checkpoint_after_updates": 1, "checkpoint_after_s": 1}
    one = start_server(**settings)
    shared = {"database_url": one.settings["database_url"], "data_dir": one.folder / "data"}
    two = start_server(**settings, **shared, room_grace_s=3600)
    stock = [NodeClient(two.websocket_url, DOCUMENT, version=version) for version in VERSIONS]
    ada, bob = Client(one.websocket_url, DOCUMENT), Client(two.websocket_url, DOCUMENT)
    async with ada, bob, stock[0] as first, stock[1] as second, stock[2] as third:
        await ada.type("good")
        await bob.until_text("good")
        await until_generations(one, 1)
        for client in (first, second, third):
            await client.sees_text("good")
            await client.ask("disconnect")
        await second.ask("insert", at=4, text=" offline")  # of the history that will be replaced, or so it seems
        await ada.type(" bad")
        await bob.until_text("good bad")
        await until_generations(one, 2)

        listed = await command(one, DOCUMENT, "--list")
        assert [line.split()[0] for line in listed.stdout.splitlines()] == ["generation", "2", "1"], listed
        done = await command(one, DOCUMENT, "--generation", "1")
        assert done.returncode == 0, done
        assert "epoch 1" in done.stdout

        assert (await ada.until_closed())[0] == 4501
        assert (await bob.until_closed())[0] == 4501
        async with Client(one.websocket_url, DOCUMENT) as fresh, Client(two.websocket_url, DOCUMENT) as newest:
            await fresh.until_text("good")
            await fresh.type(" again")
            await newest.until_text("good again")
            for old in (ada, bob):
                async with Client(two.websocket_url, DOCUMENT) as back:
                    assert back.closed is None
                returning = Client(two.websocket_url, DOCUMENT, hello=False)
                returning.doc = old.doc
                async with returning:
                    returning._hello = True
                    await returning.send(SyncStep1(old.doc.get_state()))
                    code, reason = await returning.until_closed()
                assert (code, "restored" in reason) == (4410, True)
            for client in (first, second, third):
                before = len(await client.ask("events"))
                await client.ask("connect")
                await client.wait("event", name="connection-close", since=before)
                assert (await client.events("connection-close"))[-1]["code"] == 4410
                await client.ask("disconnect")
            async with NodeClient(one.websocket_url, DOCUMENT) as stranger:
                await stranger.sees_text("good again")
                await stranger.ask("insert", at=0, text="so ")
                await newest.until_text("so good again")
                await stranger.ask("disconnect")
                await stranger.ask("connect")
                await stranger.synced()
        noted = await rows(one, "select distinct reason from quarantined_updates")
        assert {row["reason"] for row in noted} == {"old_history"}
    assert metric(two, "collab_closes_total", reason="history_replaced") > 0


async def test_a_client_that_knows_its_epoch_is_refused_before_it_is_let_in(start_server: StartServer) -> None:
    server = start_server(auth="open", checkpoint_after_updates=1, checkpoint_after_s=1)
    async with Client(server.websocket_url, DOCUMENT) as ada:
        await ada.type("good")
        await until_generations(server, 1)
    assert (await command(server, DOCUMENT, "--generation", "1")).returncode == 0
    for epoch in ("1", "2", "x"):
        async with Client(server.websocket_url, f"{DOCUMENT}?epoch={epoch}") as client:
            assert client.closed is None
    with pytest.raises(InvalidStatus) as refused:
        await Client(server.websocket_url, f"{DOCUMENT}?epoch=0").__aenter__()
    assert refused.value.response.status_code == 410


async def test_the_command_says_what_is_wrong_and_changes_nothing(start_server: StartServer) -> None:
    server = start_server(auth="open", checkpoint_after_updates=1, checkpoint_after_s=1)
    async with Client(server.websocket_url, DOCUMENT) as ada:
        await ada.type("good")
        await until_generations(server, 1)
        for arguments, expected in (
            ((DOCUMENT, "--generation", "7"), "there is no generation 7; there are: 1"),
            (("elsewhere", "--generation", "1"), "there is no document elsewhere"),
            ((DOCUMENT,), "give either --generation N or --list"),
        ):
            done = await command(server, *arguments)
            assert done.returncode == 2
            assert expected in done.stderr
        assert ada.closed is None
    assert [row["epoch"] for row in await rows(server, "select epoch from documents")] == [0]
