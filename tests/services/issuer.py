"""A token issuer of the tests' own, built on nothing that the code under test uses to read tokens.

`Issuer` has one RSA key, signs whatever claims it is given, and shows its public key as a JWK; `compact` builds any
token, honest or forged. Called by tests that need tokens, with or without a JWKS server.
"""

import base64
import json
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding, rsa

ISSUER = "https://cognito-idp.eu-west-1.amazonaws.com/eu-west-1_TestPool1"
CLIENT_ID = "7h1s1s4cl13nt1d0fth3t3st5"


@cache
def rsa_key(label: str, bits: int = 2048) -> rsa.RSAPrivateKey:
    """A key that is the same for the same label within one process: making one takes a tenth of a second."""
    return rsa.generate_private_key(public_exponent=65537, key_size=bits)


def b64url(content: bytes) -> str:
    return base64.urlsafe_b64encode(content).rstrip(b"=").decode()


def compact(header: Mapping[str, Any], claims: Mapping[str, Any] | bytes, sign: Callable[[bytes], bytes]) -> str:
    """A JWS in compact form (RFC 7515 §7.1), with whatever header, claims and signature."""
    payload = claims if isinstance(claims, bytes) else json.dumps(claims).encode()
    signed = f"{b64url(json.dumps(header).encode())}.{b64url(payload)}"
    return f"{signed}.{b64url(sign(signed.encode()))}"


def access_claims(now: float | None = None, **changed: Any) -> dict[str, Any]:
    """What a Cognito access token says; a change to None leaves the claim out."""
    at = int(time.time() if now is None else now)
    claims = {
        "sub": "5c6f1c86-0a51-7009-7a64-90de1f0f1f2b",
        "iss": ISSUER,
        "client_id": CLIENT_ID,
        "token_use": "access",
        "scope": "aws.cognito.signin.user.admin",
        "auth_time": at,
        "iat": at,
        "exp": at + 300,
        "jti": "2b8f7a0e-6f0e-4d5c-9d7c-1f2e3d4c5b6a",
        "username": "alice",
    } | changed
    return {claim: value for claim, value in claims.items() if value is not None}


@dataclass(frozen=True, slots=True)
class Issuer:
    """One signing key with its id."""

    kid: str = "first-key"

    @property
    def private_key(self) -> rsa.RSAPrivateKey:
        return rsa_key(self.kid)

    @property
    def jwk(self) -> dict[str, Any]:
        """The public key as RFC 7517 has it, with the fields Cognito publishes."""
        numbers = self.private_key.public_key().public_numbers()
        n, e = numbers.n.to_bytes(256, "big"), numbers.e.to_bytes(3, "big")
        return {"kty": "RSA", "alg": "RS256", "use": "sig", "kid": self.kid, "n": b64url(n), "e": b64url(e)}

    def rs256(self, signed: bytes) -> bytes:
        return self.private_key.sign(signed, padding.PKCS1v15(), hashes.SHA256())

    def token(self, claims: Mapping[str, Any] | bytes, **header: Any) -> str:
        """The claims, correctly signed, under a header with these changes."""
        return compact({"kid": self.kid, "alg": "RS256"} | header, claims, self.rs256)
