"""Development keys on disk, and the tokens they sign."""

import multiprocessing
import os
import stat
from pathlib import Path
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from auth.dev_keys import DEV_CLIENT_ID, DEV_ISSUER, DevAuthenticator, DevKeys, DevKeysUnusable
from auth.identity import Identity, TokenRefused
from auth.permissions import Role
from tests.services.issuer import Issuer, access_claims

NOW = 1_800_000_000.0


@pytest.fixture
def keys(tmp_path: Path) -> DevKeys:
    return DevKeys.load_or_create(tmp_path)


def token_of(keys: DevKeys, **changed: Any) -> str:
    asked: dict[str, Any] = {
        "subject": "alice",
        "name": "Alice",
        "grants": {"demo": Role.EDITOR},
        "groups": ["admin"],
        "expires_s": 3600,
        "now": NOW,
    }
    return keys.sign(**asked | changed)


def pem_in(folder: Path) -> Path:
    (pem,) = folder.iterdir()
    return pem


async def test_a_signed_token_gives_back_what_was_asked_for(keys: DevKeys) -> None:
    token = token_of(keys, grants={"demo": Role.EDITOR, "*": Role.VIEWER}, name="Ålice 👩‍👩‍👧")
    assert await DevAuthenticator(keys).authenticate(token, now=NOW) == Identity(
        subject="alice",
        name="Ålice 👩‍👩‍👧",
        groups=frozenset({"admin"}),
        expires_at=NOW + 3600,
        grants={"demo": Role.EDITOR, "*": Role.VIEWER},
        issued_at=int(NOW),
    )


async def test_the_key_is_the_same_after_a_restart(tmp_path: Path) -> None:
    token = token_of(DevKeys.load_or_create(tmp_path))
    again = DevAuthenticator(DevKeys.load_or_create(tmp_path))
    assert (await again.authenticate(token, now=NOW)).subject == "alice"


async def test_tokens_of_another_folders_key_are_refused(tmp_path: Path) -> None:
    ours, theirs = DevKeys.load_or_create(tmp_path / "ours"), DevKeys.load_or_create(tmp_path / "theirs")
    with pytest.raises(TokenRefused, match="key unknown"):
        await DevAuthenticator(ours).authenticate(token_of(theirs), now=NOW)


async def test_a_cognito_token_is_refused(keys: DevKeys) -> None:
    with pytest.raises(TokenRefused, match="signature refused"):
        await DevAuthenticator(keys).authenticate(Issuer().token(access_claims(NOW), kid=keys.kid), now=NOW)


async def test_an_expired_token_is_refused(keys: DevKeys) -> None:
    with pytest.raises(TokenRefused, match="token expired"):
        await DevAuthenticator(keys).authenticate(token_of(keys, expires_s=2), now=NOW + 32)


@pytest.mark.parametrize("grants", [[], "owner", {"demo": "admin"}, {"demo": None}, {"demo": ["editor"]}])
async def test_grants_that_name_no_role_are_refused(keys: DevKeys, tmp_path: Path, grants: object) -> None:
    claims = access_claims(NOW, iss=DEV_ISSUER, client_id=DEV_CLIENT_ID, grants=grants)
    token = jwt.encode(claims, pem_in(tmp_path).read_bytes(), "RS256", headers={"kid": keys.kid})
    with pytest.raises(TokenRefused, match="grants refused"):
        await DevAuthenticator(keys).authenticate(token, now=NOW)


def test_a_token_nobody_would_accept_is_not_signed(keys: DevKeys) -> None:
    with pytest.raises(ValueError, match="fewer grants"):
        token_of(keys, grants={f"document-{n}": Role.VIEWER for n in range(1000)})


def test_only_its_owner_can_read_the_key_file_even_under_a_lax_umask(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        DevKeys.load_or_create(tmp_path)
    finally:
        os.umask(before)
    pem = pem_in(tmp_path)
    assert stat.S_IMODE(pem.stat().st_mode) == 0o600


def test_a_key_file_that_others_can_read_is_refused(tmp_path: Path) -> None:
    DevKeys.load_or_create(tmp_path)
    pem = pem_in(tmp_path)
    pem.chmod(0o644)
    with pytest.raises(DevKeysUnusable, match=r"may be read by others.*delete it"):
        DevKeys.load_or_create(tmp_path)


@pytest.mark.parametrize(
    "content", [b"", b"not a key", b"-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n"]
)
def test_a_broken_key_file_is_refused_with_what_to_do(tmp_path: Path, content: bytes) -> None:
    DevKeys.load_or_create(tmp_path)
    pem = pem_in(tmp_path)
    pem.write_bytes(content)
    with pytest.raises(DevKeysUnusable, match="delete it"):
        DevKeys.load_or_create(tmp_path)


def test_a_key_of_another_kind_is_refused(tmp_path: Path) -> None:
    DevKeys.load_or_create(tmp_path)
    pem = pem_in(tmp_path)
    pem.write_bytes(
        ec.generate_private_key(ec.SECP256R1()).private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
    )
    with pytest.raises(DevKeysUnusable, match="not an RSA key"):
        DevKeys.load_or_create(tmp_path)


def _kid_seen_by_one_process(folder: Path) -> str:
    return DevKeys.load_or_create(folder).kid


def test_processes_that_start_together_agree_on_one_key(tmp_path: Path) -> None:
    with multiprocessing.get_context("spawn").Pool(4) as pool:
        kids = pool.map(_kid_seen_by_one_process, [tmp_path] * 4, chunksize=1)
    assert len(set(kids)) == 1
    assert len(list(tmp_path.iterdir())) == 1


def test_a_key_that_appeared_meanwhile_is_not_replaced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = DevKeys.load_or_create(tmp_path)
    with monkeypatch.context() as blind:  # as the loser of the race saw it: no file yet
        blind.setattr(Path, "exists", lambda _: False)
        second = DevKeys.load_or_create(tmp_path)
    assert first.kid == second.kid
    assert len(list(tmp_path.iterdir())) == 1
