"""The rooms of the cluster on the private port: the list, one room, and what an operator does to it.

Must never tell document text or tokens. Part of `admin`, which guards the paths and audits the acts.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from collab_server.admin_answers import BadRequest, Endpoint, Guard, answered, content_of, json_answer, number_of
from collab_server.cluster_acts import ClusterActs, NoSuchDocument
from collab_server.cluster_rooms import LARGEST_PAGE, MOST_SEATS, ClusterRooms
from persistence.errors import StorageUnavailable

USUAL_PAGE = USUAL_SEATS = 100
KEPT_OUT_S, LONGEST_KEPT_OUT_S = 60.0, 30 * 86_400.0
LONGEST_SUBJECT = 128  # characters, as in tokens
NOT_OPEN = "no task has this document open"
NOT_KNOWN = "no task that answered has this document open, and not all answered: try again"


class AdminRooms:
    """The paths below `/rooms`."""

    def __init__(self, rooms: ClusterRooms, acts: ClusterActs) -> None:
        self._rooms = rooms
        self._acts = acts

    def routes(self, guard: Guard) -> list[Route]:
        """The paths, each behind `guard`."""
        room = "/rooms/{document}"

        def act(word: str, endpoint: Endpoint) -> Route:
            return Route(f"{room}/{word}", guard(_told(endpoint)), methods=["POST"])

        return [
            Route("/rooms", guard(answered(self._page))),
            Route(room, guard(answered(self._room))),
            act("kick", self._kick),
            act("freeze", self._freeze),
            act("unfreeze", self._unfreeze),
            act("checkpoint", self._checkpoint),
            act("evict", self._evict),
        ]

    async def _page(self, request: Request) -> Response:
        limit = number_of(request, "limit", USUAL_PAGE, 1, LARGEST_PAGE)
        return json_answer(await self._rooms.page(limit, request.query_params.get("after"), here=_here(request)))

    async def _room(self, request: Request) -> Response:
        seats = number_of(request, "seats", USUAL_SEATS, 0, MOST_SEATS)
        room, heard = await self._rooms.one(request.path_params["document"], seats, here=_here(request))
        if room is None:
            return _nobody(heard.gaps())
        return json_answer(room | heard.gaps())

    async def _kick(self, request: Request) -> Response:
        content = await content_of(request)
        subject, for_s = content.get("subject"), content.get("for_s", KEPT_OUT_S)
        if not isinstance(subject, str) or not 0 < len(subject) <= LONGEST_SUBJECT or not subject.isprintable():
            raise BadRequest('say whom: {"subject": "…"}, 1 to 128 printable characters')
        if isinstance(for_s, bool) or not isinstance(for_s, int | float) or not 0 <= for_s <= LONGEST_KEPT_OUT_S:
            raise BadRequest(f"for_s is a number of seconds from 0 to {LONGEST_KEPT_OUT_S:.0f}")
        document, operator = request.path_params["document"], request.state.operator
        return _done(request, await self._acts.kick(document, subject, float(for_s), operator))

    async def _freeze(self, request: Request) -> Response:
        return _done(request, await self._acts.freeze(request.path_params["document"], request.state.operator))

    async def _unfreeze(self, request: Request) -> Response:
        return _done(request, await self._acts.unfreeze(request.path_params["document"]))

    async def _checkpoint(self, request: Request) -> Response:
        result = await self._acts.checkpoint(request.path_params["document"])
        return _done(request, result, holds=True, is_well=lambda told: bool(told["stored"]))

    async def _evict(self, request: Request) -> Response:
        result = await self._acts.evict(request.path_params["document"])
        return _done(request, result, holds=True, is_well=lambda told: bool(told["evicted"]))


def _here(request: Request) -> bool:
    return request.query_params.get("here") == "1"


def _done(
    request: Request,
    result: dict[str, Any],
    *,
    holds: bool = False,
    is_well: Callable[[Mapping[str, Any]], bool] = lambda _told: True,
) -> Response:
    """What each task did, for the operator and for the audit. With `holds` it takes a task that holds the room."""
    request.state.result = result
    if holds and not result["tasks"]:
        return _nobody(result)
    return json_answer(result, 200 if all(map(is_well, result["tasks"].values())) else 503)


def _nobody(gaps: Mapping[str, Any]) -> Response:
    """404 is said only when everyone was heard."""
    told = {name: gaps[name] for name in ("partial", "silent", "cut_off")}
    return json_answer({"error": NOT_KNOWN if gaps["partial"] else NOT_OPEN, **told}, 503 if gaps["partial"] else 404)


def _told(endpoint: Endpoint) -> Endpoint:
    async def told(request: Request) -> Response:
        try:
            return await endpoint(request)
        except NoSuchDocument:
            return json_answer({"error": "there is no such document"}, 404)

    return answered(told, StorageUnavailable)
