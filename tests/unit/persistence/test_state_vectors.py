"""Facts about reading state vectors, against the encoder of the real CRDT."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pycrdt import Doc, Text

from persistence.state_vectors import covers, decode


@given(st.dictionaries(st.integers(1, 2**53 - 1), st.integers(1, 40), max_size=6))
def test_decoding_reads_what_the_crdt_writes(clocks: dict[int, int]) -> None:
    together: Doc[Text] = Doc()
    for client, length in clocks.items():
        one: Doc[Text] = Doc({"content": Text("x" * length)}, client_id=client)
        together.apply_update(one.get_update())
    assert decode(together.get_state()) == clocks


@pytest.mark.parametrize(
    "broken",
    [b"", b"\x01", b"\x01\x05", b"\x00\x00", b"\x02\x05\x01\x05\x02", b"\x80\x80\x80\x80\x02", b"\xff" * 64, b"\x80"],
)
def test_anything_but_one_whole_state_vector_is_refused(broken: bytes) -> None:
    with pytest.raises(ValueError, match="a state vector"):
        decode(broken)


def test_a_state_covers_what_it_has_reached() -> None:
    assert covers({1: 5, 2: 7}, {1: 5})
    assert covers({1: 5}, {})
    assert covers({}, {9: 0})
    assert not covers({1: 4, 2: 9}, {1: 5})
    assert not covers({1: 5}, {2: 1})
