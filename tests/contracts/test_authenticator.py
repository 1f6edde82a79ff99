"""What every `Authenticator` owes, run on each of them."""

import time
from pathlib import Path
from typing import Any

import pytest

from auth.cognito import CognitoAuthenticator
from auth.dev_keys import DevAuthenticator, DevKeys
from auth.identity import TokenRefused
from auth.jwks import JwksCache
from auth.open_access import OpenAuthenticator
from auth.tokens import Authenticator
from tests.services.issuer import CLIENT_ID, ISSUER, Issuer, access_claims
from tests.services.jwks import JwksServer

NO_TOKENS = [None, "", ".", "..", "a.b.c", "Bearer x", "\0", "é" * 3000, "\ud800", "x" * 100_000]


class AuthenticatorContract:
    """Subclasses give the fixtures `authenticator` and `token`, one it accepts now."""

    async def test_a_good_token_gives_a_subject_and_a_name(self, authenticator: Authenticator, token: str) -> None:
        identity = await authenticator.authenticate(token, now=time.time())
        assert identity.subject
        assert identity.name

    async def test_closing_twice_is_harmless(self, authenticator: Authenticator) -> None:
        await authenticator.close()
        await authenticator.close()


class SigningAuthenticatorContract(AuthenticatorContract):
    """And what those owe that ask for a token at all."""

    async def test_the_same_token_is_the_same_person(self, authenticator: Authenticator, token: str) -> None:
        now = time.time()
        assert await authenticator.authenticate(token, now=now) == await authenticator.authenticate(token, now=now)

    async def test_the_identity_ends_when_the_token_does(self, authenticator: Authenticator, token: str) -> None:
        expires_at = (await authenticator.authenticate(token, now=time.time())).expires_at
        assert expires_at is not None
        with pytest.raises(TokenRefused, match="token expired"):
            await authenticator.authenticate(token, now=expires_at + 30)

    @pytest.mark.parametrize("token", NO_TOKENS)
    async def test_what_is_no_token_is_refused(self, authenticator: Authenticator, token: str | None) -> None:
        with pytest.raises(TokenRefused):
            await authenticator.authenticate(token, now=time.time())

    async def test_a_refusal_never_repeats_the_token(self, authenticator: Authenticator, token: str) -> None:
        with pytest.raises(TokenRefused) as refused:
            await authenticator.authenticate(token + "A", now=time.time())
        assert token[:20] not in refused.value.reason
        assert len(refused.value.reason) < 40


class TestCognitoAuthenticator(SigningAuthenticatorContract):
    @pytest.fixture
    def authenticator(self, jwks_server: JwksServer) -> CognitoAuthenticator:
        jwks_server.publish(Issuer().jwk)
        return CognitoAuthenticator(ISSUER, {CLIENT_ID}, JwksCache(jwks_server.url))

    @pytest.fixture
    def token(self) -> str:
        return Issuer().token(access_claims())


class TestDevAuthenticator(SigningAuthenticatorContract):
    @pytest.fixture
    def keys(self, tmp_path: Path) -> DevKeys:
        return DevKeys.load_or_create(tmp_path)

    @pytest.fixture
    def authenticator(self, keys: DevKeys) -> DevAuthenticator:
        return DevAuthenticator(keys)

    @pytest.fixture
    def token(self, keys: DevKeys) -> str:
        return keys.sign("alice", "Alice", {}, [], 3600, time.time())


class TestOpenAuthenticator(AuthenticatorContract):
    @pytest.fixture
    def authenticator(self) -> OpenAuthenticator:
        return OpenAuthenticator()

    @pytest.fixture(params=NO_TOKENS)
    def token(self, request: pytest.FixtureRequest) -> Any:
        return request.param
