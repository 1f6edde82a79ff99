"""What every `Tickets` adapter owes, on memory and on Redis; and what whoever writes to that Redis cannot do (T08)."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator
from dataclasses import replace
from hashlib import sha256

import pytest
import pytest_asyncio

from auth.identity import Identity
from auth.permissions import Role
from auth.tickets import GOOD_FOR_S, Ticket, Tickets, TicketsUnavailable, encode
from auth.tickets_memory import MOST, MemoryTickets
from auth.tickets_redis import RedisTickets
from collab_server.redis_calls import RedisCalls
from tests.services.redis import RedisServer

NOW = 1_700_000_000.0
KEYS = (b"new key", b"old key")
ADA = Identity(
    "ada",
    "Åda ☃",
    groups=frozenset({"writers", "admin"}),
    expires_at=NOW + 900.5,
    issued_at=NOW - 7,
    at_most=Role.COMMENTER,
)


@pytest_asyncio.fixture
async def calls(redis_url: str) -> AsyncIterator[RedisCalls]:
    calls = RedisCalls(redis_url, "tickets")
    await calls.start()
    yield calls
    await calls.close()


@pytest.fixture(params=["memory", "redis"])
def tickets(request: pytest.FixtureRequest) -> Tickets:
    if request.param == "memory":
        return MemoryTickets()
    return RedisTickets(request.getfixturevalue("calls").call, keys=KEYS)


async def test_a_ticket_is_good_once_for_whom_it_was_issued(tickets: Tickets) -> None:
    secret = await tickets.issue(ADA, "demo", now=NOW)
    assert await tickets.redeem(secret, now=NOW + GOOD_FOR_S - 1) == Ticket(ADA, "demo", NOW + GOOD_FOR_S)
    assert await tickets.redeem(secret, now=NOW) is None


async def test_of_the_grants_of_a_token_the_one_for_the_document_is_kept(tickets: Tickets) -> None:
    grants = {"demo": Role.EDITOR, "other": Role.OWNER}
    for carried, kept in ((grants, {"demo": Role.EDITOR}), ({"*": Role.VIEWER}, {"demo": Role.VIEWER}), ({}, {})):
        secret = await tickets.issue(replace(ADA, grants=carried), "demo", now=NOW)
        ticket = await tickets.redeem(secret, now=NOW)
        assert ticket is not None
        assert ticket.identity.grants == kept


async def test_of_many_who_use_one_at_once_one_gets_in(tickets: Tickets) -> None:
    secret = await tickets.issue(ADA, "demo", now=NOW)
    got = await asyncio.gather(*(tickets.redeem(secret, now=NOW) for _ in range(20)))
    assert len([ticket for ticket in got if ticket is not None]) == 1


async def test_one_that_is_too_old_or_for_a_seat_that_has_ended_is_good_for_nothing(tickets: Tickets) -> None:
    old = await tickets.issue(ADA, "demo", now=NOW)
    assert await tickets.redeem(old, now=NOW + GOOD_FOR_S) is None
    ended = await tickets.issue(replace(ADA, expires_at=NOW + 5), "demo", now=NOW)
    assert await tickets.redeem(ended, now=NOW + 5) is None


@pytest.mark.parametrize("nonsense", ["", "x", "A" * 42, "A" * 43, "A" * 44, "é" * 43, "\ud800" * 43, "A" * 42 + "\n"])
async def test_nonsense_is_no_ticket(tickets: Tickets, nonsense: str) -> None:
    assert await tickets.redeem(nonsense, now=NOW) is None


async def test_no_two_tickets_are_alike(tickets: Tickets) -> None:
    issued = await asyncio.gather(*(tickets.issue(ADA, "demo", now=NOW) for _ in range(100)))
    assert len(set(issued)) == 100
    assert {len(secret) for secret in issued} == {43}
    await tickets.close()
    await tickets.close()


async def test_memory_keeps_so_many_and_no_more() -> None:
    tickets = MemoryTickets()
    first = await tickets.issue(ADA, "demo", now=NOW)
    for _ in range(MOST):
        last = await tickets.issue(ADA, "demo", now=NOW)
    assert await tickets.redeem(first, now=NOW) is None
    assert await tickets.redeem(last, now=NOW) is not None


async def test_redis_is_never_told_a_ticket_and_forgets_it_by_itself(calls: RedisCalls) -> None:
    secret = await RedisTickets(calls.call, keys=KEYS).issue(ADA, "demo", now=NOW)
    name = f"collab:ticket:{sha256(secret.encode()).hexdigest()}".encode()
    content, names, left_s = await calls.call([(b"GET", name), (b"KEYS", b"*"), (b"TTL", name)])
    assert names == [name]
    assert secret.encode() not in content
    assert 0 < left_s <= GOOD_FOR_S


async def test_what_somebody_else_puts_into_redis_opens_nothing(calls: RedisCalls) -> None:
    tickets = RedisTickets(calls.call, keys=KEYS)
    bare, signed_by_others = RedisTickets(calls.call), RedisTickets(calls.call, keys=(b"other",))
    for forger in (bare, signed_by_others):
        assert await tickets.redeem(await forger.issue(ADA, "demo", now=NOW), now=NOW) is None
    mine, theirs = "A" * 43, await tickets.issue(ADA, "demo", now=NOW)
    name = f"collab:ticket:{sha256(theirs.encode()).hexdigest()}".encode()
    place = f"collab:ticket:{sha256(mine.encode()).hexdigest()}".encode()
    await calls.call([(b"COPY", name, place)])  # a good one, moved to where its thief knows the ticket
    assert await tickets.redeem(mine, now=NOW) is None
    content = encode(Ticket(ADA, "demo", NOW + GOOD_FOR_S))
    for bad in (
        b"",
        b"x",
        b"[]",
        b"{}",
        content[:-1],
        content.replace(b'"ada"', b"7"),
        content.replace(b":1,", b":2,"),
    ):
        await calls.call([(b"SET", place, bad)])
        assert await bare.redeem(mine, now=NOW) is None
    assert await tickets.redeem(theirs, now=NOW) is not None


async def test_while_keys_change_both_are_good(calls: RedisCalls) -> None:
    before = RedisTickets(calls.call, keys=KEYS[1:])
    during = RedisTickets(calls.call, keys=KEYS)
    assert await during.redeem(await before.issue(ADA, "demo", now=NOW), now=NOW) is not None
    assert await before.redeem(await during.issue(ADA, "demo", now=NOW), now=NOW) is None


async def test_without_redis_nothing_is_issued_or_redeemed(redis_server: RedisServer) -> None:
    calls = RedisCalls(redis_server.url, "tickets")
    await calls.start()
    tickets = RedisTickets(calls.call)
    secret = await tickets.issue(ADA, "demo", now=NOW)
    redis_server.kill()
    with pytest.raises(TicketsUnavailable):
        await tickets.issue(ADA, "demo", now=NOW)
    with pytest.raises(TicketsUnavailable):
        await tickets.redeem(secret, now=NOW)
    await calls.close()


async def test_nobody_gets_the_answer_of_one_who_was_cancelled(calls: RedisCalls) -> None:
    """CVE-2023-28858: calls are cancelled at random points, and every answer that comes is checked for whose it is."""
    chance, tickets = random.Random(58), RedisTickets(calls.call)
    people = [f"person-{number}" for number in range(400)]
    secrets = {who: await tickets.issue(Identity(who, who), "demo", now=NOW) for who in people}
    wrong, right = [], 0

    async def come(who: str) -> None:
        nonlocal right
        ticket = await tickets.redeem(secrets[who], now=NOW)
        if ticket is None or ticket.identity.subject != who:
            wrong.append(who)
        else:
            right += 1

    for start in range(0, len(people), 20):
        comers = [asyncio.create_task(come(who)) for who in people[start : start + 20]]
        for comer in chance.sample(comers, 10):
            for _ in range(chance.randrange(6)):
                await asyncio.sleep(0)
            comer.cancel()
        await asyncio.gather(*comers, return_exceptions=True)
    assert wrong == []
    assert right >= len(people) // 2
