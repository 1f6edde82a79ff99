"""An operator at one task sees and rules the whole cluster; every act is audited, and nobody else may act (T20)."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import pytest

from tests.services.client import Client
from tests.services.fixtures_postgres import PostgresOfMajor
from tests.services.fixtures_server import StartServer
from tests.services.postgres import apart
from tests.services.redis import RedisServer
from tests.services.running import admin_json, admin_post, rows
from tests.services.server import ServerProcess
from tests.services.tokens import token

Told = dict[str, Any]
ACTS = ("kick", "freeze", "unfreeze", "checkpoint", "evict")


@dataclass(frozen=True, slots=True)
class Pair:
    """Two tasks of one cluster. Keys and objects lie in the folder of the first."""

    one: ServerProcess
    two: ServerProcess

    def token(self, subject: str, **claims: Any) -> str:
        return token(self.one, subject, **claims)

    @property
    def operator(self) -> str:
        return self.token("root", role="viewer", document="none", groups=["admin"])

    async def ask(self, path: str, server: ServerProcess | None = None) -> tuple[int, Told]:
        return await asyncio.to_thread(admin_json, server or self.one, path, self.operator)

    async def act(self, path: str, **content: object) -> tuple[int, Told]:
        return await asyncio.to_thread(admin_post, self.one, path, self.operator, content)

    async def id_of(self, server: ServerProcess, *, among: int = 2) -> str:
        """Its task id, once it knows all `among` tasks."""
        async with asyncio.timeout(30):
            while True:
                _status, told = await self.ask("/tasks", server)
                [own] = [task["task"] for task in told["tasks"] if task["here"]]
                if len(told["tasks"]) == among and not told["partial"]:
                    return str(own)
                await asyncio.sleep(0.05)

    async def ids(self) -> tuple[str, str]:
        return await self.id_of(self.one), await self.id_of(self.two)


@pytest.fixture(scope="module")
def pair(postgres_of_major: PostgresOfMajor, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pair]:
    with ExitStack() as running:
        redis = RedisServer(tmp_path_factory.mktemp("redis"))
        redis.start()
        running.callback(redis.stop)
        folder = tmp_path_factory.mktemp("one")
        settings = {
            "auth": "dev",
            "redis_url": redis.url,
            "bus_key": "secret of this cluster",
            "allowed_origins": "http://pages.example",
            "database_url": apart(postgres_of_major(None).fresh_database()),
            "data_dir": folder / "data",
        }
        servers = [ServerProcess(at, **settings) for at in (folder, tmp_path_factory.mktemp("two"))]
        for server in servers:
            server.start()
            running.callback(server.stop)
        yield Pair(*servers)


async def test_a_room_on_two_tasks_is_told_by_either(pair: Pair) -> None:
    one, two = await pair.ids()
    ada, bob = pair.token("ada"), pair.token("bob")
    async with (
        Client(pair.one.websocket_url, "seen", token=ada) as here,
        Client(pair.two.websocket_url, "seen", token=ada),
        Client(pair.two.websocket_url, "seen", token=bob) as there,
    ):
        await here.type("hello")
        await there.until_text("hello")
        for server in (pair.one, pair.two):
            status, room = await pair.ask("/rooms/seen", server)
            assert status == 200
            assert (room["members"], room["operations"], room["level"], room["partial"]) == (3, 5, True, False)
            assert {task: told["members"] for task, told in room["tasks"].items()} == {one: 1, two: 2}
            assert {(person["subject"], person["devices"]) for person in room["people"]} == {("ada", 2), ("bob", 1)}
            assert {(seat["subject"], seat["task"]) for seat in room["seats"]} == {
                ("ada", one),
                ("ada", two),
                ("bob", two),
            }
            _status, page = await pair.ask("/rooms", server)
            assert [(line["document"], line["members"]) for line in page["rooms"] if line["document"] == "seen"] == [
                ("seen", 3)
            ]
        assert (await pair.ask("/rooms/seen?here=1"))[1]["members"] == 1
        assert (await pair.ask("/rooms/nobody"))[0] == 404
        assert (await pair.ask("/rooms?limit=0"))[0] == 400


async def test_a_member_of_the_other_task_is_kicked_and_does_not_come_back(pair: Pair) -> None:
    _one, two = await pair.ids()
    mallorys = pair.token("mallory")
    async with (
        Client(pair.two.websocket_url, "kicked", token=mallorys) as mallory,
        Client(pair.two.websocket_url, "kicked", token=pair.token("bob")) as bob,
    ):
        began = time.monotonic()
        status, told = await pair.act("/rooms/kicked/kick", subject="mallory", for_s=600)
        assert status == 200
        assert told["tasks"] == {two: {"members": 1, "frozen": False, "closed": 1}}
        assert (await mallory.until_closed())[0] == 4407
        assert time.monotonic() - began < 5
        page = Client(pair.one.websocket_url, "kicked", token=mallorys, origin="http://pages.example", hello=False)
        async with page:
            assert (await page.until_closed())[0] == 4407
            assert page.denied[0].startswith("an operator keeps you out of this document: try again in")
        assert bob.closed is None
        assert (await pair.act("/rooms/kicked/kick", subject="mallory", for_s=0))[0] == 200
        async with Client(pair.two.websocket_url, "kicked", token=mallorys) as back:
            assert back.synced
    assert (await pair.act("/rooms/kicked/kick", subject=""))[0] == 400
    assert (await pair.act("/rooms/kicked/kick", subject="mallory", for_s=-1))[0] == 400
    assert (await pair.act("/rooms/never-made/kick", subject="mallory"))[0] == 404


async def test_a_frozen_document_takes_no_edit_on_any_task_until_it_is_thawed(pair: Pair) -> None:
    """Nothing is lost: what was typed meanwhile comes when it is thawed, and is acknowledged then."""
    async with (
        Client(pair.one.websocket_url, "frozen", token=pair.token("ada")) as ada,
        Client(pair.two.websocket_url, "frozen", token=pair.token("bob")) as bob,
    ):
        await ada.type("before")
        await bob.until_text("before")
        status, told = await pair.act("/rooms/frozen/freeze")
        assert (status, told["changed"], len(told["tasks"])) == (200, True, 2)
        await bob.until(lambda: bool(bob.denied))
        await bob.type(", during")
        async with Client(pair.two.websocket_url, "frozen", token=pair.token("eve")) as eve:
            await eve.until(lambda: bool(eve.denied))
            assert str(eve.text) == "before"
        assert str(ada.text) == "before"
        assert (await pair.ask("/rooms/frozen", pair.two))[1]["frozen"]
        assert (await pair.act("/rooms/frozen/unfreeze"))[0] == 200
        await ada.until_text("before, during")


async def test_an_evicted_room_is_moved_off_both_tasks_and_loses_nothing(pair: Pair) -> None:
    async with (
        Client(pair.one.websocket_url, "evicted", token=pair.token("ada")) as ada,
        Client(pair.two.websocket_url, "evicted", token=pair.token("bob")) as bob,
    ):
        await ada.type("kept")
        await bob.until_text("kept")
        status, told = await pair.act("/rooms/evicted/evict")
        assert status == 200, told
        assert [did["evicted"] for did in told["tasks"].values()] == [True, True]
        assert (await ada.until_closed())[0] == (await bob.until_closed())[0] == 4507
    assert (await pair.ask("/rooms/evicted"))[0] == 404
    assert (await pair.act("/rooms/evicted/evict"))[0] == 404
    async with Client(pair.two.websocket_url, "evicted", token=pair.token("bob")) as back:
        assert str(back.text) == "kept"
        status, told = await pair.act("/rooms/evicted/checkpoint")
        assert status == 200, told
        [did] = told["tasks"].values()
        assert did["stored"]


async def test_every_act_leaves_a_row_that_says_who_did_what_and_how_it_ended(pair: Pair) -> None:
    async with Client(pair.one.websocket_url, "audited", token=pair.token("ada")):
        await pair.act("/rooms/audited/freeze")
        await pair.act("/rooms/audited/kick", subject="bob", for_s=5, token="not to be kept")
        await pair.act("/rooms/audited/kick", subject=17)
    _status, log = await pair.ask("/audit?target=rooms/audited")
    told = [(row["action"], row["operator"], row["outcome"]) for row in log["actions"]]
    assert told == [("kick", "root", "refused"), ("kick", "root", "done"), ("freeze", "root", "done")]
    kick = log["actions"][1]
    assert kick["detail"] == {"document": "audited", "subject": "bob", "for_s": 5}
    assert (kick["result"]["status"], kick["task"]) == (200, (await pair.ids())[0])
    assert kick["at"] <= kick["settled_at"]
    _status, newest = await pair.ask("/audit?limit=1&operator=root")
    assert [row["id"] for row in newest["actions"]] == [log["actions"][0]["id"]]
    _status, since = await pair.ask(f"/audit?after={log['actions'][2]['id']}", pair.two)
    assert [row["id"] for row in since["actions"]][:2] == [kick["id"], log["actions"][0]["id"]]
    assert (await pair.ask("/audit?after=1&before=2"))[0] == 400


async def test_what_cannot_be_noted_is_not_done(pair: Pair) -> None:
    async with Client(pair.one.websocket_url, "unnoted", token=pair.token("ada")) as ada:
        await rows(pair.one, "alter table admin_actions rename to admin_actions_away")
        try:
            status, told = await pair.act("/rooms/unnoted/kick", subject="ada")
        finally:
            await rows(pair.one, "alter table admin_actions_away rename to admin_actions")
        assert status == 503, told
        await ada.type("still here")
        assert ada.closed is None


@pytest.mark.parametrize(
    "path",
    [
        *(f"/rooms/guarded/{act}" for act in ACTS),
        "/tasks/any/drain",
        "/quarantine/1/replay",
        "/quarantine/1/drop",
    ],
)
async def test_nobody_but_an_admin_may_act(pair: Pair, path: str) -> None:
    stranger = pair.token("ada", role="owner", groups=["editors"])
    before = await rows(pair.one, "select count(*) from admin_actions")
    for carried, expected in ((None, 401), ("nonsense", 401), (stranger, 403), (pair.token("eve", role="viewer"), 403)):
        status, _told = await asyncio.to_thread(admin_post, pair.one, path, carried, {"subject": "ada"})
        assert status == expected
    assert await rows(pair.one, "select count(*) from admin_actions") == before


STRANGE = ["%00", "%0a", "'%20or%201=1", "a" * 3_000, "%ff", "%E2%80%AE", "*", "%25", "none"]


@pytest.mark.parametrize("name", STRANGE)
async def test_a_strange_name_is_refused_and_never_a_fault(pair: Pair, name: str) -> None:
    acts = await asyncio.gather(
        *(pair.act(f"/rooms/{name}/{act}", subject="ada") for act in ACTS),
        pair.act(f"/tasks/{name}/drain"),
    )
    assert {status for status, _told in acts} <= {400, 404}
    asked = await asyncio.gather(
        *(pair.ask(path + name) for path in ("/rooms/", "/audit?target=", "/quarantine?document=", "/audit?after="))
    )
    assert {status for status, _told in asked} <= {200, 400, 404}


async def test_the_tasks_tell_how_they_are(pair: Pair) -> None:
    one, two = await pair.ids()
    async with Client(pair.two.websocket_url, "counted", token=pair.token("ada")):
        _status, told = await pair.ask("/tasks")
    tasks = {task["task"]: task for task in told["tasks"]}
    assert set(tasks) == {one, two}
    assert (tasks[one]["here"], tasks[two]["here"], told["partial"]) == (True, False, False)
    assert (tasks[two]["connections"], tasks[two]["members"], tasks[two]["draining"]) == (1, 1, False)
    assert 10_000_000 < tasks[two]["rss_bytes"] < 2_000_000_000
    assert 0 <= tasks[two]["heard_s"] < 8
    assert tasks[one]["version"] == tasks[two]["version"]


async def test_a_task_that_hangs_makes_answers_partial_within_the_deadline(pair: Pair) -> None:
    _one, two = await pair.ids()
    async with Client(pair.one.websocket_url, "hanging", token=pair.token("ada")):
        pid = pair.two.pid
        os.kill(pid, signal.SIGSTOP)
        try:
            began = time.monotonic()
            (status, page), (lost, _told), (_frozen, froze), (_status, told) = await asyncio.gather(
                pair.ask("/rooms"), pair.ask("/rooms/elsewhere"), pair.act("/rooms/hanging/freeze"), pair.ask("/tasks")
            )
            assert time.monotonic() - began < 5  # a second each, all at once, on a machine that has other work
            assert (status, page["partial"], page["silent"]) == (200, True, [two])
            assert any(room["document"] == "hanging" for room in page["rooms"])
            assert lost == 503  # who knows
            assert (froze["changed"], froze["silent"]) == (True, [two])
            assert [task["answered"] for task in told["tasks"] if task["task"] == two] == [False]
        finally:
            os.kill(pid, signal.SIGCONT)
    assert (await pair.act("/rooms/hanging/unfreeze"))[0] == 200


async def test_a_task_is_drained_from_another_and_ends_with_0(pair: Pair, start_server: StartServer) -> None:
    third = start_server(**pair.one.settings)
    known = await pair.id_of(third, among=3)
    await pair.id_of(pair.one, among=3)
    async with Client(third.websocket_url, "drained", token=pair.token("ada")) as ada:
        await ada.type("kept")
        status, told = await pair.act(f"/tasks/{known}/drain")
        assert (status, told["draining"], told["was_draining"]) == (202, True, False)
        assert (await ada.until_closed())[0] == 1012
    assert await asyncio.to_thread(third.exit_code) == 0
    assert "server_crashed" not in third.output
    async with Client(pair.one.websocket_url, "drained", token=pair.token("ada")) as ada:
        assert str(ada.text) == "kept"
    assert (await pair.act("/tasks/nobody/drain"))[0] == 404
