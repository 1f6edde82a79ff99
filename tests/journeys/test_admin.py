"""The private port: what operators and balancers ask, who may ask, and that no answer tells a text or a token (T20)."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import Iterator

import pytest
from prometheus_client.parser import text_string_to_metric_families

from collab_server.wire.awareness import AwarenessEntry
from collab_server.wire.messages import Awareness
from persistence.embedded_postgres import EmbeddedPostgres
from tests.services.client import Client
from tests.services.fixtures_postgres import PostgresOfMajor
from tests.services.fixtures_server import StartServer
from tests.services.running import admin_get, admin_json, metric, running_server, until_metric, until_ready
from tests.services.server import ServerProcess
from tests.services.tokens import token

OPEN_PATHS = ["/healthz", "/readyz", "/metrics"]
GUARDED_PATHS = [
    "/rooms",
    "/rooms/anything",
    "/tasks",
    "/audit",
    "/quarantine",
    "/quarantine/1/update",
    "/presence/anything",
    "/presence/people/ada",
]
SECRET_TEXT = "canary-of-the-text"


@pytest.fixture(scope="module")
def server(postgres_of_major: PostgresOfMajor, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    with running_server(postgres_of_major, tmp_path_factory, auth="dev") as server:
        yield server


def admin(server: ServerProcess) -> str:
    return token(server, "root", role="viewer", document="none", groups=["admin"])


@pytest.mark.parametrize("path", OPEN_PATHS)
def test_health_and_metrics_are_open(server: ServerProcess, path: str) -> None:
    assert admin_get(server, path)[0] == 200


@pytest.mark.parametrize("path", GUARDED_PATHS)
@pytest.mark.parametrize("bad", [None, "nonsense", "stale"])
def test_rooms_are_closed_without_a_valid_token(server: ServerProcess, path: str, bad: str | None) -> None:
    carried = token(server, "root", groups=["admin"], expires_s=-3600) if bad == "stale" else bad
    status, answer = admin_json(server, path, carried)
    assert status == 401
    assert answer["error"].startswith("sign in again")


@pytest.mark.parametrize("path", GUARDED_PATHS)
@pytest.mark.parametrize("groups", [(), ("admins",), ("Admin",), ("administrators", "editors")])
def test_rooms_are_closed_to_everyone_outside_the_admin_group(
    server: ServerProcess, path: str, groups: tuple[str, ...]
) -> None:
    assert admin_get(server, path, token(server, "ada", role="owner", groups=groups))[0] == 403


async def test_a_room_nobody_has_open_is_404_for_admins(server: ServerProcess) -> None:
    assert admin_get(server, "/rooms/anything", admin(server))[0] == 404


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE"])
def test_nothing_can_be_changed_here(server: ServerProcess, method: str) -> None:
    for path in (*OPEN_PATHS, *GUARDED_PATHS):
        assert admin_get(server, path, admin(server), method=method)[0] == 405


async def test_the_numbers_of_a_room_are_those_of_what_happened_in_it(server: ServerProcess) -> None:
    document = "numbers"
    adas = token(server, "ada")
    async with (
        Client(server.websocket_url, document, token=adas) as ada,
        Client(server.websocket_url, document, token=adas, hello=False) as adas_phone,
        Client(server.websocket_url, document, token=token(server, "bob", role="viewer", name="Bob B.")) as bob,
    ):
        for text in ("one ", "two ", "three"):
            await ada.type(text)
        await bob.until_text("threetwo one " if str(ada.text).startswith("three") else "one two three")
        await bob.send(Awareness((AwarenessEntry(7, 1, b"{}"),)))
        await ada.until(lambda: 7 in ada.awareness)
        status, room = admin_json(server, f"/rooms/{document}", admin(server))
        assert status == 200
        assert (room["document"], room["epoch"], room["members"], room["updates"]) == (document, 0, 3, 3)
        assert room["dirty_updates"] == 3
        assert room["operations"] == len("one two three")
        assert room["clients"] == 1
        assert base64.b64decode(room["state_vector"]) == ada.doc.get_state()
        assert room["awareness_ids"] == 1
        assert [(p["subject"], p["devices"]) for p in room["people"]] == [("ada", 2), ("bob", 1)]
        seats = {(seat["subject"], seat["name"], seat["role"], seat["address"]) for seat in room["seats"]}
        assert seats == {("ada", "Ada", "editor", "127.0.0.1"), ("bob", "Bob B.", "viewer", "127.0.0.1")}
        bobs = next(seat for seat in room["seats"] if seat["subject"] == "bob")
        assert bobs["received_messages"] == 2  # its sync request and its cursor
        await bob.until(lambda: len(bob.received) >= bobs["sent_frames"])
        assert len(bob.received) == bobs["sent_frames"], bob.received
        assert bobs["queued_bytes"] == 0
        assert 0 <= bobs["seated_s"] <= room["open_s"] < 60

        status, listed = admin_json(server, "/rooms", admin(server))
        mine = next(summary for summary in listed["rooms"] if summary["document"] == document)
        assert status == 200
        assert mine["members"] == 3
        changing = {"open_s": mine["open_s"], "tasks": mine["tasks"]}
        assert mine.items() <= {**room, **changing}.items()
        assert (mine["level"], len(mine["tasks"]), listed["partial"]) == (True, 1, False)
        assert metric(server, "collab_members") == 3
        assert metric(server, "collab_connections") == 3
        assert not adas_phone.closed
    await until_metric(server, "collab_members", 0)
    status, room = admin_json(server, f"/rooms/{document}", admin(server))
    assert (status, room["members"], room["people"], room["seats"], room["awareness_ids"]) == (200, 0, [], [], 0)


async def test_metrics_count_what_happened(server: ServerProcess) -> None:
    names = {
        "typed": ("collab_updates_total", {"source": "client"}),
        "received": ("collab_messages_total", {"kind": "update"}),
        "denied": ("collab_denied_total", {"kind": "update"}),
    }
    before = {key: metric(server, name, **labels) for key, (name, labels) in names.items()}
    async with (
        Client(server.websocket_url, "counted", token=token(server)) as ada,
        Client(server.websocket_url, "counted", token=token(server, "bob", role="viewer")) as bob,
    ):
        await ada.type("a")
        await ada.type("b")
        await bob.type("c")
        await bob.until(lambda: bool(bob.denied))
        await bob.until(lambda: len(bob.text) == 3)
    after = {key: metric(server, name, **labels) for key, (name, labels) in names.items()}
    assert {key: after[key] - before[key] for key in names} == {"typed": 2, "received": 3, "denied": 1}


async def test_no_answer_holds_a_text_or_a_token_and_no_metric_names_a_document_or_a_person(
    server: ServerProcess,
) -> None:
    document, person = "canary-document", "canary-person"
    carried = token(server, person)
    async with Client(server.websocket_url, document, token=carried) as ada:
        await ada.type(SECRET_TEXT)
        await ada.send(Awareness((AwarenessEntry(7, 1, b'{"note":"canary-of-the-cursor"}'),)))
        await ada.until(lambda: 7 in ada.awareness)
        admins = admin(server)
        answers = [
            admin_get(server, path, used)[1].decode()
            for path in (*OPEN_PATHS, "/rooms", f"/rooms/{document}", "/rooms/none", "/none")
            for used in (admins, carried, None)
        ]
        for secret in (SECRET_TEXT, "canary-of-the-cursor", carried, admins, carried.rsplit(".", 1)[1]):
            assert not any(secret in answer for answer in answers)
        metrics = admin_get(server, "/metrics")[1].decode()
        assert document not in metrics
        assert person not in metrics
        assert document in admin_get(server, "/rooms", admins)[1].decode()  # the check above looked at real answers


def test_what_admins_read_is_not_kept_by_caches(server: ServerProcess) -> None:
    for path in ("/readyz", "/rooms"):
        assert admin_get(server, path, admin(server), header="Cache-Control")[1] == b"no-store"


def test_metrics_are_valid_for_prometheus(server: ServerProcess) -> None:
    families = list(text_string_to_metric_families(admin_get(server, "/metrics")[1].decode()))
    assert {"collab_connections", "collab_rooms", "collab_loop_lag_seconds"} <= {family.name for family in families}
    assert all(family.documentation for family in families)


async def test_readiness_follows_the_database_and_names_it(
    postgres_server: EmbeddedPostgres, start_server: StartServer
) -> None:
    server = start_server(auth="open", database_url=postgres_server.url)
    assert (await until_ready(server, 200))["status"] == "ready"
    async with Client(server.websocket_url, "through-an-outage") as ada:
        await ada.type("before")
        port = postgres_server.port
        await postgres_server.stop()
        report = await until_ready(server, 503)
        assert report["status"] == "not ready"
        assert {name for name, found in report["dependencies"].items() if not found["ok"]} == {"database"}
        assert report["dependencies"]["database"]["error"]
        assert admin_get(server, "/healthz")[0] == 200  # a restart would not help: the process itself is well
        assert metric(server, "collab_dependency_up", name="database") == 0
        await ada.type(", during", at=6)
        await postgres_server.start(postgres_server.folder, port=port)
        assert (await until_ready(server, 200))["dependencies"]["database"]["ok"]
        assert ada.closed is None
        await until_metric(server, "collab_edit_to_durable_seconds_count", 2)  # ready is not yet: nothing waits
    server.kill()  # nothing but the database remembers
    server.start()
    async with Client(server.websocket_url, "through-an-outage") as bob:
        assert str(bob.text) == "before, during"


def post(server: ServerProcess, path: str, carried: str | None) -> int:
    return admin_get(server, path, carried, method="POST")[0]


async def test_an_admin_asks_for_a_checkpoint(server: ServerProcess) -> None:
    """Before a backup, say: the room is far from any bound that would make one due."""
    async with Client(server.websocket_url, "asked", token=token(server, "ada", document="asked")) as ada:
        await ada.type("words")
        path = "/rooms/asked/checkpoint"
        assert await asyncio.to_thread(post, server, path, None) == 401
        assert await asyncio.to_thread(post, server, path, token(server, "ada", document="asked")) == 403
        assert await asyncio.to_thread(post, server, "/rooms/not-open/checkpoint", admin(server)) == 404
        assert (await asyncio.to_thread(admin_json, server, "/rooms/asked", admin(server)))[1][
            "last_checkpoint"
        ] is None
        assert await asyncio.to_thread(post, server, path, admin(server)) == 200
        room = (await asyncio.to_thread(admin_json, server, "/rooms/asked", admin(server)))[1]
        assert room["last_checkpoint"]["generation"] == 1
        assert room["dirty_updates"] == 0
