"""One person in a room: a WebSocket, a replica of the document and a caret that moves with what others write.

Blocking, for a greenlet each: locust makes the sockets cooperative. Nothing here may wait inside a transaction, for
then another greenlet would find the document locked. Text is ASCII, so an index counts characters on every side.
Called by locustfile.py.
"""

import random
from collections.abc import Callable
from typing import Any
from urllib.parse import urlencode

import websocket
from pycrdt import (
    Assoc,
    Awareness,
    Doc,
    Map,
    StickyIndex,
    Text,
    TransactionEvent,
    YMessageType,
    YSyncMessageType,
    create_awareness_message,
    create_sync_message,
    create_update_message,
    handle_sync_message,
    read_message,
)

CONNECT_TIMEOUT_S = 10.0
READ_TIMEOUT_S = 60.0
"""The server must send something well within this: its keep-alive is made for clients that give up after 30 s."""

AUTH = 2  # y-protocols auth.js: permission denied is the only message of this type


class Refused(Exception):
    """The server closed the connection or denied access; the message says what it said."""


def _close_reason(payload: bytes) -> str:
    """Code and reason of a close frame (RFC 6455 section 5.5.1)."""
    return f"{int.from_bytes(payload[:2], 'big')} {payload[2:].decode(errors='replace')}".strip() or "no code"


class Member:
    """`url` is ws://HOST:PORT/ws/{document}. Reconnecting keeps the document, as a browser tab does."""

    def __init__(self, url: str, token: str | None, name: str) -> None:
        self._url = url if token is None else f"{url}?{urlencode({'token': token})}"
        self._socket: websocket.WebSocket | None = None
        self._doc: Doc[Any] = Doc()
        self._content: Text = self._doc.get("content", type=Text)
        self._words: Map[float] = self._doc.get("words", type=Map)
        self._caret: StickyIndex | None = None
        self._presence = Awareness(self._doc)
        self._name = name

    def connect(self) -> None:
        """Raises websocket.WebSocketException (a refusal before the upgrade among them) or OSError."""
        self._socket = websocket.create_connection(
            self._url,
            timeout=CONNECT_TIMEOUT_S,
            enable_multithread=True,  # the reading and the typing greenlet both send
            suppress_origin=True,  # only browsers have one, and the server compares it
        )
        self._socket.settimeout(READ_TIMEOUT_S)

    def first_sync(self) -> None:
        """Send what a stock client sends on opening; return when the document is here. Raises as `read`."""
        self._send(create_sync_message(self._doc))
        self.move_caret()
        while self.read() is not YSyncMessageType.SYNC_STEP2:
            pass

    def read(self) -> YSyncMessageType | None:
        """One frame; its kind where it was of the sync protocol. Raises Refused, WebSocketException or OSError."""
        opcode, received = self._open_socket.recv_data_frame()
        frame = bytes(received.data)
        if opcode == websocket.ABNF.OPCODE_CLOSE:
            raise Refused(f"the server closed the connection: {_close_reason(frame)}")
        if opcode != websocket.ABNF.OPCODE_BINARY or not frame:
            raise Refused("the server sent a text frame or an empty one")
        if frame[0] == AUTH:
            raise Refused(f"permission denied: {frame[3:].decode(errors='replace')}")
        if frame[0] == YMessageType.AWARENESS:
            self._presence.apply_awareness_update(read_message(frame[1:]), "peer")
        if frame[0] != YMessageType.SYNC:
            return None
        reply = handle_sync_message(frame[1:], self._doc)
        if reply is not None:
            self._send(reply)
        return YSyncMessageType(frame[1])

    def type(self, character: str, *, word: tuple[int, int] | None = None) -> None:
        """Insert at the caret. `word` = (seat, number) goes beside it in the same update, for peers to notice."""

        def insert() -> None:
            index = self._caret_index()
            self._content.insert(index, character)
            self._caret = self._content.sticky_index(index + 1, Assoc.BEFORE)
            if word is not None:
                self._words[str(word[0])] = float(word[1])

        self._edit(insert)

    def erase(self) -> None:
        """Backspace: take back the character before the caret, if there is one."""

        def delete() -> None:
            index = self._caret_index()
            if index > 0:
                del self._content[index - 1]

        self._edit(delete)

    def jump(self) -> None:
        """Put the caret anywhere in the document."""
        self._caret = self._content.sticky_index(random.randint(0, len(self._content)), Assoc.BEFORE)

    def move_caret(self) -> None:
        """Tell the others where the caret is, in the shape the CodeMirror binding uses."""
        position = self._content.sticky_index(self._caret_index(), Assoc.BEFORE).to_json()
        cursor = {"anchor": position, "head": position}
        self._presence.set_local_state({"user": {"name": self._name}, "cursor": cursor})
        self._send(create_awareness_message(self._presence.encode_awareness_update([self._doc.client_id])))

    def latest_word(self, seat: int) -> int:
        """The number of the newest word of `seat` that is in this replica; 0 before the first."""
        return int(self._words.get(str(seat), 0.0))

    def text(self) -> str:
        return str(self._content)

    def close(self) -> None:
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def _caret_index(self) -> int:
        return len(self._content) if self._caret is None else self._caret.get_index()

    def _edit(self, change: Callable[[], None]) -> None:
        """Run `change` in one transaction and send what it did, if it did anything."""
        updates: list[bytes] = []

        def note(event: TransactionEvent) -> None:
            updates.append(event.update)

        subscription = self._doc.observe(note)
        with self._doc.transaction():
            change()
        self._doc.unobserve(subscription)
        for update in updates:
            self._send(create_update_message(update))

    @property
    def _open_socket(self) -> websocket.WebSocket:
        if self._socket is None:
            raise Refused("not connected")
        return self._socket

    def _send(self, message: bytes) -> None:
        self._open_socket.send_binary(message)
