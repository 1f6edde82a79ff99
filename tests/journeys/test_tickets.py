"""Connection tickets: issued on one task, good once on another, and in no log (T08)."""

from __future__ import annotations

import asyncio
from typing import Any

from websockets.exceptions import InvalidStatus

from collab_server.errors import Close
from collab_server.wire.messages import PermissionDenied
from tests.services.client import Client
from tests.services.cluster import two_tasks
from tests.services.fixtures_server import StartServer
from tests.services.redis import RedisServer
from tests.services.rights import ask, operator, stranger
from tests.services.running import until_ready
from tests.services.server import ServerProcess

KEY = "hunter2" * 6


def order(server: ServerProcess, authorization: str, content: object) -> tuple[int, Any]:
    """Ask for a ticket: status and content of the answer."""
    return ask(server, "POST", "/tickets", content, by=authorization or "nobody")


async def status_with(server: ServerProcess, document: str, ticket: str) -> int:
    try:
        async with Client(server.websocket_url, f"{document}?ticket={ticket}"):
            return 101
    except InvalidStatus as refused:
        return refused.response.status_code


async def test_a_ticket_opens_one_document_once_on_any_task(
    start_server: StartServer, redis_server: RedisServer
) -> None:
    origin = "https://app.example.com"
    one, two = two_tasks(start_server, redis_server.url, internal_key=KEY, allowed_origins=origin)
    internal = f"Internal {KEY}"
    guest = {"subject": "guest-1", "name": "A guest", "document": "script", "granted": "editor"}

    for authorization, status in (
        ("", 401),
        (f"Internal {KEY}x", 401),
        ("Internal ", 401),
        (f"Bearer {stranger(one, 'eve')}", 403),
        (f"Bearer {operator(one)}", 201),
        (internal, 201),
    ):
        assert (await asyncio.to_thread(order, one, authorization, guest))[0] == status, authorization
    for wrong in (
        {"subject": ""},
        {"document": "../x"},
        {"granted": "king"},
        {"at_most": 7},
        {"groups": "admin"},
        {"name": "two\nlines"},
        {"ends_at": 1},
        {"ends_at": True},
        {"issued_at": 4e9},
    ):
        status, answer = await asyncio.to_thread(order, one, internal, guest | wrong)
        assert (status, list(answer)) == (400, ["error"]), wrong

    _status, answer = await asyncio.to_thread(order, one, internal, guest)
    ticket = answer["ticket"]
    async with Client(two.websocket_url, f"script?ticket={ticket}") as client:
        await client.type("by a guest")
        assert [await status_with(task, "script", ticket) for task in (one, two)] == [401, 401]
        _status, answer = await asyncio.to_thread(order, two, internal, guest | {"at_most": "viewer"})
        async with Client(one.websocket_url, f"script?ticket={answer['ticket']}") as reader:
            await reader.until_text("by a guest")
            await reader.type("no")
            await reader.until(lambda: reader.denied == ["you may read this document but not edit it"])
    _status, answer = await asyncio.to_thread(order, two, internal, guest)
    other = answer["ticket"]
    assert [await status_with(one, name, other) for name in ("other", "script")] == [401, 401]  # it is used up
    page = Client(one.websocket_url, f"script?ticket={ticket}", origin=origin, hello=False)
    async with page:
        assert (await page.until_closed())[0] == Close.UNAUTHORIZED.code
        assert isinstance(page.received[0], PermissionDenied)

    _status, answer = await asyncio.to_thread(order, one, internal, guest)
    redis_server.kill()
    await until_ready(one, 503)
    assert await status_with(one, "script", answer["ticket"]) == 503
    assert (await asyncio.to_thread(order, one, internal, guest))[0] == 503
    for secret in (ticket, other, answer["ticket"], KEY):
        assert secret not in one.output + two.output
