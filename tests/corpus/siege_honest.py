"""An honest person under siege: writes one sign an edit, and comes back as stock clients do.

A sign is one character that no attacker's word has and nothing can cut, so that no edit is missing and none is there
twice can be read off the text. Nobody else writes in this person's client id: that any writer may is no promise broken.
Called by `siege_room`.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass

from pycrdt import Doc, Text
from websockets.exceptions import ConnectionClosed, InvalidHandshake

from collab_server.errors import Close
from collab_server.firewall import check_state_vector
from tests.services.client import Client
from tests.services.server import ServerProcess
from tests.services.tokens import token

ARRIVAL_S = 60.0
LOOK_AGAIN_S = 1.0  # at connections that may have ended
RETRY_S = 0.05
SIGNS = "\u2600\u2602"
FORGIVEN = {Close.ROOM_RELOADED.code, 1006}  # the room was given up, or its process ended: stock clients come back


class Poisoned(AssertionError):
    """A room does not do what it is for; the message says what failed."""


@dataclass(frozen=True)
class Copy:
    """What a room holds, as far as it is compared."""

    text: str
    clocks: dict[int, int]

    @classmethod
    def of(cls, doc: Doc[Text]) -> Copy:
        """What `doc` holds."""
        return cls(str(doc.get("content", type=Text)), cls.clocks_of(doc))

    def difference(self, other: Copy) -> str | None:
        """What differs in `other` that must not; `None` when at most what attackers wrote does.

        Neighbours that contradict each other give each copy its own order: it depends on who came first.
        """
        if clients := {client for client, _clock in self.clocks.items() ^ other.clocks.items()}:
            clocks = {client: (self.clocks.get(client, 0), other.clocks.get(client, 0)) for client in clients}
            return f"(one, other) clocks of clients: {clocks}"
        if _honest(self.text) != _honest(other.text):
            moved = sorted(_honest(self.text)) == sorted(_honest(other.text))
            return f"{'edits moved' if moved else 'edits lost'}: {self.text!r} and {other.text!r}"
        return None

    @staticmethod
    def clocks_of(doc: Doc[Text]) -> dict[int, int]:
        """How far it is with each client."""
        return dict(check_state_vector(doc.get_state()))


def _honest(text: str) -> str:
    return "".join(character for character in text if character in SIGNS)


class Honest:
    """Writes one sign over and over. Comes back, with all it has, when the room is given up."""

    def __init__(self, server: ServerProcess, document: str, name: str, sign: str) -> None:
        self._server, self._document, self._name, self.sign = server, document, name, sign
        self.client_ids: set[int] = set()
        self.reloads = 0
        self.written = 0
        self.closes: Counter[int] = Counter()
        self._client: Client | None = None
        self._begin_anew()

    async def client(self) -> Client:
        """The connection; a new one where the last was closed. Raises `Poisoned`."""
        try:
            async with asyncio.timeout(ARRIVAL_S):
                while self._client is None or self._client.closed is not None:
                    if self._client is not None:
                        await self._left(self._client)
                    fresh = self._prepared()
                    try:
                        self._client = await fresh.__aenter__()
                    except (OSError, InvalidHandshake, ConnectionClosed):
                        await asyncio.sleep(RETRY_S)
        except TimeoutError:
            raise Poisoned(f"{self._name} is not let in") from None
        return self._client

    def _prepared(self) -> Client:
        fresh = Client(self._server.websocket_url, self._document, token=token(self._server, self._name))
        fresh.doc, fresh.text = self.doc, self.doc.get("content", type=Text)
        return fresh

    async def _left(self, client: Client) -> None:
        assert client.closed is not None
        code, reason = client.closed
        self.closes[code] += 1
        self._client = None
        await self._close(client)
        if code not in FORGIVEN:
            raise Poisoned(f"{self._name} was closed with {code} {reason}")

    async def write(self) -> None:
        """One edit; it may be on its way to a room that is being given up."""
        client = await self.client()
        self.written += 1
        with suppress(ConnectionClosed):  # it is in the document, and goes with the next hello
            await client.type(self.sign)

    async def until_sees(self, other: Honest) -> None:
        """Wait until every edit of `other` is here, once. Raises `Poisoned`."""
        found = 0
        try:
            async with asyncio.timeout(ARRIVAL_S):
                while (found := str((await self.client()).text).count(other.sign)) != other.written:
                    await other.client()  # if it was sent away it brings its edits with it
                    await self._news(found, other.sign)
        except TimeoutError:
            raise Poisoned(f"{self._name} sees {found} of {other.written} edits") from None

    async def _news(self, found: int, sign: str) -> None:
        client = await self.client()
        with suppress(TimeoutError):
            await client.until(lambda: str(client.text).count(sign) != found or client.closed is not None, LOOK_AGAIN_S)

    async def leave(self) -> None:
        """Close the connection."""
        if self._client is not None:
            await self._close(self._client)

    async def _close(self, client: Client) -> None:
        try:
            await client.__aexit__(None, None, None)
        except RuntimeError:  # pycrdt refuses gathered in one frame what the server took one by one
            self.reloads += 1
            self._begin_anew()

    def _begin_anew(self) -> None:
        self.doc: Doc[Text] = Doc()
        self.client_ids.add(self.doc.client_id)
