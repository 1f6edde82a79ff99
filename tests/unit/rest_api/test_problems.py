"""Refusals and failures as RFC 9457 problem documents."""

import httpx
import pytest

from rest_api.app import create_app
from rest_api.playground import PlaygroundConfig
from rest_api.problems import Problem
from tests.unit.rest_api.conftest import Caller


async def test_an_unknown_address_is_a_problem_document(caller: Caller) -> None:
    answer = await caller().get("/nowhere")
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.headers["cache-control"] == "no-store"
    assert answer.json() == {"type": "about:blank", "title": "Not Found", "status": 404, "detail": "Not Found."}


async def test_a_wrong_method_says_which_are_right(caller: Caller) -> None:
    answer = await caller().delete("/healthz")
    assert answer.status_code == 405
    assert answer.headers["allow"] == "GET"


@pytest.mark.parametrize(
    ("error", "status"), [(Problem(409, "Taken."), 409), (RuntimeError("database password is hunter2"), 500)]
)
async def test_a_failure_tells_nothing_of_the_inside(page: PlaygroundConfig, error: Exception, status: int) -> None:
    app = create_app(page, None)

    @app.get("/fails")
    async def fails() -> None:
        raise error

    transport = httpx.ASGITransport(app, raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1") as client:
        answer = await client.get("/fails")
    assert answer.status_code == status
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert "hunter2" not in answer.text
