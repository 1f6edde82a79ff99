"""What a member still sends after it was told to go elsewhere, because it has not heard of it yet.

A member that is closed for a fault of its own is not listened to any more. One that is moved off because this server
stops has done nothing wrong: the edits that cross our close frame are applied and journaled like any before them, so
that even a client that never comes back loses nothing it had sent. Never sends anything: a close frame is the last word
(RFC 6455 §5.5.1). Never raises. Made by `connection`.
"""

from __future__ import annotations

import structlog
from websockets.frames import Frame, Opcode

from collab_server.errors import Refused
from collab_server.rooms.member import Member

log = structlog.get_logger(__name__)


class Farewell:
    """The ear that is left for `member`, whose seat is free already."""

    __slots__ = ("_member",)

    def __init__(self, member: Member) -> None:
        self._member = member

    def receive(self, frame: Frame, now: float) -> None:
        """Take in the edit in `frame`, if there is a whole one; what else it may be has no effect any more."""
        if frame.opcode is not Opcode.BINARY or not frame.fin:
            return
        self._member.awaiting_sync = True  # nobody is left to be asked for what is missing
        try:
            self._member.receive(bytes(frame.data), now)
        except Refused:  # nobody is left to be told
            pass
        except Exception as error:
            log.error("late_message_failed", exc_info=error)
