"""The playground page with its development sign-in, as the commands that show it put it together. Called by `dev` and
`cluster`.
"""

from __future__ import annotations

from importlib.metadata import version
from pathlib import Path

from auth.dev_keys import DevKeys
from auth.permissions import Role
from collab_server.settings import Auth
from rest_api.playground import PlaygroundConfig
from rest_api.sign_in import SignIn

DEV_TOKEN_S = 12 * 3600  # a working day: nobody should have to sign in twice


def playground(websocket_url: str, auth: Auth) -> PlaygroundConfig:
    """The page whose editor connects to `websocket_url`."""
    return PlaygroundConfig(
        websocket_url=websocket_url,
        auth=auth.value,
        version=version("collab-server"),
        built_page=Path(__file__).parents[1] / "web" / "dist",
    )


def sign_in_by_name(keys: DevKeys | None) -> SignIn | None:
    """Signing in by picking a name, with these keys; without keys there is none."""
    if keys is None:
        return None

    def sign(*, subject: str, name: str, document: str, role: str, expires_s: int, now: float) -> str:
        return keys.sign(subject, name, {document: Role(role)}, (), expires_s, now)

    return SignIn(sign=sign, lifetime_s=DEV_TOKEN_S)
