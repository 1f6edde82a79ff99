"""The wire codec under any message and any bytes."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from collab_server.firewall import UpdateRefused, check_state_vector
from collab_server.wire import yjs
from collab_server.wire.awareness import AwarenessEntry, AwarenessLimits
from collab_server.wire.lib0 import (
    MAX_VARUINT,
    MalformedMessage,
    encode_state_vector,
    prefixed,
    read_bytes,
    read_string,
    read_varuint,
    varuint,
)
from collab_server.wire.messages import (
    Awareness,
    Durable,
    Message,
    PermissionDenied,
    QueryAwareness,
    Renew,
    Renewed,
    SyncStep1,
    SyncStep2,
    Update,
)

LIMITS = AwarenessLimits()

integers = st.integers(0, MAX_VARUINT)
entries = st.builds(AwarenessEntry, integers, integers, st.text(max_size=50).map(str.encode))
messages: st.SearchStrategy[Message] = st.one_of(
    st.builds(SyncStep1, st.binary(max_size=300)),
    st.builds(SyncStep2, st.binary(max_size=300)),
    st.builds(Update, st.binary(max_size=300)),
    st.builds(Awareness, st.lists(entries, max_size=5).map(tuple)),
    st.just(QueryAwareness()),
    st.builds(Durable, st.integers(0, 2**53 - 1)),
    st.builds(Renew, st.text(max_size=200)),
    st.builds(Renewed, st.integers(0, 2**53 - 1)),
    st.builds(PermissionDenied, st.text(max_size=200)),
)
# Half of them begin like a message, or little of the codec would be reached.
frames = st.one_of(
    st.binary(max_size=100),
    st.builds(
        bytes.__add__, st.sampled_from([b"\x00\x00", b"\x00\x01", b"\x00\x02", b"\x01", b"\x02\x00"]), st.binary()
    ),
    st.builds(lambda body: b"\x01" + prefixed(body), st.binary()),
)


@given(integers, st.binary(max_size=3))
def test_an_integer_survives_a_round_trip(value: int, rest: bytes) -> None:
    encoded = varuint(value)
    assert read_varuint(encoded + rest, 0) == (value, len(encoded))


@given(st.binary(max_size=300), st.text(max_size=300))
def test_bytes_and_text_survive_a_round_trip(content: bytes, text: str) -> None:
    encoded = prefixed(content) + prefixed(text.encode())
    found, at = read_bytes(encoded, 0)
    assert (found, read_string(encoded, at)) == (content, (text, len(encoded)))


@given(st.dictionaries(integers, st.integers(0, 2**31 - 1), max_size=20))
def test_a_state_vector_survives_a_round_trip(clocks: dict[int, int]) -> None:
    assert check_state_vector(encode_state_vector(clocks)) == clocks


@given(messages)
def test_a_message_survives_a_round_trip(message: Message) -> None:
    assert yjs.decode(yjs.encode(message), LIMITS) == message


@given(messages.filter(lambda message: not isinstance(message, QueryAwareness)), st.data())
def test_no_part_of_a_message_is_a_message(message: Message, data: st.DataObject) -> None:
    frame = yjs.encode(message)
    length = data.draw(st.integers(0, len(frame) - 1))
    with pytest.raises(MalformedMessage):
        yjs.decode(frame[:length], LIMITS)


@given(frames)
def test_any_bytes_are_a_message_or_malformed(frame: bytes) -> None:
    with contextlib.suppress(MalformedMessage):
        yjs.decode(frame, LIMITS)


@given(st.binary(max_size=100))
def test_any_bytes_are_a_state_vector_or_refused(state_vector: bytes) -> None:
    with contextlib.suppress(UpdateRefused):
        check_state_vector(state_vector)
