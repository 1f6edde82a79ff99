"""Errors as RFC 9457 problem documents: the one shape in which this facade says no.

It must never echo what the caller sent (a name or a token may be in it) nor what went wrong inside.
Called by `app.py`, which installs the responses, and by every route that refuses something.
"""

from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import Any

import structlog
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, Response
from pydantic_core import ErrorDetails
from starlette.exceptions import HTTPException

from rest_api.security_headers import HEADERS

MEDIA_TYPE = "application/problem+json"

_log = structlog.get_logger(__name__)


class Problem(Exception):
    """A refusal that its receiver can act on. `detail` is shown as it is: it names no secret and no internals.

    `errors` says which fields were wrong, as (JSON pointer fragment, sentence) pairs.
    """

    def __init__(self, status: int, detail: str, *, errors: Sequence[tuple[str, str]] = ()) -> None:
        super().__init__(detail)
        self.status = status
        self.detail = detail
        self.errors = tuple(errors)

    @classmethod
    def of_validation(cls, details: Sequence[ErrorDetails | Mapping[str, Any]]) -> "Problem":
        """The problem for pydantic's error list; keeps where and why, drops the input."""
        errors = [("#/" + "/".join(str(part) for part in detail["loc"]), str(detail["msg"])) for detail in details]
        return cls(422, "Some fields are missing or not valid.", errors=errors)


def problem_response(problem: Problem, headers: Mapping[str, str] | None = None) -> Response:
    """The response for `problem`. It is never cached: the next attempt may succeed."""
    body: dict[str, Any] = {
        "type": "about:blank",  # RFC 9457 4.2.1: the title is then the status phrase
        "title": HTTPStatus(problem.status).phrase,
        "status": problem.status,
        "detail": problem.detail,
    }
    if problem.errors:
        body["errors"] = [{"pointer": pointer, "detail": detail} for pointer, detail in problem.errors]
    sent_headers = {**(headers or {}), "Cache-Control": "no-store"}
    return JSONResponse(body, status_code=problem.status, media_type=MEDIA_TYPE, headers=sent_headers)


def install_problems(app: FastAPI) -> None:
    """Make every refusal and every failure of `app` answer with a problem document."""
    app.exception_handler(Problem)(_on_problem)
    app.exception_handler(HTTPException)(_on_http_exception)
    app.exception_handler(RequestValidationError)(_on_validation)
    app.exception_handler(Exception)(_on_failure)


async def _on_problem(_request: Request, error: Problem) -> Response:
    return problem_response(error)


async def _on_http_exception(_request: Request, error: HTTPException) -> Response:
    # Starlette's own refusals (404, 405) carry only their phrase as detail; 405 needs its Allow header kept.
    return problem_response(Problem(error.status_code, f"{error.detail}."), headers=error.headers)


async def _on_validation(_request: Request, error: RequestValidationError) -> Response:
    return problem_response(Problem.of_validation(error.errors()))


async def _on_failure(request: Request, error: Exception) -> Response:
    _log.error("request_failed", path=request.url.path, method=request.method, exc_info=error)
    return problem_response(Problem(500, "Something failed on our side; it has been logged."), headers=HEADERS)
