"""Who gets no seat, and how they hear it: programs by an HTTP status, browsers in the protocol and by a close code.

Covers T01 (pages of other sites), T06 (expiry), T08 (tokens in logs) and T09 (document names).
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import pytest
from websockets.exceptions import InvalidStatus

from collab_server.wire.messages import PermissionDenied
from tests.services.client import Client
from tests.services.fixtures_postgres import PostgresOfMajor
from tests.services.raw_socket import RawSocket, request
from tests.services.running import metric, rows, running_server
from tests.services.server import ServerProcess
from tests.services.tokens import token

ORIGIN = "https://app.example.com"
OTHER_ORIGIN = "http://localhost:5173"


@pytest.fixture(scope="module")
def server(postgres_of_major: PostgresOfMajor, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    settings = {"auth": "dev", "allowed_origins": f"{ORIGIN}, {OTHER_ORIGIN}", "log_level": "debug"}
    with running_server(postgres_of_major, tmp_path_factory, **settings) as server:
        yield server


async def refused_status(server: ServerProcess, document: str, **options: Any) -> int:
    """The HTTP status a program is answered with."""
    with pytest.raises(InvalidStatus) as refusal:
        async with Client(server.websocket_url, document, **options):
            pass
    return refusal.value.response.status_code


async def refused_in_band(server: ServerProcess, document: str, **options: Any) -> tuple[int, list[str]]:
    """The close code a page is sent, and what it was told before."""
    async with Client(server.websocket_url, document, hello=False, origin=ORIGIN, **options) as page:
        code, _reason = await page.until_closed()
        assert all(isinstance(message, PermissionDenied) for message in page.received)
        return code, page.denied


async def exists(server: ServerProcess, document: str) -> bool:
    return bool(await rows(server, "select from documents where name = $1", document))


# Without rights


@pytest.mark.parametrize("bad", [None, "nonsense", "eyJhbGciOiJub25lIn0.e30."], ids=["none", "nonsense", "unsigned"])
async def test_a_program_without_a_valid_token_is_answered_401(server: ServerProcess, bad: str | None) -> None:
    before = metric(server, "collab_refusals_total", reason="unauthorized")
    assert await refused_status(server, "no-token", token=bad) == 401
    assert metric(server, "collab_refusals_total", reason="unauthorized") == before + 1
    assert not await exists(server, "no-token")


async def test_a_page_without_a_valid_token_is_told_in_band_and_closed_with_4401(server: ServerProcess) -> None:
    code, denied = await refused_in_band(server, "no-token", token="nonsense")
    assert code == 4401
    assert len(denied) == 1
    assert "sign in again" in denied[0]


async def test_a_stranger_hears_403_whether_or_not_the_document_exists(server: ServerProcess) -> None:
    async with Client(server.websocket_url, "private", token=token(server)):
        pass
    strangers = token(server, "zoe", document="elsewhere")
    assert await refused_status(server, "private", token=strangers) == 403
    assert await refused_status(server, "never-made", token=strangers) == 403
    assert await refused_in_band(server, "private", token=strangers) == await refused_in_band(
        server, "never-made", token=strangers
    )
    assert not await exists(server, "never-made")


async def test_a_page_of_a_stranger_is_told_in_band_and_closed_with_4403(server: ServerProcess) -> None:
    code, denied = await refused_in_band(server, "private", token=token(server, "zoe", document="elsewhere"))
    assert code == 4403
    assert denied == ["you have no access to this document"]


@pytest.mark.parametrize("role", ["viewer", "commenter"])
async def test_a_reader_of_a_document_nobody_made_hears_404_until_a_writer_makes_it(
    server: ServerProcess, role: str
) -> None:
    document = f"not-yet-for-{role}"
    readers = token(server, "bob", role=role)
    assert await refused_status(server, document, token=readers) == 404
    assert (await refused_in_band(server, document, token=readers))[0] == 4404
    assert not await exists(server, document)
    async with Client(server.websocket_url, document, token=token(server)) as ada:
        await ada.type("here")
        async with Client(server.websocket_url, document, token=readers) as bob:
            await bob.until_text("here")


# Pages of other sites (T01)


@pytest.mark.parametrize(
    "origin",
    [
        "https://evil.example",
        "null",
        "",
        "https://app.example.com.evil",
        "https://evil-app.example.com",
        "https://sub.app.example.com",
        "http://app.example.com",
        "https://app.example.com:8443",
        "https://app.example.com/",
        "HTTPS://APP.EXAMPLE.COM",
        f"{ORIGIN}, {OTHER_ORIGIN}",
        "http://localhost:5174",
    ],
)
async def test_a_page_of_another_site_gets_403_before_anything_is_looked_up(server: ServerProcess, origin: str) -> None:
    async with RawSocket(server) as raw:
        raw.write(request(f"/ws/of-another-site?token={token(server)}", f"Origin: {origin}"))
        assert await raw.status() == 403
    assert not await exists(server, "of-another-site")


async def test_two_origins_are_no_origin(server: ServerProcess) -> None:
    async with RawSocket(server) as raw:
        raw.write(
            request(f"/ws/two-origins?token={token(server)}", f"Origin: {ORIGIN}", "Origin: https://evil.example")
        )
        assert await raw.status() == 400
    assert not await exists(server, "two-origins")


@pytest.mark.parametrize("origin", [ORIGIN, OTHER_ORIGIN, None], ids=["app", "second", "program"])
async def test_allowed_pages_and_programs_are_let_in(server: ServerProcess, origin: str | None) -> None:
    async with Client(server.websocket_url, "let-in", token=token(server), origin=origin) as ada:
        assert ada.synced


# Names (T09)

BAD_TARGETS = [
    "/ws/",
    "/ws",
    "/",
    "/WS/demo",
    "/ws/.",
    "/ws/..",
    "/ws/%2e",
    "/ws/%2e%2e",
    "/ws/%2E%2E%2Fetc%2Fpasswd",
    "/ws/../ws/demo",
    "/ws/.hidden",
    "/ws/-dash",
    "/ws/a/b",
    "/ws/a%2Fb",
    "/ws/a%5Cb",
    "/ws/a%00",
    "/ws/a%20b",
    "/ws/a%0D%0AX-Header:%20b",
    "/ws/a%25",
    "/ws/%61%zz",
    "/ws/*",
    "/ws/" + "a" * 129,
    "/ws/" + "a" * 4000,
    "/ws/caf%C3%A9",
    "/ws/%EF%BC%A1",  # a full-width A
    "/ws/a%D9%A3",  # an Arabic digit
    "/ws/a%E2%80%AE",  # right-to-left override
    "/ws/a%CC%81",  # a combining accent
    "/ws/%FF",
    "/ws/a#b",
    "//[",
    "//evil.example/ws/demo",
    "http://evil.example/ws/demo",
    "*",
]


@pytest.mark.parametrize("target", BAD_TARGETS, ids=lambda target: target[:24])
async def test_a_name_outside_the_pattern_is_no_document(server: ServerProcess, target: str) -> None:
    async with RawSocket(server) as raw:
        raw.write(request(target, f"Authorization: Bearer {token(server)}"))
        assert await raw.status() == 404


async def test_bytes_that_are_no_text_are_no_request(server: ServerProcess) -> None:
    async with RawSocket(server) as raw:
        raw.write(request(b"/ws/\xff\xfe", f"Authorization: Bearer {token(server)}"))
        assert await raw.status() == 400


async def test_only_names_of_the_pattern_are_ever_stored(server: ServerProcess) -> None:
    longest = "a" * 128
    for name in (longest, "A.b_c:d-9", "0"):
        async with Client(server.websocket_url, name, token=token(server)) as ada:
            assert ada.synced
    async with Client(server.websocket_url, "dotted%2ename", token=token(server)) as ada:
        assert ada.synced
    stored = {row["name"] for row in await rows(server, "select name from documents")}
    assert {longest, "A.b_c:d-9", "0", "dotted.name"} <= stored
    odd = await rows(server, "select name from documents where name !~ '^[A-Za-z0-9][A-Za-z0-9._:-]{0,127}$'")
    assert odd == []


# Where a token may stand (T08)


async def test_a_token_may_come_in_the_authorization_header(server: ServerProcess) -> None:
    headers = {"Authorization": f"Bearer {token(server)}"}
    async with Client(server.websocket_url, "carriers", additional_headers=headers) as ada:
        assert ada.synced
        assert ada.socket.subprotocol is None


async def test_a_token_may_come_as_a_second_subprotocol_and_the_first_is_agreed_on(server: ServerProcess) -> None:
    offered = ["yjs", f"bearer.{token(server)}"]
    async with Client(server.websocket_url, "carriers", subprotocols=offered, origin=ORIGIN) as ada:
        assert ada.synced
        assert ada.socket.subprotocol == "yjs"


async def test_a_token_may_come_in_the_address(server: ServerProcess) -> None:
    async with Client(server.websocket_url, "carriers", token=token(server)) as ada:
        assert ada.synced


async def test_the_header_counts_when_tokens_come_in_several_places(server: ServerProcess) -> None:
    headers = {"Authorization": "Bearer nonsense"}
    assert await refused_status(server, "carriers", token=token(server), additional_headers=headers) == 401


async def test_no_token_appears_in_what_the_server_writes(server: ServerProcess) -> None:
    good = token(server, "ada")
    stranger = token(server, "zoe", document="elsewhere")
    stale = token(server, "ada", expires_s=-3600)
    answers = []
    for carried in (good, stranger, stale):
        for options in (
            {"token": carried},
            {"subprotocols": ["yjs", f"bearer.{carried}"]},
            {"additional_headers": {"Authorization": f"Bearer {carried}"}},
        ):
            for origin in (None, ORIGIN):
                try:
                    async with Client(server.websocket_url, "secrets", hello=False, origin=origin, **options):
                        pass
                except InvalidStatus as refusal:
                    answers.append((refusal.response.body or b"").decode())
    output = server.output + "".join(answers)
    for secret in (good, stranger, stale):
        assert secret not in output
        assert secret.rsplit(".", 1)[1] not in output  # nor its signature alone


# The end of a token (T06)


async def test_a_seat_ends_soon_after_its_token_has_expired(server: ServerProcess) -> None:
    expires_s = 2.0
    started = time.monotonic()
    async with Client(server.websocket_url, "expiring", token=token(server, expires_s=expires_s)) as ada:
        await ada.type("in time")
        code, reason = await ada.until_closed()
    lasted = time.monotonic() - started
    assert (code, reason) == (4402, "sign in again: the token has expired")
    assert expires_s - 0.5 < lasted < expires_s + 9
    async with Client(server.websocket_url, "expiring", token=token(server)) as bob:
        assert str(bob.text) == "in time"


# Stored grants


async def grant(server: ServerProcess, document: str, subject: str, role: str) -> None:
    sql = "insert into document_grants (document, subject, role) values ($1, $2, $3)"
    await rows(server, sql, document, subject, role)


async def test_a_token_without_grants_gets_the_stored_role(server: ServerProcess) -> None:
    await grant(server, "granted", "emma", "editor")
    await grant(server, "granted", "vera", "viewer")
    emmas = token(server, "emma", document="elsewhere")
    veras = token(server, "vera", document="elsewhere")
    async with (
        Client(server.websocket_url, "granted", token=emmas) as emma,
        Client(server.websocket_url, "granted", token=veras) as vera,
    ):
        await emma.type("by emma")
        await vera.until_text("by emma")
        await vera.type("by vera")
        await vera.until(lambda: bool(vera.denied))
        await emma.type("!")
        async with Client(server.websocket_url, "granted", token=emmas) as again:
            assert str(again.text) == "by emma!"


async def test_a_stored_grant_holds_for_its_document_and_person_alone(server: ServerProcess) -> None:
    await grant(server, "for-nina", "nina", "owner")
    assert await refused_status(server, "for-nina", token=token(server, "Nina", document="elsewhere")) == 403
    assert await refused_status(server, "for-nina2", token=token(server, "nina", document="elsewhere")) == 403


async def test_a_tokens_own_smaller_grant_wins_over_the_stored_one(server: ServerProcess) -> None:
    await grant(server, "shared-link", "owen", "owner")
    viewing = token(server, "owen", role="viewer", document="shared-link")
    assert await refused_status(server, "shared-link", token=viewing) == 404
