"""Reading an opening request, and who gets which seat: pure, on memory adapters."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from auth.identity import Identity, TokenRefused
from auth.permissions import Role
from auth.permissions_memory import MemoryPermissions
from auth.tickets import GOOD_FOR_S, Ticket, Tickets, TicketsUnavailable
from auth.tickets_memory import MemoryTickets
from collab_server.admission import DOCUMENT_NAME, Admission, Opening, read_opening
from collab_server.errors import Close, Refused
from collab_server.rooms.acknowledgements import Acknowledge
from persistence.catalog_memory import MemoryCatalog

NOW = 1_000_000.0
ORIGIN = "https://app.example.com"


def opening(target: str = "/ws/demo", **headers: str) -> Opening:
    return read_opening(target, {name.replace("_", "-"): value for name, value in headers.items()})


def test_the_document_is_the_rest_of_the_path() -> None:
    assert opening("/ws/demo").document == "demo"
    assert opening("/ws/A.b_c:d-9?x=/ws/other").document == "A.b_c:d-9"
    assert opening("/ws/a%2Eb").document == "a.b"


@pytest.mark.parametrize(
    "target",
    [
        *("", "/", "/ws", "/ws/", "/wsdemo", "/WS/demo", "ws/demo", "//ws/demo", "/ws//demo", "/x?/ws/demo"),
        *("//[", "http://host/ws/demo", "/ws/a/b", "/ws/a%2fb", "/ws/.", "/ws/%2e%2e", "/ws/a#b"),
        *("/ws/a%00", "/ws/a%0a", "/ws/a\n", "/ws/é", "/ws/%C3%A9", "/ws/%ff", "/ws/٣", "/ws/" + "a" * 129),
    ],
)
def test_a_target_that_names_no_document_is_not_found(target: str) -> None:
    with pytest.raises(Refused) as refusal:
        opening(target)
    assert refusal.value.reason is Close.NOT_FOUND


@given(st.one_of(st.text(), st.text().map(lambda rest: f"/ws/{rest}"), st.from_regex(r"/ws/([a-z]|%[0-9A-F]{2})+")))
def test_whatever_the_target_the_name_keeps_to_the_pattern_or_there_is_none(target: str) -> None:
    try:
        assert DOCUMENT_NAME.fullmatch(opening(target).document)
    except Refused as refusal:
        assert refusal.reason is Close.NOT_FOUND  # noqa: PT017 - either is right


@pytest.mark.parametrize(
    ("target", "headers", "token"),
    [
        ("/ws/demo", {}, None),
        ("/ws/demo", {"Authorization": "Bearer abc"}, "abc"),
        ("/ws/demo", {"Authorization": "bearer  abc "}, "abc"),
        ("/ws/demo", {"Authorization": "Basic abc"}, None),
        ("/ws/demo", {"Authorization": "Bearer"}, None),
        ("/ws/demo", {"Authorization": "Bearer "}, None),
        ("/ws/demo", {"Sec_WebSocket_Protocol": "yjs, bearer.abc.def"}, "abc.def"),
        ("/ws/demo", {"Sec_WebSocket_Protocol": "bearer.abc"}, "abc"),
        ("/ws/demo", {"Sec_WebSocket_Protocol": "yjs"}, None),
        ("/ws/demo?token=abc", {}, "abc"),
        ("/ws/demo?a=b&token=a%2Bc", {}, "a+c"),
        ("/ws/demo?token=", {}, None),
        ("/ws/demo?TOKEN=abc", {}, None),
        ("/ws/demo?token=query", {"Sec_WebSocket_Protocol": "bearer.offered"}, "offered"),
        (
            "/ws/demo?token=query",
            {"Sec_WebSocket_Protocol": "bearer.offered", "Authorization": "Bearer header"},
            "header",
        ),
    ],
)
def test_a_token_is_taken_from_the_first_place_that_has_one(
    target: str, headers: dict[str, str], token: str | None
) -> None:
    assert opening(target, **headers).token == token


@pytest.mark.parametrize(
    ("target", "headers", "how"),
    [
        ("/ws/demo", {}, Acknowledge.NOTHING),
        ("/ws/demo?ack=1", {}, Acknowledge.ECHO),
        ("/ws/demo?ack=0", {}, Acknowledge.NOTHING),
        ("/ws/demo", {"Sec_WebSocket_Protocol": "bearer.x , yjs.ack"}, Acknowledge.COUNT),
        ("/ws/demo?ack=1", {"Sec_WebSocket_Protocol": "yjs.ack, bearer.x"}, Acknowledge.COUNT),
        ("/ws/demo", {"Sec_WebSocket_Protocol": "yjs, bearer.x, yjs.ack2"}, Acknowledge.NOTHING),
    ],
)
def test_acknowledgements_come_only_to_those_that_ask_for_them(
    target: str, headers: dict[str, str], how: Acknowledge
) -> None:
    assert opening(target, **headers).acknowledge is how


def test_an_opening_does_not_show_its_token() -> None:
    shown = opening("/ws/demo?token=secret&ticket=secret", Origin=ORIGIN)
    assert "secret" not in f"{shown!r} {shown}"
    assert "demo" in repr(shown)


class OneToken:
    """Knows the token "good" as one identity."""

    def __init__(self, identity: Identity) -> None:
        self._identity = identity

    async def authenticate(self, token: str | None, *, now: float) -> Identity:
        if token != "good":
            raise TokenRefused("token missing" if token is None else "token malformed")
        return self._identity

    async def close(self) -> None:
        """Nothing is held open."""


def admission(
    catalog: MemoryCatalog,
    *,
    grants: dict[str, Role] | None = None,
    stored: dict[tuple[str, str], Role] | None = None,
    permissions: MemoryPermissions | None = None,
    tickets: Tickets | None = None,
) -> Admission:
    identity = Identity("ada", "Ada", grants=grants or {}, issued_at=NOW - 100)
    permissions = permissions or MemoryPermissions(stored or {})
    return Admission(OneToken(identity), permissions, tickets or MemoryTickets(), catalog, frozenset({ORIGIN}))


async def refusal_of(seats: Admission, target: str) -> Close:
    with pytest.raises(Refused) as refusal:
        await seats.admit(opening(target), NOW)
    return refusal.value.reason


@pytest.mark.parametrize("origin", ["", "null", "http://app.example.com", "https://app.example.com.evil", f"{ORIGIN}/"])
def test_an_origin_is_compared_exactly(origin: str) -> None:
    seats = admission(MemoryCatalog())
    with pytest.raises(Refused) as refusal:
        seats.check_origin(opening(Origin=origin))
    assert refusal.value.reason is Close.FORBIDDEN
    seats.check_origin(opening(Origin=ORIGIN))
    seats.check_origin(opening())


async def test_a_writer_makes_the_document_and_a_reader_finds_it() -> None:
    catalog = MemoryCatalog()
    reading = admission(catalog, grants={"demo": Role.VIEWER})
    assert await refusal_of(reading, "/ws/demo?token=good") is Close.NOT_FOUND
    assert await catalog.find("demo") is None
    written = await admission(catalog, grants={"demo": Role.EDITOR}).admit(opening("/ws/demo?token=good"), NOW)
    read = await reading.admit(opening("/ws/demo?token=good"), NOW)
    assert read.document == written.document
    assert (written.role, read.role) == (Role.EDITOR, Role.VIEWER)
    assert written.identity.subject == "ada"


async def test_no_grant_is_forbidden_whether_or_not_the_document_exists() -> None:
    catalog = MemoryCatalog()
    await catalog.find_or_create("there")
    seats = admission(catalog, grants={"other": Role.OWNER}, stored={("eve", "there"): Role.OWNER})
    for name in ("there", "nowhere"):
        assert await refusal_of(seats, f"/ws/{name}?token=good") is Close.FORBIDDEN
    assert await catalog.find("nowhere") is None


async def test_a_stored_grant_counts_when_the_token_has_none() -> None:
    stored = {("ada", "demo"): Role.OWNER}
    seat = await admission(MemoryCatalog(), stored=stored).admit(opening("/ws/demo?token=good"), NOW)
    assert seat.role is Role.OWNER
    smaller = admission(MemoryCatalog(), grants={"*": Role.VIEWER}, stored=stored)
    assert await refusal_of(smaller, "/ws/demo?token=good") is Close.NOT_FOUND  # a viewer makes no documents


@pytest.mark.parametrize("target", ["/ws/demo", "/ws/demo?token=bad"])
async def test_a_token_that_is_refused_is_unauthorized_before_anything_is_made(target: str) -> None:
    catalog = MemoryCatalog()
    assert await refusal_of(admission(catalog, grants={"*": Role.OWNER}), target) is Close.UNAUTHORIZED
    assert await catalog.find("demo") is None


async def test_a_token_issued_before_its_subjects_tokens_were_revoked_is_refused() -> None:
    permissions = MemoryPermissions()
    seats = admission(MemoryCatalog(), grants={"*": Role.OWNER}, permissions=permissions)
    await permissions.revoke_tokens("ada", NOW - 100)
    await seats.admit(opening("/ws/demo?token=good"), NOW)
    await permissions.revoke_tokens("ada", NOW - 99)
    assert await refusal_of(seats, "/ws/demo?token=good") is Close.UNAUTHORIZED


async def ticket_for(
    tickets: Tickets, document: str = "demo", *, at_most: Role | None = None, ends_at: float = NOW + 900
) -> str:
    identity = Identity("bob", "Bob", expires_at=ends_at, issued_at=NOW, at_most=at_most)
    return f"/ws/demo?ticket={await tickets.issue(identity, document, now=NOW)}&token=good"


async def test_a_ticket_lets_its_holder_in_once_and_no_token_beside_it_counts() -> None:
    tickets = MemoryTickets()
    seats = admission(MemoryCatalog(), grants={"*": Role.OWNER}, stored={("bob", "demo"): Role.EDITOR}, tickets=tickets)
    target = await ticket_for(tickets)
    seat = await seats.admit(opening(target), NOW)
    assert (seat.identity.subject, seat.role, seat.ends_at) == ("bob", Role.EDITOR, NOW + 900)
    assert await refusal_of(seats, target) is Close.UNAUTHORIZED


async def test_a_ticket_gives_no_more_than_is_stored_when_it_is_used_nor_than_its_bound() -> None:
    tickets, permissions, catalog = MemoryTickets(), MemoryPermissions(), MemoryCatalog()
    await catalog.find_or_create("demo")
    seats = admission(catalog, permissions=permissions, tickets=tickets)
    assert await refusal_of(seats, await ticket_for(tickets)) is Close.FORBIDDEN
    await permissions.set_role("bob", "demo", Role.VIEWER)
    assert (await seats.admit(opening(await ticket_for(tickets, at_most=Role.OWNER)), NOW)).role is Role.VIEWER
    await permissions.set_role("bob", "demo", Role.OWNER)
    assert (await seats.admit(opening(await ticket_for(tickets, at_most=Role.COMMENTER)), NOW)).role is Role.COMMENTER
    waiting = await ticket_for(tickets)
    await permissions.revoke_tokens("bob", NOW + 1)
    assert await refusal_of(seats, waiting) is Close.UNAUTHORIZED


async def test_a_ticket_for_another_document_too_old_or_ended_is_refused() -> None:
    tickets = MemoryTickets()
    seats = admission(MemoryCatalog(), stored={("bob", "demo"): Role.EDITOR}, tickets=tickets)
    assert await refusal_of(seats, await ticket_for(tickets, "other")) is Close.UNAUTHORIZED
    assert await refusal_of(seats, await ticket_for(tickets, ends_at=NOW)) is Close.UNAUTHORIZED
    assert await refusal_of(seats, "/ws/demo?ticket=nonsense&token=good") is Close.UNAUTHORIZED
    late = await ticket_for(tickets)
    with pytest.raises(Refused) as refusal:
        await seats.admit(opening(late), NOW + GOOD_FOR_S)
    assert refusal.value.reason is Close.UNAUTHORIZED


class TicketsAway(MemoryTickets):
    """Where nobody answers."""

    async def redeem(self, secret: str, *, now: float) -> Ticket | None:
        raise TicketsUnavailable("away")


async def test_while_tickets_cannot_be_found_their_holders_are_asked_to_try_again() -> None:
    seats = admission(MemoryCatalog(), grants={"*": Role.OWNER}, tickets=TicketsAway())
    assert await refusal_of(seats, "/ws/demo?ticket=any") is Close.RIGHTS_UNKNOWN
