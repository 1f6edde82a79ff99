"""No sign-in at all: everyone is a guest who may edit everything. For local work and benchmarks.

Must never be reachable from another machine: the settings bind it to loopback. Called by admission.
"""

import secrets

from auth.identity import Identity
from auth.permissions import EVERY_DOCUMENT, Role


class OpenAuthenticator:
    """Every connection is somebody new; a token is ignored, whatever it holds."""

    async def authenticate(self, token: str | None, *, now: float) -> Identity:  # noqa: ARG002 - the port's signature
        tag = secrets.token_hex(8)  # 64 random bits: two guests never share presence or leased client ids
        return Identity(subject=f"guest-{tag}", name=f"Guest {tag[:4]}", grants={EVERY_DOCUMENT: Role.EDITOR})

    async def close(self) -> None:
        """Nothing is held open."""
