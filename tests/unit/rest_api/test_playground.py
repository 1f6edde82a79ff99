"""The page and its files."""

import re
from pathlib import Path

import pytest

from rest_api.playground import PlaygroundConfig
from tests.unit.rest_api.conftest import Caller


async def test_the_page_may_run_only_our_script_and_talk_only_to_our_servers(caller: Caller) -> None:
    answer = await caller().get("/")
    policy = dict(part.split(" ", 1) for part in answer.headers["content-security-policy"].split("; "))
    assert policy["default-src"] == "'none'"
    assert policy["script-src"] == "'self'"
    assert policy["connect-src"] == "'self' ws://127.0.0.1:8081"
    assert policy["frame-ancestors"] == "'none'"
    assert "unsafe" not in answer.headers["content-security-policy"]


async def test_each_page_view_has_its_own_nonce(caller: Caller) -> None:
    nonces = set()
    for _ in range(2):
        answer = await caller().get("/")
        (nonce,) = re.findall(r'nonce="([^"]+)"', answer.text)
        assert f"'nonce-{nonce}'" in answer.headers["content-security-policy"]
        assert answer.headers["cache-control"] == "no-store"
        nonces.add(nonce)
    assert len(nonces) == 2


@pytest.mark.parametrize(
    ("name", "content_type"),
    [("main-A1.js", "text/javascript; charset=utf-8"), ("styles-B2.css", "text/css; charset=utf-8")],
)
async def test_a_built_file_has_its_type_and_is_kept_for_ever(caller: Caller, name: str, content_type: str) -> None:
    answer = await caller().get(f"/assets/{name}")
    assert answer.status_code == 200
    assert answer.headers["content-type"] == content_type
    assert "immutable" in answer.headers["cache-control"]


@pytest.mark.parametrize(
    "name", ["..%2findex.html", "..%2f..%2fsecret.js", "%2e%2e%2f%2e%2e%2fsecret.js", "main-A1.map", "none.js", ".js"]
)
async def test_nothing_else_is_served(caller: Caller, name: str) -> None:
    answer = await caller().get(f"/assets/{name}")
    assert answer.status_code == 404
    assert answer.headers["content-type"] == "application/problem+json"


@pytest.mark.parametrize("path", ["/", "/config.json", "/healthz", "/nowhere", "/assets/main-A1.js"])
async def test_every_answer_carries_the_security_headers(caller: Caller, path: str) -> None:
    answer = await caller().get(path)
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["referrer-policy"] == "no-referrer"
    assert "default-src 'none'" in answer.headers["content-security-policy"]


async def test_the_page_learns_where_and_how_to_connect(caller: Caller) -> None:
    answer = await caller().get("/config.json")
    assert answer.json() == {"websocket_url": "ws://127.0.0.1:8081/ws", "auth": "dev", "build": "1.2.3"}


async def test_without_a_build_the_page_says_how_to_get_it(caller: Caller, built_folder: Path) -> None:
    (built_folder / "index.html").unlink()
    answer = await caller().get("/")
    assert answer.status_code == 200
    assert "version 20" in answer.text
    assert "make web" in answer.text
    (nonce,) = re.findall(r'<style nonce="([^"]+)"', answer.text)
    assert f"'nonce-{nonce}'" in answer.headers["content-security-policy"]


async def test_a_build_shows_up_without_a_restart(caller: Caller, built_folder: Path) -> None:
    (built_folder / "index.html").write_text("<p>new</p>")
    assert (await caller().get("/")).text == "<p>new</p>"


async def test_health_is_answered(caller: Caller) -> None:
    assert (await caller().get("/healthz")).json() == {"status": "ok"}


@pytest.mark.parametrize(
    "url",
    ["http://a/ws", "ws://a; script-src *", "ws://a b/ws", "ws://user@a/ws", "ws://a/ws?token=1", "ws:///ws", "*"],
)
def test_an_address_that_could_loosen_the_policy_is_refused(tmp_path: Path, url: str) -> None:
    with pytest.raises(ValueError, match="websocket_url"):
        PlaygroundConfig(url, "dev", "1", tmp_path)


@pytest.mark.parametrize("url", ["ws://127.0.0.1:8081/ws", "wss://edit.example.org/ws", "ws://[::1]:8081/ws"])
def test_a_websocket_address_is_accepted(tmp_path: Path, url: str) -> None:
    assert PlaygroundConfig(url, "open", "1", tmp_path).websocket_origin == url.removesuffix("/ws")
