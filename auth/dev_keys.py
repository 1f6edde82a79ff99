"""Tokens for local work: a key pair on disk, what it signs, and an authenticator for exactly that.

The same verification as Cognito's tokens take, with the local key as the only source; never for production, since these
tokens carry their own grants. Called by the `dev` and `token` commands and by the development sign-in.
"""

import os
import secrets
from collections.abc import Iterable, Mapping
from hashlib import sha256
from pathlib import Path

import jwt
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from auth.claims import ACCESS_USE, Claims, TokenRules, expires_at, groups_of, issued_at, name_of, subject_of
from auth.identity import Identity, TokenRefused
from auth.permissions import Role
from auth.tokens import LONGEST_TOKEN, verified_claims

DEV_ISSUER = "collab-server:dev"
DEV_CLIENT_ID = "collab-server:dev"
_FILE_NAME = "dev-signing-key.pem"
_KEY_BITS = 2048


class DevKeysUnusable(Exception):
    """The key file is there but cannot be used; the message names the file and what to do."""


class DevKeys:
    """An RSA key pair: signs tokens, and is the `KeySource` that knows its own public key."""

    def __init__(self, private_key: rsa.RSAPrivateKey) -> None:
        self._private_key = private_key
        self._public_key = private_key.public_key()
        public_der = self._public_key.public_bytes(
            serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
        )
        self.kid = sha256(public_der).hexdigest()[:32]

    @classmethod
    def load_or_create(cls, folder: Path) -> "DevKeys":
        """The pair kept in `folder`, made on first use. Processes that start together all get the same one.

        Raises DevKeysUnusable when the file is no such key, or others than its owner may read it, and OSError when
        the folder cannot be written.
        """
        path = folder / _FILE_NAME
        if not path.exists():
            _create(path)
        return cls(_load(path))

    def sign(
        self, subject: str, name: str, grants: Mapping[str, Role], groups: Iterable[str], expires_s: float, now: float
    ) -> str:
        """An access token for `expires_s` seconds from `now` (unix seconds).

        `grants` are roles by document name, "*" for every document. Raises ValueError when it would be too long for
        anyone to accept.
        """
        claims = {
            "iss": DEV_ISSUER,
            "client_id": DEV_CLIENT_ID,
            "token_use": ACCESS_USE,
            "sub": subject,
            "name": name,
            "grants": {document: str(role) for document, role in grants.items()},
            "groups": sorted(groups),
            "iat": int(now),
            "exp": now + expires_s,
            "jti": secrets.token_hex(16),
        }
        token = jwt.encode(claims, self._private_key, "RS256", headers={"kid": self.kid})
        if len(token) > LONGEST_TOKEN:
            raise ValueError(f"the token would have {len(token)} bytes, {LONGEST_TOKEN} are accepted: fewer grants")
        return token

    async def key(self, kid: str) -> rsa.RSAPublicKey | None:
        return self._public_key if kid == self.kid else None

    async def close(self) -> None:
        """Nothing is held open."""


class DevAuthenticator:
    """Accepts what these keys signed, grants included."""

    def __init__(self, keys: DevKeys) -> None:
        self._keys = keys
        self._rules = TokenRules(DEV_ISSUER, frozenset({DEV_CLIENT_ID}))

    async def authenticate(self, token: str | None, *, now: float) -> Identity:
        claims = await verified_claims(token, self._keys, self._rules, now=now)
        return Identity(
            subject=subject_of(claims),
            name=name_of(claims),
            groups=groups_of(claims, "groups"),
            expires_at=expires_at(claims),
            issued_at=issued_at(claims),
            grants=_grants_of(claims),
        )

    async def close(self) -> None:
        await self._keys.close()


def _grants_of(claims: Claims) -> dict[str, Role]:
    grants = claims.get("grants", {})
    if not isinstance(grants, dict):
        raise TokenRefused("grants refused")
    try:
        return {document: Role(role) for document, role in grants.items()}
    except ValueError:
        raise TokenRefused("grants refused") from None


def _create(path: Path) -> None:
    """Put a new private key at `path`, whole and readable by its owner alone from the start, unless one is there.

    A link fails where the name is taken, while a rename would put the later key over the one others already use.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    private_key = rsa.generate_private_key(public_exponent=65537, key_size=_KEY_BITS)
    draft = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    try:
        _write_private(draft, _pem_of(private_key))
        os.link(draft, path)
    except FileExistsError:
        pass  # another process was first: its key is the one
    finally:
        draft.unlink(missing_ok=True)


def _write_private(path: Path, content: bytes) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def _pem_of(private_key: rsa.RSAPrivateKey) -> bytes:
    return private_key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def _load(path: Path) -> rsa.RSAPrivateKey:
    try:
        if path.stat().st_mode & 0o077:
            raise DevKeysUnusable(f"{path} may be read by others than its owner: delete it to get a new key")
        private_key = serialization.load_pem_private_key(path.read_bytes(), password=None)
    except PermissionError:
        raise DevKeysUnusable(f"{path} belongs to another user: delete it, or use another folder") from None
    except (ValueError, TypeError):
        raise DevKeysUnusable(f"{path} is not a private key: delete it to get a new one") from None
    if not isinstance(private_key, rsa.RSAPrivateKey) or private_key.key_size < _KEY_BITS:
        raise DevKeysUnusable(f"{path} is not an RSA key of {_KEY_BITS} bits: delete it to get a new one")
    return private_key
