"""What one connection sends behind a big update takes effect after it, whichever way the bytes came in.

Everything of a test's first write arrives together, so the later messages are read while the big update is not taken
in yet. A raw socket sends nothing again: what is set aside because it came too early never appears.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from pycrdt import Doc, Text

from collab_server.turns import SLICE_BYTES
from collab_server.wire import yjs
from collab_server.wire.messages import SyncStep2, Update
from tests.services.big_documents import big_document
from tests.services.client import Client
from tests.services.fixtures_postgres import PostgresOfMajor
from tests.services.fixtures_server import StartServer
from tests.services.raw_socket import RawSocket, frame
from tests.services.running import metric, running_server
from tests.services.server import ServerProcess

SHORT_BYTES = 125  # the longest payload that is read past the WebSocket library
BIG_BYTES = 64 * 1024  # the default of COLLAB_BIG_UPDATE_BYTES
MESSAGE_TIMEOUT_S = 1


@pytest.fixture(scope="module")
def server(postgres_of_major: PostgresOfMajor, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    with running_server(postgres_of_major, tmp_path_factory, auth="open") as server:
        yield server


class Author:
    """Types at the end of a text and gives each edit as an update."""

    def __init__(self) -> None:
        self._doc: Doc[Any] = Doc(client_id=7)  # of a known length
        self._text = self._doc.get("content", type=Text)

    def types(self, words: str) -> bytes:
        before = self._doc.get_state()
        self._text.insert(len(self._text), words)
        return self._doc.get_update(before)

    def __str__(self) -> str:
        return str(self._text)


def answer(update: bytes) -> bytes:
    return frame(yjs.encode(SyncStep2(update)))


def edit(update: bytes) -> bytes:
    """A short message, which is read past the library where it begins what is looked at."""
    payload = yjs.encode(Update(update))
    assert len(payload) <= SHORT_BYTES
    return frame(payload)


async def assert_all_of_it_arrives(server: ServerProcess, document: str, sent: bytes, expected: str) -> None:
    async with Client(server.websocket_url, document) as reader, RawSocket(server) as raw:
        await raw.upgraded(document)
        raw.write(sent)
        await reader.until_text(expected)
        assert await raw.survives(b"")
    async with Client(server.websocket_url, document) as late:
        assert str(late.text) == expected
    assert metric(server, "collab_gaps_total", source="client") == 0


async def test_a_short_edit_right_behind_a_big_answer(server: ServerProcess) -> None:
    author = Author()
    sent = answer(author.types("x" * (BIG_BYTES + 1_000))) + edit(author.types("yes"))
    await assert_all_of_it_arrives(server, "right-behind", sent, str(author))


async def test_a_short_edit_behind_a_big_answer_that_ends_where_a_slice_ends(server: ServerProcess) -> None:
    author = Author()
    slices = BIG_BYTES // SLICE_BYTES + 1
    overhead = len(answer(Author().types("x" * (BIG_BYTES + 1)))) - (BIG_BYTES + 1)
    big = answer(author.types("x" * (slices * SLICE_BYTES - overhead)))
    assert len(big) == slices * SLICE_BYTES
    await assert_all_of_it_arrives(server, "slice", big + edit(author.types("yes")), str(author))


async def test_several_big_and_short_ones_in_turn(server: ServerProcess) -> None:
    author = Author()
    sent = answer(author.types("x" * (BIG_BYTES + 1))) + edit(author.types("one"))
    for words in ("two", "three"):
        sent += frame(yjs.encode(Update(author.types("z" * (BIG_BYTES + 1))))) + edit(author.types(words))
    await assert_all_of_it_arrives(server, "in-turn", sent, str(author))


async def test_when_the_big_one_is_itself_read_past_the_library(start_server: StartServer) -> None:
    server = start_server(auth="open", big_update_bytes=30)
    author = Author()
    sent = b"".join(edit(author.types(words)) for words in ("a", "b" * 60, "c", "d" * 60, "e"))
    await assert_all_of_it_arrives(server, "short", sent, str(author))


async def test_half_a_message_behind_a_big_update_does_not_count_as_late_while_nobody_reads(
    start_server: StartServer,
) -> None:
    server = start_server(auth="open", message_timeout_s=MESSAGE_TIMEOUT_S, bytes_per_s=10**9)
    author = Author()
    big = big_document(3_000_000)
    second = edit(author.types("after"))
    async with Client(server.websocket_url, "half") as reader, RawSocket(server) as raw:
        await raw.upgraded("half")
        raw.write(frame(yjs.encode(Update(big))) + second[:10])
        wanted = Client(server.websocket_url, "none").doc
        wanted.apply_update(big)
        await reader.until(lambda: reader.doc.get_state() == wanted.get_state(), deadline_s=60)
        raw.write(second[10:])
        await reader.until_text("after")
        assert await raw.survives(b"")
