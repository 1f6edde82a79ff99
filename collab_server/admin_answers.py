"""What the sections of the private port share: JSON that nobody keeps, and what may be asked. Must know no part of the
server. Called by `admin` and the modules beside it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Protocol

import orjson
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

Endpoint = Callable[[Request], Awaitable[Response]]
Guard = Callable[[Endpoint], Endpoint]

MAX_BODY_BYTES = 4_096
LONGEST_NUMBER = 19  # digits, as a 64-bit one
LONGEST_NAME = 256  # characters of whatever is named in a path or query


class BadRequest(Exception):
    """What was asked cannot be meant; the message says what is expected."""


class Section(Protocol):
    """A part of the private port."""

    def routes(self, guard: Guard) -> list[Route]:
        """Its paths, each behind `guard`, which puts the operator's subject into `request.state.operator` and audits
        what changes something; `request.state.result` is what the audit keeps of how it went.
        """


def json_answer(content: object, status: int = 200) -> Response:
    """`content` as JSON, not to be cached."""
    return Response(orjson.dumps(content), status, media_type="application/json", headers={"Cache-Control": "no-store"})


async def content_of(request: Request) -> Mapping[str, Any]:
    """The JSON object in the body, an empty one for no body; may be called twice. Raises `BadRequest`."""
    length = request.headers.get("content-length", "0")
    if "transfer-encoding" in request.headers or not length.isdecimal() or int(length) > MAX_BODY_BYTES:
        raise BadRequest(f"send at most {MAX_BODY_BYTES} bytes, with their length")
    try:
        content = orjson.loads(await request.body() or b"{}")
        orjson.dumps(content)  # what the audit could not note is not done; it takes less depth than is read
    except (ValueError, TypeError):
        raise BadRequest("the body is not JSON, or nested too deep") from None
    if not isinstance(content, dict):
        raise BadRequest("the body is a JSON object")
    return content


def number_of(request: Request, name: str, usual: int, least: int, most: int) -> int:
    """A number in the query. Raises `BadRequest`."""
    given = request.query_params.get(name, str(usual))
    if not given.isdecimal() or len(given) > LONGEST_NUMBER or not least <= int(given) <= most:
        raise BadRequest(f"{name} is a number from {least} to {most}")
    return int(given)


def name_in(request: Request, name: str) -> str | None:
    """A name in the query, or none. Raises `BadRequest` for one that nothing can have."""
    given = request.query_params.get(name)
    if given is not None and not is_name(given):
        raise BadRequest(f"{name} is 1 to {LONGEST_NAME} printable characters")
    return given


def is_name(given: str) -> bool:
    """Whether something could be called that: no store takes just any text."""
    return 0 < len(given) <= LONGEST_NAME and given.isprintable()


def answered(endpoint: Endpoint, *away: type[Exception]) -> Endpoint:
    """What cannot be meant, and a store that is away, are answers, not tracebacks."""

    async def told(request: Request) -> Response:
        try:
            return await endpoint(request)
        except BadRequest as error:
            return json_answer({"error": str(error)}, 400)
        except away:
            return json_answer({"error": "the database does not answer now: try again"}, 503)

    return told
