"""Puts the verified identity into an awareness state (R041, T11). Pure.

A client may say where its cursor is and which colour it likes, never who it is: `user` is rebuilt from the token.
States are JSON objects as y-protocols awareness.js carries them; sizes are bounded by the codec before they come here.
Must never let a state through that a browser cannot parse. Called by the room for every state a member of it sends.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import orjson

_COSMETIC = ("color", "colorLight")
"""The two that editor bindings read (y-codemirror.next, TipTap). They end up in style attributes on others' screens."""

_LONGEST_COLOR = 40
_COLOR = re.compile(r"#[0-9a-fA-F]{3,8}|(?:hsl|rgb)a?\((?:[0-9., %/+-]|deg|g?rad|turn)+\)")


def stamp(state: bytes, *, user: Mapping[str, str]) -> bytes:
    """The state as compact JSON whose `user` is exactly `user` (id, name, role), plus the client's own valid colours.

    Raises ValueError unless `state` is one JSON object in UTF-8: NaN, Infinity, lone surrogates, nesting over 1024
    levels and trailing bytes are refused (orjson).
    """
    content = _parse(state)
    content["user"] = {**_colors(content.get("user")), **user}
    return bytes(bytearray(orjson.dumps(content)))  # a copy: what orjson returns occupies 4 KiB however short it is


def user_of(state: bytes) -> str | None:
    """The identity in a stamped state, if it has one."""
    try:
        return _user_id(state)
    except ValueError:
        return None


def same_user(one: bytes, other: bytes) -> bool:
    """Whether two stamped states belong to the same person. States without an identity belong to nobody."""
    try:
        first, second = _user_id(one), _user_id(other)
    except ValueError:
        return False
    return first is not None and first == second


def _parse(state: bytes) -> dict[str, Any]:
    content = orjson.loads(state)
    if not isinstance(content, dict):
        raise ValueError("an awareness state is a JSON object")
    return content


def _colors(user: object) -> dict[str, str]:
    if not isinstance(user, dict):
        return {}
    return {key: user[key] for key in _COSMETIC if key in user and _is_color(user[key])}


def _is_color(claim: object) -> bool:
    return isinstance(claim, str) and len(claim) <= _LONGEST_COLOR and _COLOR.fullmatch(claim) is not None


def _user_id(state: bytes) -> str | None:
    user = _parse(state).get("user")
    found = user.get("id") if isinstance(user, dict) else None
    return found if isinstance(found, str) else None
