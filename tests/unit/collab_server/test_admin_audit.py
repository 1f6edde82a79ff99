"""Nothing is changed through the private port that was not noted before, and nothing is noted that must stay secret."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

import httpx
import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from collab_server.admin_answers import MAX_BODY_BYTES, Endpoint, content_of, json_answer
from collab_server.admin_audit import AdminAudit
from persistence.audit import LARGEST_ID, AdminAction, AuditUnavailable, Intended
from persistence.audit_memory import MemoryAudit


class Acts:
    """A section whose one path does what the test wants."""

    def __init__(self, audit: MemoryAudit) -> None:
        self.kept = audit
        self.audit = AdminAudit(audit, "task-1")
        self.done: list[Mapping[str, Any]] = []
        self.rows_while_acting: list[AdminAction] = []
        self.answer: Response | Exception = json_answer({})
        self.result: dict[str, object] = {}
        paths = ("/rooms/{document}/kick", "/documents/{document}/grants/{subject:path}", "/tickets")
        routes = [Route(path, self._guard(self.audit.audited(self._act)), methods=METHODS) for path in paths]
        transport = httpx.ASGITransport(
            Starlette(routes=routes + self.audit.routes(self._guard)), raise_app_exceptions=False
        )
        self.client = httpx.AsyncClient(transport=transport, base_url="http://admin")

    def _guard(self, endpoint: Endpoint) -> Endpoint:
        async def guarded(request: Request) -> Response:
            request.state.operator = "root"
            return await endpoint(request)

        return guarded

    async def _act(self, request: Request) -> Response:
        self.rows_while_acting = await self.rows()
        self.done.append(await content_of(request))
        request.state.result = self.result
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer

    async def rows(self) -> list[AdminAction]:
        return await self.kept.newest(None, None, LARGEST_ID, 100)


METHODS = ["GET", "POST", "PUT", "DELETE"]


async def test_an_act_is_noted_before_it_happens_and_settled_after() -> None:
    acts = Acts(MemoryAudit())
    acts.result = {"closed": 1}
    assert (await acts.client.post("/rooms/demo/kick", json={"subject": "bob"})).status_code == 200
    assert [row.outcome for row in acts.rows_while_acting] == [None]
    [row] = await acts.rows()
    assert row.intended == Intended("root", "kick", "rooms/demo", "task-1", {"document": "demo", "subject": "bob"})
    assert (row.outcome, row.result) == ("done", {"status": 200, "closed": 1})
    assert acts.done == [{"subject": "bob"}]  # the body was still there to be read


@pytest.mark.parametrize(
    ("answer", "result", "outcome"),
    [
        (json_answer({}, 202), {"partial": True}, "partial"),
        (json_answer({}, 404), {}, "refused"),
        (json_answer({}, 503), {}, "failed"),
        (RuntimeError("a fault"), {}, "failed"),
    ],
)
async def test_how_it_ended_is_in_one_word(
    answer: Response | Exception, result: dict[str, object], outcome: str
) -> None:
    acts = Acts(MemoryAudit())
    acts.answer, acts.result = answer, result
    await acts.client.post("/rooms/demo/kick")
    assert [row.outcome for row in await acts.rows()] == [outcome]


@pytest.mark.parametrize(
    ("method", "path", "action", "target"),
    [
        ("PUT", "/documents/kick/grants/ada", "put grants", "documents/kick"),
        ("DELETE", "/documents/demo/grants/grants/kick", "delete grants", "documents/demo"),
        ("POST", "/tickets", "tickets", "tickets"),
    ],
)
async def test_an_act_is_called_by_its_path_and_not_by_what_is_named_in_it(
    method: str, path: str, action: str, target: str
) -> None:
    acts = Acts(MemoryAudit())
    await acts.client.request(method, path)
    assert [(row.intended.action, row.intended.target) for row in await acts.rows()] == [(action, target)]


async def test_looking_is_no_act() -> None:
    acts = Acts(MemoryAudit())
    await acts.client.get("/rooms/demo/kick")
    assert len(acts.done) == 1
    assert await acts.rows() == []


class Away(MemoryAudit):
    async def begin(self, intended: Intended) -> int:
        raise AuditUnavailable("the database is away")


async def test_what_cannot_be_noted_is_not_done() -> None:
    acts = Acts(Away())
    answer = await acts.client.post("/rooms/demo/kick")
    assert (answer.status_code, acts.done) == (503, [])


class Forgetful(MemoryAudit):
    async def settle(self, action_id: int, outcome: str, result: Mapping[str, Any]) -> None:
        raise AuditUnavailable("the database went away")


async def test_an_outcome_that_cannot_be_noted_changes_no_answer() -> None:
    acts = Acts(Forgetful())
    assert (await acts.client.post("/rooms/demo/kick")).status_code == 200
    assert [row.outcome for row in await acts.rows()] == [None]


async def test_no_token_is_noted() -> None:
    acts = Acts(MemoryAudit())
    await acts.client.post("/tickets", json={"token": "t", "ticket": "t", "secret": "t", "subject": "ada"})
    assert [row.intended.detail for row in await acts.rows()] == [{"subject": "ada"}]


@pytest.mark.parametrize("body", [b"[]", b"{", b"\xff", b'"x"', b'{"x":"' + b"y" * MAX_BODY_BYTES + b'"}'])
async def test_a_body_that_cannot_be_meant_is_refused_before_anything_is_noted(body: bytes) -> None:
    acts = Acts(MemoryAudit())
    assert (await acts.client.post("/rooms/demo/kick", content=body)).status_code == 400
    assert (acts.done, await acts.rows()) == ([], [])


async def test_pages_of_the_log_are_told_newest_first_or_from_a_row_on() -> None:
    acts = Acts(MemoryAudit())
    await asyncio.gather(*(acts.client.post(f"/rooms/room-{number}/kick") for number in range(5)))
    first = (await acts.client.get("/audit?limit=3")).json()
    rest = (await acts.client.get(f"/audit?limit=3&before={first['before']}")).json()
    assert [row["id"] for row in first["actions"] + rest["actions"]] == [5, 4, 3, 2, 1]
    assert rest["before"] is None
    since = (await acts.client.get("/audit?after=3")).json()
    assert [row["id"] for row in since["actions"]] == [4, 5]
    assert since["after"] == 5
    assert (await acts.client.get("/audit?after=5")).json() == {"actions": [], "after": 5}
    assert len((await acts.client.get("/audit?target=rooms/room-2")).json()["actions"]) == 1
    for query in ("limit=0", "limit=x", "before=1&after=1", "target=%00", f"before={'9' * 5_000}"):
        assert (await acts.client.get(f"/audit?{query}")).status_code == 400


async def test_an_act_that_was_broken_off_is_not_noted_as_done() -> None:
    """The port closes while an eviction waits for other tasks: nobody knows what they did."""
    kept = MemoryAudit()
    begun = asyncio.Event()

    async def act() -> None:
        async with AdminAudit(kept, "task-1").record("root", "evict", "rooms/demo", {}):
            begun.set()
            await asyncio.Event().wait()

    acting = asyncio.create_task(act())
    await begun.wait()
    acting.cancel()
    await asyncio.wait([acting])
    [row] = await kept.newest(None, None, LARGEST_ID, 1)
    assert (row.outcome, row.result) == ("failed", {"error": "CancelledError"})


async def test_what_is_nested_too_deep_to_be_noted_is_refused_and_not_done() -> None:
    acts = Acts(MemoryAudit())
    deep = b'{"a":' + b"[" * 300 + b"]" * 300 + b"}"
    answer = await acts.client.post("/rooms/demo/kick", content=deep)
    assert (answer.status_code, acts.done, await acts.rows()) == (400, [], [])
