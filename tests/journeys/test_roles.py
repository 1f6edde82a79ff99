"""What each role may do, for every kind of message there is, seen at the socket (T10, T11, R012).

A reader's message must leave the text, the state vector, the journal and every other member untouched, whatever its
type says; and presence shows who the token names, whatever the client claims.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import count
from typing import Any

import pytest
from pycrdt import Doc, Text

from collab_server.wire import yjs
from collab_server.wire.awareness import AwarenessEntry
from collab_server.wire.lib0 import prefixed
from collab_server.wire.messages import (
    Awareness,
    PermissionDenied,
    QueryAwareness,
    SyncStep1,
    SyncStep2,
    Update,
)
from tests.services.client import Client
from tests.services.fixtures_postgres import PostgresOfMajor
from tests.services.running import admin_json, journaled, metric, running_server, until_gone
from tests.services.server import ServerProcess
from tests.services.tokens import token

WRITERS = ["owner", "editor"]
READERS = ["commenter", "viewer"]
TEXT = "the text"
_documents = count(1)


@pytest.fixture(scope="module")
def server(postgres_of_major: PostgresOfMajor, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    with running_server(postgres_of_major, tmp_path_factory, auth="dev") as server:
        yield server


def insertion(text: str = "forged") -> bytes:
    """An update that every room accepts from a writer."""
    doc: Doc[Any] = Doc()
    doc.get("content", type=Text).insert(0, text)
    return doc.get_update()


def deletion(of: Client) -> bytes:
    """An update that deletes all that `of` sees and inserts nothing."""
    doc: Doc[Any] = Doc()
    doc.apply_update(of.doc.get_update())
    before = doc.get_state()
    doc.get("content", type=Text).clear()
    return doc.get_update(before)


@dataclass(frozen=True)
class Holding:
    """What a room holds, wherever it is kept."""

    text: str
    state_vector: bytes
    journal_rows: int
    relayed: int  # document updates another member has been sent

    @classmethod
    async def of(cls, server: ServerProcess, document: str, observer: Client) -> Holding:
        # Everything the server relayed before it answered this is in `received` by now: one socket keeps its order.
        answers = len([m for m in observer.received if isinstance(m, Awareness)])
        await observer.send(QueryAwareness())
        await observer.until(lambda: len([m for m in observer.received if isinstance(m, Awareness)]) > answers)
        _status, room = admin_json(server, f"/rooms/{document}", token(server, "root", groups=["admin"]))
        relayed = [message for message in observer.received if isinstance(message, Update)]
        async with Client(server.websocket_url, document, token=token(server, "late", role="viewer")) as late:
            text = str(late.text)
        vector = base64.b64decode(room["state_vector"])
        await until_gone(server, "collab_journal_backlog_bytes")
        return cls(text, vector, await journaled(server, document), len(relayed))


# What one may try: its name, and the payload, made from what an honest copy of the document holds.
WITHOUT_EFFECT = {
    "sync step 1": lambda copy: yjs.encode(SyncStep1(b"\x00")),
    "sync step 2": lambda copy: yjs.encode(SyncStep2(insertion())),
    "sync step 2 that deletes": lambda copy: yjs.encode(SyncStep2(deletion(copy))),
    "sync step 2 of nothing": lambda copy: yjs.encode(SyncStep2(b"\x00\x00")),
    "update": lambda copy: yjs.encode(Update(insertion())),
    "update that deletes": lambda copy: yjs.encode(Update(deletion(copy))),
    "update of nonsense": lambda copy: yjs.encode(Update(b"\xff\xff\xff")),
    "awareness": lambda copy: yjs.encode(Awareness((AwarenessEntry(7, 1, b"{}"),))),
    "query awareness": lambda copy: yjs.encode(QueryAwareness()),
    "query awareness with an update behind it": lambda copy: b"\x03" + yjs.encode(Update(insertion())),
}
COSTS_THE_SEAT = {
    "auth": lambda copy: yjs.encode(PermissionDenied("no")),
    "auth that permits": lambda copy: b"\x02\x01" + prefixed(b"owner"),
    "unknown sync step": lambda copy: b"\x00\x03" + prefixed(insertion()),
    "sync step in a long form": lambda copy: b"\x00\x82\x00" + prefixed(insertion()),
    "sync reply of another dialect": lambda copy: b"\x04\x02" + prefixed(insertion()),
    "stateless of another dialect": lambda copy: b"\x05" + prefixed(b"hello"),
    "broadcast of another dialect": lambda copy: b"\x06" + prefixed(b"hello"),
    "type 9": lambda copy: b"\x09\x02" + prefixed(insertion()),
    "type 123": lambda copy: b"\x7b\x00",
    "type 121": lambda copy: b"\x79" + prefixed(insertion()),
    "type in a long form": lambda copy: b"\x80\x00\x02" + prefixed(insertion()),
    "update after the document name": lambda copy: prefixed(b"roles") + yjs.encode(Update(insertion())),
    "two messages in one frame": lambda copy: 2 * yjs.encode(Update(insertion())),
    "awareness with an update behind it": lambda copy: b"\x01\x01\x00" + yjs.encode(Update(insertion())),
    "nothing": lambda copy: b"",
}


async def processed(actor: Client) -> None:
    """Wait until the server has acted on all that `actor` sent, or has closed it."""
    if actor.closed is None:
        heard = len(actor.received)
        await actor.send(QueryAwareness())
        await actor.until(lambda: any(isinstance(m, Awareness) for m in actor.received[heard:]))


@pytest.mark.parametrize("kind", [*WITHOUT_EFFECT, *COSTS_THE_SEAT])
@pytest.mark.parametrize("role", READERS)
async def test_nothing_a_reader_sends_changes_the_document(server: ServerProcess, role: str, kind: str) -> None:
    document = f"read-{next(_documents)}"
    async with Client(server.websocket_url, document, token=token(server)) as ada:
        await ada.type(TEXT)
        async with Client(server.websocket_url, document, token=token(server, "bob", role=role)) as bob:
            await bob.until_text(TEXT)
            before = await Holding.of(server, document, ada)
            if kind in WITHOUT_EFFECT:
                await bob.send_bytes(WITHOUT_EFFECT[kind](ada))
                await processed(bob)
            else:
                await bob.send_bytes(COSTS_THE_SEAT[kind](ada))
                assert (await bob.until_closed())[0] == 4400
            assert await Holding.of(server, document, ada) == before
        await ada.type("!")
        async with Client(server.websocket_url, document, token=token(server, "eve", role=role)) as eve:
            assert str(eve.text) == TEXT + "!"


@pytest.mark.parametrize("kind", ["sync step 2", "sync step 2 that deletes", "update", "update that deletes"])
@pytest.mark.parametrize("role", WRITERS)
async def test_what_a_writer_sends_is_kept_and_relayed(server: ServerProcess, role: str, kind: str) -> None:
    document = f"written-{next(_documents)}"
    async with (
        Client(server.websocket_url, document, token=token(server)) as ada,
        Client(server.websocket_url, document, token=token(server, "bob", role=role)) as bob,
    ):
        await ada.type(TEXT)
        await bob.until_text(TEXT)
        before = await Holding.of(server, document, ada)
        await bob.send_bytes(WITHOUT_EFFECT[kind](ada))
        expected = "" if "deletes" in kind else {"forged" + TEXT, TEXT + "forged"}
        await ada.until(lambda: str(ada.text) in expected)
        after = await Holding.of(server, document, ada)
        assert after.text in expected
        assert after.relayed == before.relayed + 1
        assert after.journal_rows == before.journal_rows + 1


@pytest.mark.parametrize("kind", COSTS_THE_SEAT)
@pytest.mark.parametrize("role", WRITERS)
async def test_a_message_clients_do_not_send_costs_a_writer_the_seat(
    server: ServerProcess, role: str, kind: str
) -> None:
    document = f"odd-{next(_documents)}"
    async with (
        Client(server.websocket_url, document, token=token(server)) as ada,
        Client(server.websocket_url, document, token=token(server, "bob", role=role)) as bob,
    ):
        await ada.type(TEXT)
        before = await Holding.of(server, document, ada)
        await bob.send_bytes(COSTS_THE_SEAT[kind](ada))
        assert (await bob.until_closed())[0] == 4400
        assert await Holding.of(server, document, ada) == before


@pytest.mark.parametrize("role", READERS)
async def test_a_reader_is_told_once_and_reads_on(server: ServerProcess, role: str) -> None:
    document = f"told-{next(_documents)}"
    denied = metric(server, "collab_denied_total", kind="update")
    async with (
        Client(server.websocket_url, document, token=token(server)) as ada,
        Client(server.websocket_url, document, token=token(server, "bob", role=role)) as bob,
    ):
        for _ in range(3):
            await bob.send(Update(insertion()))
        await ada.type(TEXT)
        await bob.until_text(TEXT)
        await processed(bob)
        assert len(bob.denied) == 1
        assert bob.closed is None
    assert metric(server, "collab_denied_total", kind="update") == denied + 3


@pytest.mark.parametrize("role", [*WRITERS, *READERS])
async def test_presence_carries_the_tokens_identity_never_the_clients_claim(server: ServerProcess, role: str) -> None:
    document = f"presence-{next(_documents)}"
    claimed = {
        "user": {
            "id": "ada",
            "name": "Ada",
            "role": "owner",
            "avatar": "https://evil.example/x.png",
            "color": "#00ff00",
        },
        "cursor": {"anchor": 3},
    }
    async with (
        Client(server.websocket_url, document, token=token(server, "ada")) as ada,
        Client(server.websocket_url, document, token=token(server, "bob", role=role, name="Bob B.")) as bob,
    ):
        await bob.send(Awareness((AwarenessEntry(77, 1, json.dumps(claimed).encode()),)))
        await ada.until(lambda: 77 in ada.awareness)
        state = json.loads(ada.awareness[77].state)
        assert state["user"] == {"id": "bob", "name": "Bob B.", "role": role, "color": "#00ff00"}
        assert state["cursor"] == {"anchor": 3}
        async with Client(server.websocket_url, document, token=token(server, "eve", role=role)) as eve:
            await eve.send(QueryAwareness())
            await eve.until(lambda: 77 in eve.awareness)
            assert json.loads(eve.awareness[77].state) == state


async def test_nobody_speaks_for_the_cursor_of_another(server: ServerProcess) -> None:
    document = f"foreign-{next(_documents)}"
    async with (
        Client(server.websocket_url, document, token=token(server, "ada")) as ada,
        Client(server.websocket_url, document, token=token(server, "bob")) as bob,
        Client(server.websocket_url, document, token=token(server, "eve", role="viewer")) as eve,
    ):
        await ada.send(Awareness((AwarenessEntry(1001, 1, b'{"cursor":1}'),)))
        await bob.until(lambda: 1001 in bob.awareness)
        entries = (AwarenessEntry(1001, 5, b'{"cursor":666}'), AwarenessEntry(1001, 6, b"null"))
        for entry in entries:
            await eve.send(Awareness((AwarenessEntry(2002, entry.clock, b"{}"), entry)))
        await bob.until(lambda: 2002 in bob.awareness and bob.awareness[2002].clock == 6)
        assert json.loads(bob.awareness[1001].state)["cursor"] == 1
        assert bob.awareness[1001].clock == 1
