"""One issuer's key set (RFC 7517) over HTTP: fetching it within bounds, and reading the usable keys out of it.

Blocking on purpose, and therefore never called on the event loop: `jwks.JwksCache` runs it in a thread. Plain
`http.client`, because an HTTP client library would be one more runtime dependency for one GET in five minutes, and
because what must not happen here (redirects, proxies from the environment, other URL schemes) does not exist at this
level, so that nothing needs to be switched off.
"""

import ipaddress
import json
import ssl
import time
from collections.abc import Mapping
from http.client import HTTPConnection, HTTPException, HTTPResponse, HTTPSConnection
from urllib.parse import urlsplit

import jwt
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from jwt.algorithms import RSAAlgorithm

from auth.tokens import is_key_id

# Bits. Below 2048 is breakable (NIST SP 800-131A); above 8192 every check of a signature would cost milliseconds.
_SMALLEST_KEY, _BIGGEST_KEY = 2048, 8192
_CHUNK = 16 * 1024  # bytes read between two looks at the deadline


class JwksUnavailable(Exception):
    """The key set could not be fetched, or holds no key we can use."""


def check_jwks_url(url: str) -> None:
    """Raise ValueError unless keys may be fetched from there: https, or plain http on this very machine."""
    parts = urlsplit(url)
    if not parts.hostname or parts.username is not None or parts.password is not None:
        raise ValueError("a JWKS URL names a host and carries no credentials")
    if parts.port == 0:
        raise ValueError("a JWKS URL cannot have port 0")
    if parts.scheme != "https" and not (parts.scheme == "http" and _is_loopback(parts.hostname)):
        raise ValueError("a JWKS URL is https, or http on loopback: whoever changes the answer makes the tokens")


def fetch_keys(url: str, *, timeout_s: float, max_bytes: int) -> dict[str, RSAPublicKey]:
    """The usable keys at `url` by key id, at least one. Takes up to about twice `timeout_s`, a slow sender included.

    Raises JwksUnavailable for anything but a 200 answer of at most `max_bytes` bytes with a usable key; a redirect is
    such an answer.
    """
    deadline = time.monotonic() + timeout_s
    connection = _connection_to(url, timeout_s)
    try:
        connection.request("GET", _target_of(url), headers={"Accept": "application/json"})
        response = connection.getresponse()
        if response.status != 200:
            raise JwksUnavailable(f"status {response.status}")
        return usable_keys(_bounded_body(response, max_bytes, deadline))
    except (OSError, HTTPException, ValueError) as failure:  # ValueError: a host name that cannot be encoded
        raise JwksUnavailable(type(failure).__name__) from failure
    finally:
        connection.close()


def usable_keys(body: bytes) -> dict[str, RSAPublicKey]:
    """The RS256 signing keys of a JWK set by key id, skipping keys of other kinds. Raises JwksUnavailable if none."""
    try:
        document = json.loads(body)
    except (ValueError, RecursionError):
        raise JwksUnavailable("not JSON") from None
    entries = document.get("keys") if isinstance(document, dict) else None
    if not isinstance(entries, list):
        raise JwksUnavailable("not a key set")
    keys = {entry["kid"]: key for entry in entries if (key := _usable_key(entry)) is not None}
    if not keys:
        raise JwksUnavailable("no usable key")
    return keys


def _usable_key(entry: object) -> RSAPublicKey | None:
    if not isinstance(entry, Mapping) or not is_key_id(entry.get("kid")) or entry.get("kty") != "RSA":
        return None
    if entry.get("use", "sig") != "sig" or entry.get("alg", "RS256") != "RS256":
        return None
    try:
        key = RSAAlgorithm.from_jwk(dict(entry))
    except (jwt.PyJWTError, ValueError, TypeError):
        return None
    # A private key in the set (it has a "d") is known to everyone: what it signed proves nothing.
    if not isinstance(key, RSAPublicKey) or not _SMALLEST_KEY <= key.key_size <= _BIGGEST_KEY:
        return None
    return key


def _connection_to(url: str, timeout_s: float) -> HTTPConnection:
    parts = urlsplit(url)
    host = parts.hostname or ""
    if parts.scheme == "https":
        return HTTPSConnection(host, parts.port or 443, timeout=timeout_s, context=ssl.create_default_context())
    return HTTPConnection(host, parts.port or 80, timeout=timeout_s)


def _target_of(url: str) -> str:
    parts = urlsplit(url)
    return (parts.path or "/") + (f"?{parts.query}" if parts.query else "")


def _bounded_body(response: HTTPResponse, max_bytes: int, deadline: float) -> bytes:
    body = bytearray()
    while chunk := response.read1(_CHUNK):
        body += chunk
        if len(body) > max_bytes:
            raise JwksUnavailable("too large")
        if time.monotonic() > deadline:  # the socket's timeout alone lets a sender drip for ever
            raise JwksUnavailable("too slow")
    return bytes(body)


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
