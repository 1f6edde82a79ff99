"""What a token, a grant, a bound and a revocation make together (T07)."""

from __future__ import annotations

import pytest

from auth.identity import Identity
from auth.permissions import Role, Standing, smaller
from auth.standing import is_revoked, role_now


@pytest.mark.parametrize(
    ("issued_at", "revoked_before", "revoked"),
    [(100.0, None, False), (None, None, False), (99.9, 100.0, True), (100.0, 100.0, False), (None, 1.0, True)],
)
def test_a_token_issued_before_the_revocation_is_void(
    issued_at: float | None, revoked_before: float | None, revoked: bool
) -> None:
    identity = Identity("ada", "Ada", issued_at=issued_at)
    assert is_revoked(identity, Standing(Role.OWNER, revoked_before)) is revoked


@pytest.mark.parametrize(
    ("carried", "stored", "at_most", "role"),
    [
        (None, None, None, None),
        (None, Role.EDITOR, None, Role.EDITOR),
        (Role.VIEWER, Role.OWNER, None, Role.VIEWER),
        (None, Role.OWNER, Role.COMMENTER, Role.COMMENTER),
        (None, Role.VIEWER, Role.OWNER, Role.VIEWER),
        (Role.EDITOR, None, Role.VIEWER, Role.VIEWER),
        (None, None, Role.OWNER, None),
    ],
)
def test_a_bound_makes_a_role_smaller_and_never_gives_one(
    carried: Role | None, stored: Role | None, at_most: Role | None, role: Role | None
) -> None:
    identity = Identity("ada", "Ada", grants={} if carried is None else {"demo": carried}, at_most=at_most)
    assert role_now(identity, Standing(stored), "demo") is role


@pytest.mark.parametrize(
    ("one", "other"), [(Role.OWNER, Role.EDITOR), (Role.EDITOR, Role.COMMENTER), (Role.COMMENTER, Role.VIEWER)]
)
def test_of_two_roles_the_smaller_allows_less(one: Role, other: Role) -> None:
    assert smaller(one, other) is smaller(other, one) is other
