"""Signing in by name: who may, and what comes back."""

import pytest

from rest_api.app import create_app
from rest_api.playground import PlaygroundConfig
from rest_api.sign_in import is_loopback, subject_of
from tests.unit.rest_api.conftest import NOW, Caller

ADA = {"name": "Ada", "document": "demo"}


async def test_a_name_is_enough_on_this_machine(caller: Caller) -> None:
    answer = await caller().post("/dev/sign-in", json=ADA)
    subject = subject_of("Ada")
    assert answer.status_code == 200
    assert answer.headers["cache-control"] == "no-store"
    assert answer.json() == {
        "token": f"{subject}|Ada|demo|editor|600|{NOW}",
        "subject": subject,
        "name": "Ada",
        "role": "editor",
        "expires_at": NOW + 600,
    }


async def test_the_role_can_be_chosen(caller: Caller) -> None:
    answer = await caller().post("/dev/sign-in", json={**ADA, "role": "viewer"})
    assert answer.json()["role"] == "viewer"
    assert "|viewer|" in answer.json()["token"]


async def test_signing_in_again_is_the_same_person(caller: Caller) -> None:
    subjects = {
        (await caller().post("/dev/sign-in", json={"name": name, "document": "demo"})).json()["subject"]
        for name in ("Ada", " Ada ", "ADA")
    }
    assert len(subjects) == 1
    assert subject_of("Ada") != subject_of("Grace")


@pytest.mark.parametrize("peer", ["192.168.1.7", "10.0.0.1", "8.8.8.8", "2001:db8::1", "::ffff:10.0.0.1", "testclient"])
async def test_another_machine_finds_nothing(caller: Caller, peer: str) -> None:
    assert (await caller(peer=peer).post("/dev/sign-in", json=ADA)).status_code == 404


@pytest.mark.parametrize("peer", ["127.0.0.1", "127.9.9.9", "::1", "::ffff:127.0.0.1"])
async def test_this_machine_is_answered(caller: Caller, peer: str) -> None:
    assert (await caller(peer=peer).post("/dev/sign-in", json=ADA)).status_code == 200


@pytest.mark.parametrize("header", ["Forwarded", "X-Forwarded-For", "X-Forwarded-Host", "X-Real-IP", "Via"])
async def test_a_proxied_request_finds_nothing(caller: Caller, header: str) -> None:
    assert (await caller().post("/dev/sign-in", json=ADA, headers={header: "127.0.0.1"})).status_code == 404


@pytest.mark.parametrize(
    "base_url", ["http://rebound.example:8080", "http://127.0.0.1.example:8080", "http://192.168.1.7", "http://0.0.0.0"]
)
async def test_a_rebound_name_is_refused(caller: Caller, base_url: str) -> None:
    assert (await caller(base_url=base_url).post("/dev/sign-in", json=ADA)).status_code == 403


@pytest.mark.parametrize("base_url", ["http://localhost:8080", "http://LOCALHOST:8080", "http://[::1]:8080"])
async def test_the_page_is_answered_under_its_loopback_names(caller: Caller, base_url: str) -> None:
    client = caller(base_url=base_url)
    assert (await client.post("/dev/sign-in", json=ADA, headers={"Origin": base_url})).status_code == 200


@pytest.mark.parametrize(
    "origin",
    ["https://evil.example", "null", "", "http://127.0.0.1:3000", "https://127.0.0.1:8080", "http://localhost:8080"],
)
async def test_a_foreign_page_is_refused(caller: Caller, origin: str) -> None:
    assert (await caller().post("/dev/sign-in", json=ADA, headers={"Origin": origin})).status_code == 403


async def test_a_cross_site_request_is_refused_even_without_an_origin(caller: Caller) -> None:
    answer = await caller().post("/dev/sign-in", json=ADA, headers={"Sec-Fetch-Site": "cross-site"})
    assert answer.status_code == 403


async def test_a_plain_form_is_refused(caller: Caller) -> None:
    headers = {"Content-Type": "text/plain"}
    answer = await caller().post("/dev/sign-in", content='{"name":"Ada","document":"demo"}', headers=headers)
    assert answer.status_code == 415


async def test_a_large_body_is_refused(caller: Caller) -> None:
    headers = {"Content-Type": "application/json"}
    answer = await caller().post("/dev/sign-in", content=b" " * 5000, headers=headers)
    assert answer.status_code == 413


@pytest.mark.parametrize("name", ["Zoë Ünal", "أحمد", "李小龙", "👩‍🚀 Sally", "O'Neil-Smith", "x" * 60])
async def test_names_of_the_whole_world_are_welcome(caller: Caller, name: str) -> None:
    assert (await caller().post("/dev/sign-in", json={"name": name, "document": "demo"})).json()["name"] == name


@pytest.mark.parametrize(
    ("body", "pointer"),
    [
        ({"name": "", "document": "demo"}, "#/name"),
        ({"name": "  ", "document": "demo"}, "#/name"),
        ({"name": "x" * 61, "document": "demo"}, "#/name"),
        ({"name": "a\nb", "document": "demo"}, "#/name"),
        ({"name": "\u202eadA", "document": "demo"}, "#/name"),
        ({"name": 7, "document": "demo"}, "#/name"),
        ({"name": "Ada"}, "#/document"),
        ({"name": "Ada", "document": "../etc"}, "#/document"),
        ({"name": "Ada", "document": "demo\n"}, "#/document"),
        ({"name": "Ada", "document": "x" * 129}, "#/document"),
        ({**ADA, "role": "admin"}, "#/role"),
        ({**ADA, "grants": {"*": "owner"}}, "#/grants"),
    ],
)
async def test_a_wrong_field_is_named(caller: Caller, body: dict[str, object], pointer: str) -> None:
    answer = await caller().post("/dev/sign-in", json=body)
    assert answer.status_code == 422
    assert answer.headers["content-type"] == "application/problem+json"
    assert [error["pointer"] for error in answer.json()["errors"]] == [pointer]


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"\xff\xfe", b"null"])
async def test_a_body_that_is_no_object_is_refused(caller: Caller, content: bytes) -> None:
    answer = await caller().post("/dev/sign-in", content=content, headers={"Content-Type": "application/json"})
    assert answer.status_code == 422


async def test_a_refusal_does_not_echo_what_was_sent(caller: Caller) -> None:
    answer = await caller().post("/dev/sign-in", json={"name": "hunter2\n", "document": "hunter2/"})
    assert answer.status_code == 422
    assert "hunter2" not in answer.text


async def test_without_development_sign_in_there_is_no_such_address(caller: Caller, page: PlaygroundConfig) -> None:
    paths = {getattr(route, "path", "") for route in create_app(page, None).routes}
    assert not any("sign-in" in path for path in paths)


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        ("localhost", True),
        ("[::1]", True),
        ("127.0.0.2", True),
        ("localhost.example", False),
        ("0", False),
        ("", False),
    ],
)
def test_loopback_is_told_from_the_rest(host: str, expected: bool) -> None:
    assert is_loopback(host) is expected
