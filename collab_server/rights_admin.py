"""Rights on the private port: give and take roles, void somebody's tokens, have everybody looked up again.

Each change is committed before its word is said, so whoever hears the word finds it. The facade will do the same to the
same tables; whoever changes them by hand says the word with `POST /rights/look`. Part of `admin`, which guards the
paths; who did what is audited.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from auth.permissions import Permissions, PermissionsUnavailable, Role
from collab_server.admin_answers import BadRequest, Endpoint, Guard, answered, content_of, json_answer
from collab_server.admission import DOCUMENT_NAME, LEEWAY_S
from collab_server.rights import Rights

LONGEST_SUBJECT = 128  # characters, as in tokens


class AdminRights:
    """The paths below `/documents`, `/people` and `/rights`."""

    def __init__(
        self,
        permissions: Permissions,
        rights: Rights,
        wall_clock: Callable[[], float] = time.time,
    ) -> None:
        self._permissions = permissions
        self._rights = rights
        self._wall_clock = wall_clock

    def routes(self, guard: Guard) -> list[Route]:
        """The paths, each behind `guard`, which puts the operator's subject into `request.state.operator`."""
        grant = "/documents/{document}/grants/{subject:path}"

        def act(endpoint: Endpoint) -> Endpoint:
            return guard(answered(endpoint, PermissionsUnavailable))

        return [
            Route(grant, act(self._grant), methods=["PUT"]),
            Route(grant, act(self._withdraw), methods=["DELETE"]),
            Route("/people/{subject:path}/revoke", act(self._revoke), methods=["POST"]),
            Route("/rights/look", act(self._look), methods=["POST"]),
        ]

    async def _grant(self, request: Request) -> Response:
        try:
            role = Role(str((await content_of(request)).get("role")))
        except ValueError:
            raise BadRequest(f"role is one of {', '.join(Role)}") from None
        return await self._set_role(request, role)

    async def _withdraw(self, request: Request) -> Response:
        return await self._set_role(request, None)

    async def _set_role(self, request: Request, role: Role | None) -> Response:
        document, subject = document_name(request.path_params["document"]), subject_id(request.path_params["subject"])
        before = await self._permissions.set_role(subject, document, role)
        self._rights.changed(document=document, subject=subject)
        request.state.result = {"role": role, "before": before}
        return json_answer({"document": document, "subject": subject, "role": role, "before": before})

    async def _revoke(self, request: Request) -> Response:
        subject, now = subject_id(request.path_params["subject"]), self._wall_clock()
        before = (await content_of(request)).get("before", now)
        # As far ahead as a token may be that is taken: one of an issuer whose clock is ahead can be voided, too.
        if isinstance(before, bool) or not isinstance(before, int | float) or not 0 <= before <= now + LEEWAY_S:
            raise BadRequest(f"before is a time in Unix seconds, at the latest {LEEWAY_S:.0f} s from now")
        await self._permissions.revoke_tokens(subject, float(before))
        self._rights.changed(subject=subject)
        request.state.result = {"revoked_before": before}
        return json_answer({"subject": subject, "revoked_before": before})

    async def _look(self, request: Request) -> Response:
        content = await content_of(request)
        document, subject = content.get("document"), content.get("subject")
        self._rights.changed(
            document=None if document is None else document_name(document),
            subject=None if subject is None else subject_id(subject),
        )
        return json_answer({"document": document, "subject": subject}, 202)


def document_name(name: object) -> str:
    """`name`, if a document can have it. Raises BadRequest."""
    if not isinstance(name, str) or not DOCUMENT_NAME.fullmatch(name):
        raise BadRequest("a document name is 1 to 128 letters, digits and . _ : -")
    return name


def subject_id(subject: object) -> str:
    """`subject`, if a token can carry it. Raises BadRequest."""
    if not isinstance(subject, str) or not 0 < len(subject) <= LONGEST_SUBJECT or not subject.isprintable():
        raise BadRequest(f"a subject is 1 to {LONGEST_SUBJECT} printable characters")
    return subject
