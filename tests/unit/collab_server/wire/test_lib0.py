"""lib0 primitives: what JavaScript writes is read, and nothing else."""

from __future__ import annotations

import pytest

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

# value, bytes as lib0 encoding.js writes them
KNOWN = [
    (0, "00"),
    (127, "7f"),
    (128, "8001"),
    (16_383, "ff7f"),
    (16_384, "808001"),
    (2**21, "80808001"),
    (2**28, "8080808001"),
    (2**32 - 1, "ffffffff0f"),
    (2**35, "808080808001"),
    (MAX_VARUINT, "ffffffffffffff0f"),
]


@pytest.mark.parametrize(("value", "encoded"), KNOWN)
def test_integers_are_written_and_read_as_javascript_does(value: int, encoded: str) -> None:
    assert varuint(value).hex() == encoded
    assert read_varuint(b"\xff" + bytes.fromhex(encoded) + b"\x01", 1) == (value, 1 + len(encoded) // 2)


@pytest.mark.parametrize("value", [-1, 2**53])
def test_integers_out_of_range_are_not_written(value: int) -> None:
    with pytest.raises(ValueError, match="not a lib0 unsigned integer"):
        varuint(value)


@pytest.mark.parametrize("encoded", ["ffffffffffffff1f", "808080808080808001", "ff" * 1_000 + "01"])
def test_integers_beyond_the_largest_safe_one_are_refused(encoded: str) -> None:
    with pytest.raises(MalformedMessage, match="varint"):
        read_varuint(bytes.fromhex(encoded), 0)


@pytest.mark.parametrize("length", range(8))
def test_integers_cut_short_are_refused(length: int) -> None:
    with pytest.raises(MalformedMessage, match="truncated"):
        read_varuint(b"\xff" * length, 0)


def test_a_length_beyond_the_bytes_left_is_refused() -> None:
    assert read_bytes(b"\x02ab", 0) == (b"ab", 3)
    with pytest.raises(MalformedMessage, match="truncated"):
        read_bytes(b"\x03ab", 0)
    with pytest.raises(MalformedMessage, match="truncated"):
        read_bytes(varuint(MAX_VARUINT) + b"ab", 0)


def test_text_counts_bytes_and_is_strict_utf8() -> None:
    assert read_string(prefixed("é😀".encode()), 0) == ("é😀", 7)
    for wrong in (b"\xff", b"\xc0\x80", b"\xed\xa0\xbd"):
        with pytest.raises(MalformedMessage, match="utf8"):
            read_string(prefixed(wrong), 0)


def test_a_state_vector_lists_higher_client_ids_first() -> None:
    assert encode_state_vector({}) == b"\x00"
    assert encode_state_vector({5: 3, 300: 128}).hex() == "02ac0280010503"
