"""Rights of people on a running server, changed as an operator changes them."""

from __future__ import annotations

import asyncio
import json
from http.client import HTTPConnection
from typing import Any

from auth.permissions import Role
from tests.services.server import ServerProcess
from tests.services.tokens import token


def stranger(server: ServerProcess, subject: str, **claims: Any) -> str:
    """A token without a grant for any document that a test opens: what is stored decides."""
    return token(server, subject, document="elsewhere", **claims)


def operator(server: ServerProcess) -> str:
    """A token for the private port."""
    return stranger(server, "root", groups=["admin"])


def ask(server: ServerProcess, method: str, path: str, content: object = None, *, by: str = "") -> tuple[int, Any]:
    """Status and content of what the private port answers to an operator, or to the `Authorization` given as `by`."""
    connection = HTTPConnection("127.0.0.1", server.admin_port, timeout=20)
    try:
        headers = {"Authorization": by or f"Bearer {operator(server)}"}
        connection.request(method, path, None if content is None else json.dumps(content), headers)
        answer = connection.getresponse()
        return answer.status, json.loads(answer.read())
    finally:
        connection.close()


async def set_role(server: ServerProcess, document: str, subject: str, role: Role | str | None) -> None:
    """Store a role, or take it away, through one task."""
    path = f"/documents/{document}/grants/{subject}"
    method, content = ("DELETE", None) if role is None else ("PUT", {"role": role})
    status, answer = await asyncio.to_thread(ask, server, method, path, content)
    assert status == 200, answer
