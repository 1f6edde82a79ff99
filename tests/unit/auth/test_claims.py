"""What others are shown of a name."""

import pytest

from auth.claims import name_of


@pytest.mark.parametrize(
    ("claims", "shown"),
    [
        ({"name": "Alice"}, "Alice"),
        ({"name": "", "username": "alice"}, "alice"),
        ({"name": " \t\n", "username": "alice"}, "alice"),
        ({"name": 7, "username": "alice"}, "alice"),
        ({"name": None, "username": None}, "sub-1"),
        ({}, "sub-1"),
        ({"name": "  Ålice Þ  "}, "Ålice Þ"),
        ({"name": "\u202eecilA"}, "ecilA"),
        ({"name": "Ali\0ce\x1b[31m"}, "Alice[31m"),
        ({"name": "\ud800Alice"}, "Alice"),
        ({"name": "👩‍👩‍👧 नमस्ते"}, "👩‍👩‍👧 नमस्ते"),
        ({"name": "a" * 500}, "a" * 128),
    ],
)
def test_the_name_shown_is_the_first_one_that_can_be_shown(claims: dict[str, object], shown: str) -> None:
    assert name_of(claims | {"sub": "sub-1"}) == shown
