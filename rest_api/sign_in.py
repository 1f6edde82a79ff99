"""Sign in by picking a name: for development on one's own machine, nothing else.

It must never answer anyone but a browser page or a program on this machine: not a remote peer, not a proxied request,
not a foreign web page that lured the browser here (DNS rebinding, cross-site requests). It knows no key: `SignIn.sign`
makes the token. Called by `app.py`, which leaves it out unless development sign-in is on.
"""

import hashlib
import ipaddress
import time
import unicodedata
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Literal, Protocol

import structlog
from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse
from pydantic import AfterValidator, BaseModel, ConfigDict, StringConstraints, ValidationError

from rest_api.problems import Problem

MAX_BODY_BYTES = 4096  # the largest honest request is a 60 character name and a 128 character document: under 1 KiB
TOKEN_LIFETIME_S = 3600
# Present only when something stands between the caller and us, and then the peer address says nothing.
PROXY_HEADERS = ("forwarded", "x-forwarded-for", "x-forwarded-host", "x-real-ip", "via")
_BIDI_CONTROLS = frozenset("\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")

_log = structlog.get_logger(__name__)


class SignToken(Protocol):
    """Makes the token that the WebSocket server will accept."""

    def __call__(self, *, subject: str, name: str, document: str, role: str, expires_s: int, now: float) -> str:
        """A signed token with `role` on `document`, good for `expires_s` seconds from `now` (unix seconds)."""


@dataclass(frozen=True, slots=True)
class SignIn:
    """What development sign-in needs: who signs, for how long, and the clock (unix seconds)."""

    sign: SignToken
    lifetime_s: int = TOKEN_LIFETIME_S
    now: Callable[[], float] = time.time


def _shown_name(name: str) -> str:
    """`name` in one normal form; refuses what would break or disguise a label next to other people's text."""
    name = unicodedata.normalize("NFC", name)
    if any(unicodedata.category(c) in {"Cc", "Cs", "Zl", "Zp"} or c in _BIDI_CONTROLS for c in name):
        raise ValueError("contains a character that cannot be shown")
    return name


class SignInRequest(BaseModel):
    """Body of POST /dev/sign-in."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: Annotated[
        str, StringConstraints(strip_whitespace=True, min_length=1, max_length=60), AfterValidator(_shown_name)
    ]
    # The names the WebSocket server accepts; refused here too, because here the page can say why.
    document: Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9._:-]{0,127}$")]
    role: Literal["owner", "editor", "commenter", "viewer"] = "editor"


def sign_in_router(sign_in: SignIn) -> APIRouter:
    """POST /dev/sign-in: `SignInRequest` -> {token, subject, name, role, expires_at (unix seconds)}."""
    router = APIRouter()

    @router.post("/dev/sign-in")
    async def sign_in_by_name(request: Request) -> JSONResponse:
        refuse_strangers(request)
        wanted = await _read(request)
        now = sign_in.now()
        subject = subject_of(wanted.name)
        token = sign_in.sign(
            subject=subject,
            name=wanted.name,
            document=wanted.document,
            role=wanted.role,
            expires_s=sign_in.lifetime_s,
            now=now,
        )
        _log.info("signed_in_by_name", subject=subject, document=wanted.document, role=wanted.role)
        answer = {
            "token": token,
            "subject": subject,
            "name": wanted.name,
            "role": wanted.role,
            "expires_at": now + sign_in.lifetime_s,
        }
        return JSONResponse(answer, headers={"Cache-Control": "no-store"})

    return router


def subject_of(name: str) -> str:
    """The identity behind a picked name. The same name is the same person: client ids are leased to an identity, so a
    page that signs in again before its token expires must come back as who it was."""
    return "dev-" + hashlib.sha256(name.casefold().encode()).hexdigest()[:16]


def refuse_strangers(request: Request) -> None:
    """Raises Problem unless the request comes from this machine, was sent to it, and from no foreign page."""
    proxied = any(header in request.headers for header in PROXY_HEADERS)
    if proxied or request.client is None or not is_loopback(request.client.host):
        raise Problem(404, "Not Found.")  # to everyone else this endpoint does not exist
    if not is_loopback(request.url.hostname or ""):
        # A name that an attacker's DNS points at 127.0.0.1 arrives from a loopback peer, but says its own name.
        raise Problem(403, "Open the page as http://127.0.0.1 or http://localhost to sign in by name.")
    own_origin = f"{request.url.scheme}://{request.headers['host']}"
    if request.headers.get("origin", own_origin).lower() != own_origin.lower():
        raise Problem(403, "Only the playground page itself may sign in by name.")
    if request.headers.get("sec-fetch-site", "same-origin") not in {"same-origin", "none"}:
        raise Problem(403, "Only the playground page itself may sign in by name.")


def is_loopback(host: str) -> bool:
    """Whether `host` (an address, or a name from a Host header without its port) means this machine."""
    if host.lower() == "localhost":
        return True
    try:
        address = ipaddress.ip_address(host.strip("[]"))
    except ValueError:
        return False
    mapped = getattr(address, "ipv4_mapped", None)  # ::ffff:127.0.0.1, what a dual-stack socket reports
    return (mapped or address).is_loopback


async def _read(request: Request) -> SignInRequest:
    if request.headers.get("content-type", "").partition(";")[0].strip().lower() != "application/json":
        raise Problem(415, "Send the request as application/json.")  # a plain HTML form cannot
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > MAX_BODY_BYTES:
            raise Problem(413, f"Send at most {MAX_BODY_BYTES} bytes.")
    try:
        return SignInRequest.model_validate_json(bytes(body))
    except ValidationError as error:
        raise Problem.of_validation(error.errors(include_input=False, include_context=False)) from None
