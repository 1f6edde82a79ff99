"""The playground page: the built files of `web/dist`, and the settings the page asks for.

It must never serve a file from outside the built folder, nor a page that may run foreign script or talk to a server
other than ours. Called by `app.py`. The files are looked up at every request, so a build shows up at the next reload.
"""

import re
import secrets
from dataclasses import dataclass
from pathlib import Path
from typing import Literal
from urllib.parse import urlsplit

from fastapi import APIRouter
from fastapi.responses import FileResponse, HTMLResponse, JSONResponse

from rest_api.problems import Problem

# What the build puts out. Written down, because the platform's own table differs from machine to machine.
CONTENT_TYPES = {
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
    ".txt": "text/plain; charset=utf-8",
}
NONCE_MARK = "__NONCE__"  # where web/index.html wants the nonce of the response
MISSING_PAGE = Path(__file__).with_name("missing_page.html")
_ASSET_NAME = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9._-]{0,127}")
_ORIGIN = re.compile(r"wss?://(\[[0-9a-f:]+\]|[a-z0-9.-]+)(:[0-9]{1,5})?", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class PlaygroundConfig:
    """What the page must know, and where its files are.

    `websocket_url`: address that the document name is appended to, as the browser sees it ("ws://127.0.0.1:8081/ws").
    `auth`: how the page signs in. `version`: shown as the build. `built_page`: the folder `make web` writes.
    Raises ValueError for an address that is not a plain WebSocket one: it becomes part of a security header.
    """

    websocket_url: str
    auth: Literal["dev", "open", "cognito"]
    version: str
    built_page: Path

    def __post_init__(self) -> None:
        parts = urlsplit(self.websocket_url)
        if not _ORIGIN.fullmatch(self.websocket_origin) or parts.query or parts.fragment:
            raise ValueError("websocket_url must look like ws://host:port/path or wss://host/path")

    @property
    def websocket_origin(self) -> str:
        parts = urlsplit(self.websocket_url)
        return f"{parts.scheme}://{parts.netloc}"


def page_policy(websocket_origin: str, nonce: str) -> str:
    """The page's Content-Security-Policy: our files, our WebSocket server, and the editor's own style sheets."""
    return "; ".join(
        (
            "default-src 'none'",
            "script-src 'self'",
            f"style-src 'self' 'nonce-{nonce}'",  # CodeMirror writes its styles at run time, under this nonce
            "img-src 'self'",
            f"connect-src 'self' {websocket_origin}",
            "base-uri 'none'",
            "form-action 'none'",
            "frame-ancestors 'none'",
        )
    )


def playground_router(page: PlaygroundConfig) -> APIRouter:
    """GET / (the page), /assets/{name} (its files, immutable) and /config.json (what it must know)."""
    router = APIRouter()

    @router.api_route("/", methods=["GET", "HEAD"])
    def index() -> HTMLResponse:
        html = _read_page(page.built_page / "index.html")
        nonce = secrets.token_urlsafe(18)
        headers = {
            "Content-Security-Policy": page_policy(page.websocket_origin, nonce),
            "Cache-Control": "no-store",  # the nonce is of this response alone
        }
        return HTMLResponse(html.replace(NONCE_MARK, nonce), headers=headers)

    @router.api_route("/assets/{name}", methods=["GET", "HEAD"])
    def asset(name: str) -> FileResponse:
        path = page.built_page / "assets" / name
        content_type = CONTENT_TYPES.get(path.suffix)
        if content_type is None or not _ASSET_NAME.fullmatch(name) or not path.is_file():
            raise Problem(404, "Not Found.")
        # The build puts a hash of the content in the name, so a name never changes what it means.
        headers = {"Cache-Control": "public, max-age=31536000, immutable"}
        return FileResponse(path, media_type=content_type, headers=headers)

    @router.get("/config.json")
    def config() -> JSONResponse:
        answer = {"websocket_url": page.websocket_url, "auth": page.auth, "build": page.version}
        return JSONResponse(answer, headers={"Cache-Control": "no-store"})

    return router


def _read_page(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except FileNotFoundError:
        return MISSING_PAGE.read_text(encoding="utf-8")
