"""Every way this server ends a connection, in one table, and the exceptions that carry an entry of it.

`theirs` is what a client did or may not do, the rest is what this server or a part behind it cannot do now. Codes
4400-4499 are permanent for this attempt (the same thing fails the same way), 4500-4599 and 1012 mean: try again.
The slugs are also metric labels and the words in docs/protocol.md, which a test compares with this table.
Codes below 4000 that the WebSocket layer sends by itself are listed too, so that the table is whole (RFC 6455 §7.4.1).
"""

from __future__ import annotations

from enum import Enum
from http import HTTPStatus


class Close(Enum):
    """One way to end a connection: WebSocket `code`, stable `slug`, `text` for people (at most 120 bytes).

    `retry` says whether trying again makes sense, `theirs` whose doing it is; `status` is the HTTP answer when the
    client is refused before the upgrade.
    """

    def __init__(
        self, code: int, slug: str, text: str, retry: bool, theirs: bool, status: HTTPStatus = HTTPStatus.BAD_REQUEST
    ) -> None:
        self.code = code
        self.slug = slug
        self.text = text
        self.retry = retry
        self.theirs = theirs
        self.status = status

    PROTOCOL = 1002, "websocket_protocol", "not valid WebSocket", False, True
    TEXT = 1003, "text_frame", "this protocol is binary: text frames are not understood", False, True
    BAD_TEXT = 1007, "bad_text", "the reason of a close frame is not valid UTF-8", False, True
    TOO_BIG = (
        1009,
        "message_too_big",
        "the message is larger than this server accepts",
        False,
        True,
        HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE,  # before the upgrade only the opening request can be too big
    )
    RESTARTING = 1012, "restarting", "the server is restarting: reconnect", True, False, HTTPStatus.SERVICE_UNAVAILABLE
    MALFORMED = 4400, "malformed", "the message is not valid in this protocol", False, True
    UNAUTHORIZED = (
        4401,
        "unauthorized",
        "sign in again: the token is missing or not valid",
        False,
        True,
        HTTPStatus.UNAUTHORIZED,
    )
    EXPIRED = 4402, "token_expired", "sign in again: the token has expired", False, True, HTTPStatus.UNAUTHORIZED
    FORBIDDEN = 4403, "forbidden", "you have no access to this document", False, True, HTTPStatus.FORBIDDEN
    NOT_FOUND = 4404, "not_found", "there is no such document", False, True, HTTPStatus.NOT_FOUND
    KEPT_OUT = 4407, "kept_out", "an operator keeps you out of this document", False, True, HTTPStatus.FORBIDDEN
    TOO_SLOW_TO_OPEN = (
        4408,
        "handshake_timeout",
        "the connection was not opened in time",
        False,
        True,
        HTTPStatus.REQUEST_TIMEOUT,
    )
    UPDATE_REFUSED = 4409, "update_refused", "an edit was refused: reload the document", False, True
    HISTORY_REPLACED = (
        4410,
        "history_replaced",
        "this document was restored: your copy is of before; save it and reload",
        False,
        True,
        HTTPStatus.GONE,
    )
    TOO_MANY_FRAGMENTS = 4413, "too_many_fragments", "the message came in too many pieces", False, True
    DOCUMENT_FULL = 4414, "document_full", "the document is too large to grow: delete or start another", False, True
    TOO_EARLY = 4425, "too_early", "a message came before the connection was open", False, True, HTTPStatus.BAD_REQUEST
    ROOM_UNAVAILABLE = (
        4500,
        "room_unavailable",
        "the document cannot be opened now",
        True,
        False,
        HTTPStatus.SERVICE_UNAVAILABLE,
    )
    ROOM_RELOADED = 4501, "room_reloaded", "the document was reloaded from storage: reconnect", True, False
    RIGHTS_UNKNOWN = (
        4502,
        "rights_unknown",
        "your access cannot be checked now: try again",
        True,
        False,
        HTTPStatus.SERVICE_UNAVAILABLE,
    )
    TOO_MANY_CONNECTIONS = (
        4503,
        "too_many_connections",
        "too many connections",
        True,
        True,
        HTTPStatus.SERVICE_UNAVAILABLE,
    )
    ROOM_FULL = (
        4504,
        "room_full",
        "too many people have this document open: try again",
        True,
        False,
        HTTPStatus.SERVICE_UNAVAILABLE,
    )
    TOO_MANY_ROOMS = (
        4505,
        "too_many_rooms",
        "too many documents are open here: try again",
        True,
        False,
        HTTPStatus.SERVICE_UNAVAILABLE,
    )
    CLOSED_BY_OPERATOR = 4507, "closed_by_operator", "an operator closed your connection: reconnect", True, False
    TOO_SLOW = 4508, "too_slow", "the connection is too slow to follow this document: reconnect", True, True
    MESSAGE_TIMEOUT = 4509, "message_timeout", "a message was not finished in time: reconnect", True, True
    OVERLOADED = 4512, "overloaded", "too much is under way on this server: try again", True, False
    TOO_FREQUENT = 4529, "too_frequent", "too many messages: slow down", True, True, HTTPStatus.TOO_MANY_REQUESTS
    JOURNAL_FULL = 4513, "journal_full", "edits cannot be stored now: try again", True, False


class Refused(Exception):
    """A client is turned away: `reason` from the table, `detail` a short sentence that client may see."""

    def __init__(self, reason: Close, detail: str = "") -> None:
        super().__init__(detail or reason.text)
        self.reason = reason
        self.detail = detail or reason.text


class ConfigurationError(Exception):
    """The settings do not allow what was asked; the message says which setting and what to do."""
