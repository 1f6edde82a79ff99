"""Open access: everyone is a guest and an editor, and no two guests are the same."""

from auth.open_access import OpenAuthenticator
from auth.permissions import Role, effective_role


async def test_every_guest_may_edit_every_document() -> None:
    guest = await OpenAuthenticator().authenticate(None, now=0)
    assert effective_role(guest.grants, None, "anything") is Role.EDITOR
    assert guest.expires_at is None
    assert guest.groups == frozenset()


async def test_every_connection_is_somebody_else_whatever_token_it_brings() -> None:
    door = OpenAuthenticator()
    guests = [await door.authenticate(token, now=0) for token in (None, "", "same", "same", "x" * 10_000)]
    assert len({guest.subject for guest in guests}) == len(guests)
