"""Reading a key set, whatever is in it, and fetching one over TLS and within bounds."""

import datetime
import ipaddress
import json
import ssl
import time
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.x509.oid import NameOID
from hypothesis import given, settings
from hypothesis import strategies as st
from jwt.algorithms import RSAAlgorithm

from auth.jwks_document import JwksUnavailable, fetch_keys, usable_keys
from tests.services.issuer import Issuer, b64url, rsa_key
from tests.services.jwks import LONGEST_HOLD_S, JwksServer

FIRST, SECOND = Issuer("first-key"), Issuer("second-key")
GOOD = FIRST.jwk


def key_set(*keys: object) -> bytes:
    return json.dumps({"keys": keys}).encode()


def test_every_signing_key_is_found_by_its_id() -> None:
    keys = usable_keys(key_set(FIRST.jwk, SECOND.jwk))
    assert {kid: key.public_numbers() for kid, key in keys.items()} == {
        issuer.kid: issuer.private_key.public_key().public_numbers() for issuer in (FIRST, SECOND)
    }


def test_use_and_alg_may_be_absent() -> None:
    bare = {field: GOOD[field] for field in ("kty", "kid", "n", "e")}
    assert set(usable_keys(key_set(bare))) == {FIRST.kid}


@pytest.mark.parametrize(
    "changed",
    [
        {"kty": "EC", "crv": "P-256", "x": "AQ", "y": "AQ"},
        {"kty": "oct", "k": "c2VjcmV0"},
        {"kty": None},
        {"use": "enc"},
        {"alg": "RS512"},
        {"alg": "HS256"},
        {"alg": ["RS256"]},
        {"kid": None},
        {"kid": ""},
        {"kid": 7},
        {"kid": "a key"},
        {"kid": "k" * 129},
        {"n": None},
        {"n": ""},
        {"n": 65537},
        {"n": "!!!"},
        {"n": "AQAB"},
        {"n": ["AQAB"]},
        {"e": None},
        {"e": ""},
        {"e": "AA"},
        {"e": "Ag"},
        {"e": 3},
        {"d": "AQAB"},
    ],
)
def test_a_key_we_cannot_use_is_skipped_and_the_others_are_kept(changed: dict[str, Any]) -> None:
    assert set(usable_keys(key_set(GOOD | changed, SECOND.jwk))) == {SECOND.kid}
    with pytest.raises(JwksUnavailable, match="no usable key"):
        usable_keys(key_set(GOOD | changed))


def test_a_private_key_that_was_published_is_skipped() -> None:
    published = json.loads(RSAAlgorithm.to_jwk(FIRST.private_key)) | {"kid": FIRST.kid}
    assert set(usable_keys(key_set(published, SECOND.jwk))) == {SECOND.kid}


def test_a_key_too_small_to_be_safe_is_skipped() -> None:
    numbers = rsa_key("small", bits=1024).public_key().public_numbers()
    small = GOOD | {"n": b64url(numbers.n.to_bytes(128, "big"))}
    assert set(usable_keys(key_set(small, SECOND.jwk))) == {SECOND.kid}


def test_a_key_too_big_to_be_cheap_is_skipped() -> None:
    big = GOOD | {"n": b64url(((1 << 16384) - 1).to_bytes(2048, "big"))}
    assert set(usable_keys(key_set(big, SECOND.jwk))) == {SECOND.kid}


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=10), inner, max_size=4),
    max_leaves=8,
)


@settings(max_examples=100, deadline=None)
@given(st.dictionaries(st.sampled_from([*sorted(GOOD), "d", "p", "oth", "x5c"]), JSON, min_size=1))
def test_any_change_to_a_key_skips_it_or_keeps_it_and_nothing_worse(changed: dict[str, Any]) -> None:
    assert SECOND.kid in usable_keys(key_set(GOOD | changed, SECOND.jwk))


@settings(max_examples=100, deadline=None)
@given(st.binary(max_size=200) | JSON.map(lambda body: json.dumps(body).encode()))
def test_any_body_that_is_no_key_set_is_unavailable_and_nothing_worse(body: bytes) -> None:
    with pytest.raises(JwksUnavailable):
        usable_keys(body)


def test_a_body_at_the_bound_is_read_and_one_byte_more_is_not(jwks_server: JwksServer) -> None:
    body = key_set(GOOD)
    jwks_server.answer(body + b" " * (4096 - len(body)))
    assert set(fetch_keys(jwks_server.url, timeout_s=5, max_bytes=4096)) == {FIRST.kid}
    jwks_server.answer(body + b" " * (4097 - len(body)))
    with pytest.raises(JwksUnavailable, match="too large"):
        fetch_keys(jwks_server.url, timeout_s=5, max_bytes=4096)


def test_a_body_that_drips_for_ever_is_given_up_at_the_deadline(jwks_server: JwksServer) -> None:
    jwks_server.drip()
    started = time.monotonic()
    with pytest.raises(JwksUnavailable):
        fetch_keys(jwks_server.url, timeout_s=1, max_bytes=65536)
    assert time.monotonic() - started < LONGEST_HOLD_S / 2  # the sender would go on for twice as long


def test_a_closed_port_is_unavailable() -> None:
    with JwksServer() as server:
        url = server.url
    with pytest.raises(JwksUnavailable, match="ConnectionRefusedError"):
        fetch_keys(url, timeout_s=5, max_bytes=65536)


def test_a_host_that_cannot_exist_is_unavailable() -> None:
    with pytest.raises(JwksUnavailable):
        fetch_keys(f"https://{'a' * 70}..invalid/jwks.json", timeout_s=1, max_bytes=65536)


def test_a_proxy_in_the_environment_is_not_used(jwks_server: JwksServer, monkeypatch: pytest.MonkeyPatch) -> None:
    jwks_server.publish(GOOD)
    for name in ("http_proxy", "https_proxy", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    assert set(fetch_keys(jwks_server.url, timeout_s=5, max_bytes=65536)) == {FIRST.kid}


@pytest.fixture
def certificate(tmp_path: Path) -> Path:
    """A self-signed certificate for 127.0.0.1, with its key in the same file."""
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "keys of the tests")])
    now = datetime.datetime.now(datetime.UTC)
    signed = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(hours=1))
        .not_valid_after(now + datetime.timedelta(hours=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), True)
        .sign(key, hashes.SHA256())
    )
    path = tmp_path / "certificate.pem"
    path.write_bytes(
        signed.public_bytes(serialization.Encoding.PEM)
        + key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    return path


def test_over_tls_only_a_certificate_we_trust_is_believed(certificate: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(certificate)
    with JwksServer(tls) as server:
        server.publish(GOOD)
        with pytest.raises(JwksUnavailable, match="SSLCertVerificationError"):
            fetch_keys(server.url, timeout_s=5, max_bytes=65536)
        assert server.fetches == 0
        monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
        assert set(fetch_keys(server.url, timeout_s=5, max_bytes=65536)) == {FIRST.kid}
