"""Who someone is comes from the token; where the cursor is and its colour come from the client."""

import json
import tracemalloc

import pytest

from presence.identity_state import same_user, stamp

ALICE = {"id": "alice", "name": "Alice Ångström 🖋", "role": "editor"}


def stamped(state: object) -> dict[str, object]:
    content: dict[str, object] = json.loads(stamp(json.dumps(state).encode(), user=ALICE))
    return content


def test_everything_but_the_identity_is_the_clients_own() -> None:
    sent = {"cursor": {"anchor": {"tname": "content"}, "head": [1, 2.5, None, True]}, "selection": "ä\u2028", "n": -1}
    assert stamped(sent) == {**sent, "user": ALICE}


def test_claims_of_another_identity_are_dropped() -> None:
    claims = {"id": "bob", "name": "Bob", "role": "owner", "avatar": "https://x/", "email": "b@x", "sub": "bob"}
    assert stamped({"user": claims}) == {"user": ALICE}


def test_every_verified_field_is_set() -> None:
    user = {**ALICE, "avatar": "https://cdn.example/a.png"}
    assert json.loads(stamp(b'{"user":{"avatar":"javascript:x"}}', user=user)) == {"user": user}


@pytest.mark.parametrize("user", ["Alice", 7, None, [], {"name": {"id": "x"}}])
def test_a_user_of_any_shape_is_replaced(user: object) -> None:
    assert stamped({"user": user}) == {"user": ALICE}


@pytest.mark.parametrize(
    "color",
    [
        "#30bced", "#FFF", "#30bced33", "rgb(1,2,3)", "rgba(1, 2, 3, 0.5)", "hsl(120, 50%, 50%)",
        "hsl(120deg 50% 50% / 0.3)", "hsla(0.3turn,50%,50%,.2)", "hsl(-2.1rad 10% 10%)",
    ],
)  # fmt: skip
def test_a_colour_is_kept(color: str) -> None:
    assert stamped({"user": {"color": color, "colorLight": color}}) == {
        "user": {**ALICE, "color": color, "colorLight": color}
    }


@pytest.mark.parametrize(
    "color",
    [
        "", "red", "#12", "#123456789", "#30bced\n", "#30bcex", "url(//evil)", "rgb(1,2,3);background:url(//evil)",
        "rgb()", "var(--x)", "rgb(" + "1," * 30 + "1)", "expression(alert(1))", "#fff;position:fixed",
        "rgb(1\u0660,2,3)", 123456, {"a": 1}, None,
    ],
)  # fmt: skip
def test_what_is_no_colour_is_dropped(color: object) -> None:
    assert stamped({"user": {"color": color, "colorLight": "#fff"}}) == {"user": {**ALICE, "colorLight": "#fff"}}


def test_the_result_is_compact_json() -> None:
    assert stamp(b'{ "cursor" : [ 1 , 2 ] }', user={"id": "a"}) == b'{"cursor":[1,2],"user":{"id":"a"}}'


@pytest.mark.parametrize(
    "state",
    [
        b"", b"null", b"[]", b'"text"', b"1", b"{", b"{}x", b"{}{}", b'{"a":NaN}', b'{"a":Infinity}',
        b'{"a":-Infinity}', b'{"a":1e999}', b"\xff\xfe{}", b'{"a":"\xff"}', b'{"a":"\\ud800"}', b"{'a':1}",
        b'{"a":' + b"[" * 5000 + b"]" * 5000 + b"}",
    ],
)  # fmt: skip
def test_what_is_no_json_object_is_refused(state: bytes) -> None:
    with pytest.raises(ValueError):
        stamp(state, user=ALICE)


def test_the_same_person_is_known_by_the_verified_id() -> None:
    alice = stamp(b'{"cursor":1}', user=ALICE)
    assert same_user(alice, stamp(b'{"cursor":2}', user={**ALICE, "name": "Alice B."}))
    assert not same_user(alice, stamp(b'{"cursor":1}', user={**ALICE, "id": "bob"}))


@pytest.mark.parametrize("state", [b"{}", b'{"user":{}}', b'{"user":{"id":null}}', b'{"user":"alice"}', b"x", b"[]"])
def test_a_state_without_an_identity_is_nobodys(state: bytes) -> None:
    assert not same_user(state, state)


def test_a_state_occupies_no_more_than_it_holds() -> None:
    tracemalloc.start()
    try:
        before, _peak = tracemalloc.get_traced_memory()
        states = [stamp(b'{"cursor":{"anchor":17}}', user=ALICE) for _ in range(100)]
        after, _peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert (after - before) / len(states) < 500  # orjson's own result occupies 4 KiB
