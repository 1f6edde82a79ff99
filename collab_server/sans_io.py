"""What the WebSocket library's connection object is told when it is made, and what is taken from it when it is open.

The library keeps the opening request for as long as its parser runs: 2.6 KiB a connection that nobody reads again.
Knows nothing of what the frames hold. Called by `connection` only.
"""

from __future__ import annotations

import logging
from typing import cast
from uuid import UUID

from websockets.protocol import Protocol
from websockets.server import ServerProtocol
from websockets.typing import Subprotocol

from collab_server.admission import ACK_SUBPROTOCOL, SUBPROTOCOL

_NO_ID = UUID(int=0)
# The library logs a line or two a connection; ours say more, and only when something is wrong.
_quiet = logging.getLogger("collab_server.websockets")
_quiet.disabled = True


def opening_protocol(max_message_bytes: int) -> ServerProtocol:
    """A connection that waits for its opening request."""
    protocol = ServerProtocol(max_size=max_message_bytes, select_subprotocol=_select_subprotocol, logger=_quiet)
    protocol.id = _NO_ID  # its own is for the library's log
    return protocol


def forget_opening(protocol: ServerProtocol) -> None:
    """The upgrade was answered and no frame has come yet: frames get a parser that has never seen the request."""
    protocol.parser = Protocol.parse(protocol)
    next(protocol.parser)


def _select_subprotocol(_protocol: ServerProtocol, offered: object) -> Subprotocol | None:
    """Agree on the best that is offered; a client that offers nothing we know (a token, say) goes on without one."""
    for known in (ACK_SUBPROTOCOL, SUBPROTOCOL):
        if known in cast("list[str]", offered):
            return Subprotocol(known)
    return None
