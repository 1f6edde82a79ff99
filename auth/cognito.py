"""Access tokens of one Amazon Cognito user pool, verified without asking Cognito (R010, R051, R052).

Never takes grants from a token: what a person may do is stored on our side. A revoked token stays valid here until it
expires, so admission also listens for revocations (T07). Called by admission.
"""

from collections.abc import Collection

from auth.claims import TokenRules, client_id_set, expires_at, groups_of, issued_at, name_of, subject_of
from auth.identity import Identity
from auth.tokens import KeySource, verified_claims


def cognito_jwks_url(issuer: str) -> str:
    """Where a user pool publishes its keys (Amazon Cognito, "Verifying JSON web tokens")."""
    return f"{issuer}/.well-known/jwks.json"


class CognitoAuthenticator:
    """issuer: `https://cognito-idp.{region}.amazonaws.com/{pool id}`, compared exactly; client_ids: the app clients
    whose users may come in; keys: closed with the authenticator; leeway_s: clock skew forgiven, in seconds.

    Raises ValueError for rules that could admit nobody or anybody.
    """

    def __init__(self, issuer: str, client_ids: Collection[str], keys: KeySource, leeway_s: float = 30.0) -> None:
        self._rules = TokenRules(issuer, client_id_set(client_ids), leeway_s)
        self._keys = keys

    async def authenticate(self, token: str | None, *, now: float) -> Identity:
        claims = await verified_claims(token, self._keys, self._rules, now=now)
        return Identity(
            subject=subject_of(claims),
            name=name_of(claims),
            groups=groups_of(claims, "cognito:groups"),
            expires_at=expires_at(claims),
            issued_at=issued_at(claims),
        )

    async def close(self) -> None:
        await self._keys.close()
