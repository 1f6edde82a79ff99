"""From a token to its verified claims: the ports, and the one path every RS256 token takes (threats T02, T03, T05).

Nothing in a token is believed before its signature fits a key we already hold; the token says neither which algorithm
to use nor where a key may be found. Never logs a token. Called by the Cognito and the development authenticators.
"""

import base64
import json
import re
from typing import Protocol, TypeGuard

import jwt
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey

from auth.claims import Claims, TokenRules, check_claims
from auth.identity import Identity, TokenRefused

LONGEST_TOKEN = 8192  # bytes; Cognito's stay under 3 kB, and load balancers cut request lines at 16 kB
_LONGEST_HEADER = 1024  # base64url characters; an honest header is about 100, a bigger one carries keys of its own
_KID = re.compile(r"[A-Za-z0-9._=+/-]{1,128}")
# Headers that bring a key, say where to fetch one, or change how the rest is to be read (RFC 7515 §4.1, RFC 7797).
_REFUSED_HEADERS = frozenset({"jku", "jwk", "x5u", "x5c", "crit", "b64"})
_RS256_ONLY = jwt.PyJWS(algorithms=["RS256"])


class KeySource(Protocol):
    """The public keys of one issuer."""

    async def key(self, kid: str) -> RSAPublicKey | None:
        """The key of that id; None when the issuer has none. Answers from memory whenever the key is known.

        `kid` comes from a stranger: an adapter must bound the work and the memory that unknown ids cost it.
        Raises TokenUncheckable when it cannot tell.
        """

    async def close(self) -> None:
        """Stop whatever keeps the keys fresh; may be called twice."""


class Authenticator(Protocol):
    """Turns a token into an identity."""

    async def authenticate(self, token: str | None, *, now: float) -> Identity:
        """The identity the token proves at `now` (unix seconds).

        Raises TokenRefused, or its subclass TokenUncheckable when the same token may be accepted a little later;
        whatever the bytes of the token are, nothing else.
        """

    async def close(self) -> None:
        """Close the key source it was given; may be called twice."""


def is_key_id(kid: object) -> TypeGuard[str]:
    """Whether this can be the id of a key at all: one rule for tokens and for the issuer's key sets."""
    return isinstance(kid, str) and _KID.fullmatch(kid) is not None


async def verified_claims(token: str | None, keys: KeySource, rules: TokenRules, *, now: float) -> Claims:
    """The claims of an RS256 access token that `rules` accept at `now` (unix seconds). Raises TokenRefused."""
    if not token:
        raise TokenRefused("token missing")
    header = _header_of(token)
    key = await keys.key(_kid_of(header))
    if not isinstance(key, RSAPublicKey):  # also a guard against a key source that hands out another key type
        raise TokenRefused("key unknown")
    claims = _signed_claims(token, header, key)
    check_claims(claims, rules, now=now)
    return claims


def _header_of(token: str) -> dict[str, object]:
    """The token's header, not verified yet. Only the first segment is decoded: strangers get no more of our time."""
    if not token.isascii() or len(token) > LONGEST_TOKEN:
        raise TokenRefused("token malformed")
    segment, dot, _ = token.partition(".")
    if not dot or len(segment) > _LONGEST_HEADER:
        raise TokenRefused("token malformed")
    try:
        header = json.loads(base64.b64decode(segment + "=" * (-len(segment) % 4), altchars=b"-_", validate=True))
    except (ValueError, RecursionError):
        raise TokenRefused("token malformed") from None
    if not isinstance(header, dict):
        raise TokenRefused("token malformed")
    return header


def _kid_of(header: dict[str, object]) -> str:
    if header.get("alg") != "RS256":
        raise TokenRefused("algorithm refused")
    if not _REFUSED_HEADERS.isdisjoint(header):
        raise TokenRefused("header refused")
    kid = header.get("kid")
    if not is_key_id(kid):
        raise TokenRefused("key id refused")
    return kid


def _signed_claims(token: str, header: dict[str, object], key: RSAPublicKey) -> Claims:
    try:
        signed = _RS256_ONLY.decode_complete(token, key, algorithms=["RS256"])
        claims = json.loads(signed["payload"])
    except (jwt.PyJWTError, ValueError, RecursionError):
        raise TokenRefused("signature refused") from None
    # The header judged above and the header the library verified must be one and the same, however each was parsed.
    if signed["header"] != header or not isinstance(claims, dict):
        raise TokenRefused("token malformed")
    return claims
