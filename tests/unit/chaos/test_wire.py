"""The kit's own codec, held to the server's: two that were written apart must agree."""

from __future__ import annotations

import pytest

from chaos import wire
from collab_server.wire import lib0, yjs
from collab_server.wire.awareness import AwarenessLimits
from collab_server.wire.messages import SyncStep1, SyncStep2, Update

LIMITS = AwarenessLimits(max_entries=10, max_state_bytes=100)


@pytest.mark.parametrize("value", [0, 1, 127, 128, 16_383, 16_384, 2**32 - 1, 2**53 - 1])
def test_numbers_are_written_and_read_as_the_server_does(value: int) -> None:
    assert wire.varuint(value) == lib0.varuint(value)
    assert wire.read_varuint(b"x" + wire.varuint(value), 1) == (value, 1 + len(wire.varuint(value)))


@pytest.mark.parametrize(
    ("step", "message"),
    [(wire.SYNC_STEP_1, SyncStep1), (wire.SYNC_STEP_2, SyncStep2), (wire.UPDATE, Update)],
)
@pytest.mark.parametrize("payload", [b"\0", b"x" * 300])
def test_sync_messages_are_the_servers(
    step: int, message: type[SyncStep1 | SyncStep2 | Update], payload: bytes
) -> None:
    assert yjs.decode(wire.frame(step, payload), LIMITS) == message(payload)
    assert wire.read_sync(yjs.encode(message(payload))) == (step, payload)


@pytest.mark.parametrize("message", [b"", b"\x00", bytes((121, 5)), bytes((1, 1, 0))])
def test_other_messages_are_no_sync_messages(message: bytes) -> None:
    assert wire.read_sync(message) is None


def test_a_count_of_durable_messages_is_read() -> None:
    assert wire.read_durable(bytes((121,)) + wire.varuint(300)) == 300
    assert wire.read_durable(wire.frame(wire.UPDATE, b"x")) is None
    assert wire.read_durable(b"") is None


def test_a_state_vector_is_read() -> None:
    assert wire.read_state(bytes((2, 7, 3)) + wire.varuint(2**32 - 1) + wire.varuint(400)) == {7: 3, 2**32 - 1: 400}
    assert wire.read_state(b"\0") == {}
