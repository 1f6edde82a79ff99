"""Signing in with Cognito: a pool is made, a user signs in, their token is verified, all over HTTP (R010, R052)."""

import asyncio
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import pytest

from auth.cognito import CognitoAuthenticator, cognito_jwks_url
from auth.identity import TokenRefused
from auth.jwks import JwksCache
from tests.services.ministack import Ministack

PASSWORD = "Correct-Horse-7-Battery"


@dataclass(frozen=True, slots=True)
class SignedIn:
    """One signed-in user: where their pool is, what it issued, and who it says they are."""

    pool_id: str
    client_id: str
    issuer: str
    access_token: str
    id_token: str
    subject: str


def sign_in(cognito: Any, user_name: str, group: str | None = None) -> SignedIn:
    """Make a pool with one app client and one user, and sign the user in with their password."""
    pool_id = cognito.create_user_pool(PoolName=f"pool-of-{user_name}")["UserPool"]["Id"]
    client_id = cognito.create_user_pool_client(
        UserPoolId=pool_id, ClientName="editor", ExplicitAuthFlows=["ALLOW_USER_PASSWORD_AUTH"]
    )["UserPoolClient"]["ClientId"]
    user = cognito.admin_create_user(UserPoolId=pool_id, Username=user_name, MessageAction="SUPPRESS")["User"]
    cognito.admin_set_user_password(UserPoolId=pool_id, Username=user_name, Password=PASSWORD, Permanent=True)
    if group is not None:
        cognito.create_group(UserPoolId=pool_id, GroupName=group)
        cognito.admin_add_user_to_group(UserPoolId=pool_id, Username=user_name, GroupName=group)
    tokens = cognito.initiate_auth(
        ClientId=client_id,
        AuthFlow="USER_PASSWORD_AUTH",
        AuthParameters={"USERNAME": user_name, "PASSWORD": PASSWORD},
    )["AuthenticationResult"]
    return SignedIn(
        pool_id=pool_id,
        client_id=client_id,
        issuer=f"https://cognito-idp.{cognito.meta.region_name}.amazonaws.com/{pool_id}",
        access_token=tokens["AccessToken"],
        id_token=tokens["IdToken"],
        subject=next(field["Value"] for field in user["Attributes"] if field["Name"] == "sub"),
    )


@pytest.fixture
def cognito(ministack: Ministack) -> Any:
    client = ministack.session.client("cognito-idp", endpoint_url=ministack.endpoint_url)
    yield client
    client.close()


@pytest.fixture
def alice(cognito: Any) -> SignedIn:
    return sign_in(cognito, "alice", group="admin")


@pytest.fixture
async def authenticator(ministack: Ministack, alice: SignedIn) -> AsyncIterator[CognitoAuthenticator]:
    """Alice's pool as production has it, but for the host its keys are fetched from."""
    keys = JwksCache(cognito_jwks_url(f"{ministack.endpoint_url}/{alice.pool_id}"))
    await keys.start()
    authenticator = CognitoAuthenticator(alice.issuer, {alice.client_id}, keys)
    yield authenticator
    await authenticator.close()


async def test_the_access_token_of_a_signed_in_user_gives_their_identity(
    authenticator: CognitoAuthenticator, alice: SignedIn
) -> None:
    now = time.time()
    identity = await authenticator.authenticate(alice.access_token, now=now)
    assert identity.subject == alice.subject
    assert identity.name == "alice"
    assert identity.groups == {"admin"}
    assert identity.grants == {}
    assert identity.expires_at is not None
    assert now < identity.expires_at <= now + 3600  # Cognito's default life of an access token


async def test_the_id_token_of_the_same_user_is_refused(authenticator: CognitoAuthenticator, alice: SignedIn) -> None:
    with pytest.raises(TokenRefused, match="not an access token"):
        await authenticator.authenticate(alice.id_token, now=time.time())


async def test_a_user_of_another_pool_is_refused(authenticator: CognitoAuthenticator, cognito: Any) -> None:
    mallory = await asyncio.to_thread(sign_in, cognito, "mallory")
    with pytest.raises(TokenRefused, match="key unknown"):
        await authenticator.authenticate(mallory.access_token, now=time.time())


async def test_a_user_of_another_app_client_is_refused(ministack: Ministack, alice: SignedIn) -> None:
    keys = JwksCache(cognito_jwks_url(f"{ministack.endpoint_url}/{alice.pool_id}"))
    other_app = CognitoAuthenticator(alice.issuer, {"another-client"}, keys)
    with pytest.raises(TokenRefused, match="client refused"):
        await other_app.authenticate(alice.access_token, now=time.time())
    await other_app.close()


async def test_the_token_is_refused_once_it_has_expired(authenticator: CognitoAuthenticator, alice: SignedIn) -> None:
    with pytest.raises(TokenRefused, match="token expired"):
        await authenticator.authenticate(alice.access_token, now=time.time() + 3600 + 31)
