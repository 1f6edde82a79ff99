"""What somebody may do now: the grants of the token, what is stored, and what was revoked, judged together (T07).

Pure: the same answer for the same facts, whether somebody comes in or has sat there for an hour. Must never be given a
standing of another subject or document. Called by admission, by renewals, and by whatever looks at seats again.
"""

from auth.identity import Identity
from auth.permissions import Action, Role, Standing, effective_role, permits, smaller


def is_revoked(identity: Identity, standing: Standing) -> bool:
    """Whether the token behind `identity` was issued before the subject's tokens were revoked.

    One that does not say when it was issued counts as older than any revocation.
    """
    if standing.revoked_before is None:
        return False
    return identity.issued_at is None or identity.issued_at < standing.revoked_before


def role_now(identity: Identity, standing: Standing, document: str) -> Role | None:
    """The role of `identity` on `document`; None for somebody who may not even read it. Asks nothing of revocations."""
    role = effective_role(identity.grants, standing.role, document)
    if role is not None and identity.at_most is not None:
        role = smaller(role, identity.at_most)
    return role if role is not None and permits(role, Action.READ_DOCUMENT) else None
