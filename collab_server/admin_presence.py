"""Presence on the private port: who is in a document on any task, and where somebody is. Read from the directory.

For operators; never for deciding anything. Part of `admin`, which guards the paths.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import orjson
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from collab_server.attendance import document_place
from presence.directory import Attendee, Directory, DirectoryUnavailable

Endpoint = Callable[[Request], Awaitable[Response]]


class AdminPresence:
    """The paths below `/presence`."""

    def __init__(self, directory: Directory) -> None:
        self._directory = directory

    def routes(self, guard: Callable[[Endpoint], Endpoint]) -> list[Route]:
        """The paths, each behind `guard`."""
        return [
            Route("/presence/{document}", guard(self._document)),
            Route("/presence/people/{subject:path}", guard(self._person)),
        ]

    async def _document(self, request: Request) -> Response:
        document = request.path_params["document"]
        try:
            found = await self._directory.at(document_place(document))
        except DirectoryUnavailable as error:
            return _away(error)
        people = [_plain(each) for each in found.people]
        return _json({"document": document, "tasks": sorted(found.tasks), "people": people})

    async def _person(self, request: Request) -> Response:
        subject = request.path_params["subject"]
        try:
            places = await self._directory.places_of(subject)
        except DirectoryUnavailable as error:
            return _away(error)
        return _json({"subject": subject, "places": places})


def _plain(each: Attendee) -> dict[str, object]:
    return {
        "subject": each.person.subject,
        "name": each.person.name,
        "role": each.person.role,
        "status": each.status.value,
        "devices": each.devices,
        "since": each.since,
    }


def _away(error: DirectoryUnavailable) -> Response:
    return _json({"error": f"the directory of presence does not answer: {error}"}, 503)


def _json(content: object, status: int = 200) -> Response:
    return Response(orjson.dumps(content), status, media_type="application/json", headers={"Cache-Control": "no-store"})
