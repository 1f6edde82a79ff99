"""What the claims of a correctly signed token must say, and what an identity takes from them (R010, R052).

Pure: `now` is an argument, and a claim of the wrong shape is refused, never guessed at. Called by the authenticators
after the signature has been checked, never before.
"""

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass

from auth.identity import TokenRefused

Claims = Mapping[str, object]
ACCESS_USE = "access"  # `token_use` of the tokens that may be presented here

_LONGEST_SUBJECT = 128  # characters; Cognito's `sub` has 36
_LONGEST_NAME = 128  # characters, Cognito's own bound for a user name
# C0 and C1 controls, line separators, direction overrides (they make one name look like another) and lone surrogates;
# joiners stay, many scripts and emoji need them.
_UNSHOWABLE = re.compile("[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")


@dataclass(frozen=True, slots=True)
class TokenRules:
    """Whose tokens are accepted: the exact issuer, the app clients by id, and the clock skew forgiven, in seconds."""

    issuer: str
    client_ids: frozenset[str]
    leeway_s: float = 30.0

    def __post_init__(self) -> None:
        if not self.issuer or not self.client_ids or "" in self.client_ids:
            raise ValueError("token rules need an issuer and at least one client id, none of them empty")
        if not 0 <= self.leeway_s <= 300:  # minutes more would undo the short life of access tokens
            raise ValueError("leeway_s must be between 0 and 300 seconds")


def client_id_set(client_ids: Collection[str]) -> frozenset[str]:
    """The ids as a set; one bare string is a mistake that would admit its single letters. Raises ValueError."""
    if isinstance(client_ids, str):
        raise ValueError("client ids are a collection of strings, not one string")
    return frozenset(client_ids)


def check_claims(claims: Claims, rules: TokenRules, *, now: float) -> None:
    """Raise TokenRefused unless this is an access token of that issuer and client, valid at `now` (unix seconds).

    Access tokens name their client in `client_id` and have no `aud`; ID tokens have `aud` and `token_use` "id"
    (Amazon Cognito, "Verifying JSON web tokens").
    """
    if claims.get("iss") != rules.issuer:
        raise TokenRefused("issuer refused")
    if claims.get("token_use") != ACCESS_USE:
        raise TokenRefused("not an access token")
    client_id = claims.get("client_id")
    if not isinstance(client_id, str) or client_id not in rules.client_ids:
        raise TokenRefused("client refused")
    if now >= expires_at(claims) + rules.leeway_s:
        raise TokenRefused("token expired")
    for claim in ("nbf", "iat"):
        if claim in claims and now < _unix_time(claims, claim) - rules.leeway_s:
            raise TokenRefused("token not valid yet")


def expires_at(claims: Claims) -> float:
    """`exp` in unix seconds. Raises TokenRefused when it is missing or no time."""
    return _unix_time(claims, "exp")


def issued_at(claims: Claims) -> float | None:
    """`iat` in unix seconds, None when the token does not say. Raises TokenRefused when it is no time."""
    return _unix_time(claims, "iat") if "iat" in claims else None


def subject_of(claims: Claims) -> str:
    """`sub`: what grants are stored under, so it must be something a store and a log line can hold."""
    subject = claims.get("sub")
    if not isinstance(subject, str) or not 0 < len(subject) <= _LONGEST_SUBJECT or not subject.isprintable():
        raise TokenRefused("subject refused")
    return subject


def name_of(claims: Claims) -> str:
    """What to show to others: `name`, else `username` (all that Cognito's access tokens carry), else the subject."""
    for claim in ("name", "username"):
        shown = _showable(claims.get(claim))
        if shown:
            return shown
    return subject_of(claims)


def groups_of(claims: Claims, claim: str) -> frozenset[str]:
    """The group names in `claim`; none when it is absent. Raises TokenRefused when it is no list of strings."""
    groups = claims.get(claim, [])
    if not isinstance(groups, list) or not all(isinstance(group, str) for group in groups):
        raise TokenRefused("groups refused")
    return frozenset(groups)


def _unix_time(claims: Claims, claim: str) -> float:
    value = claims.get(claim)
    # bool is an int, and JSON as Python reads it knows NaN, Infinity and integers of any length.
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < 2**53:
        raise TokenRefused("times refused")
    return float(value)


def _showable(name: object) -> str:
    if not isinstance(name, str):
        return ""
    return _UNSHOWABLE.sub("", name)[:_LONGEST_NAME].strip()
