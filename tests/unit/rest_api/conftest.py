"""A facade over a small built page, spoken to in process as a browser on this machine would."""

from collections.abc import AsyncIterator, Callable
from pathlib import Path

import httpx
import pytest

from rest_api.app import create_app
from rest_api.playground import PlaygroundConfig
from rest_api.sign_in import SignIn

NOW = 1_700_000_000.0
Caller = Callable[..., httpx.AsyncClient]


def sign_readably(*, subject: str, name: str, document: str, role: str, expires_s: int, now: float) -> str:
    """A token that shows what was signed."""
    return f"{subject}|{name}|{document}|{role}|{expires_s}|{now}"


@pytest.fixture
def built_folder(tmp_path: Path) -> Path:
    (tmp_path / "secret.js").write_text("outside")
    assets = tmp_path / "dist" / "assets"
    assets.mkdir(parents=True)
    (tmp_path / "dist" / "index.html").write_text('<script src="/assets/main-A1.js" nonce="__NONCE__"></script>')
    (assets / "main-A1.js").write_text("console.log(1)")
    (assets / "styles-B2.css").write_text("body{}")
    (assets / "main-A1.map").write_text("{}")
    return tmp_path / "dist"


@pytest.fixture
def page(built_folder: Path) -> PlaygroundConfig:
    return PlaygroundConfig("ws://127.0.0.1:8081/ws", "dev", "1.2.3", built_folder)


@pytest.fixture
async def caller(page: PlaygroundConfig) -> AsyncIterator[Caller]:
    """Makes clients of one app: `caller(peer=..., base_url=...)`."""
    app = create_app(page, SignIn(sign=sign_readably, lifetime_s=600, now=lambda: NOW))
    clients: list[httpx.AsyncClient] = []

    def call(peer: str = "127.0.0.1", base_url: str = "http://127.0.0.1:8080") -> httpx.AsyncClient:
        transport = httpx.ASGITransport(app, raise_app_exceptions=False, client=(peer, 50_000))
        clients.append(httpx.AsyncClient(transport=transport, base_url=base_url))
        return clients[-1]

    yield call
    for client in clients:
        await client.aclose()
