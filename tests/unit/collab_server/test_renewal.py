"""Newer tokens for seats already taken, when many bring theirs in the same moment."""

from __future__ import annotations

from auth.identity import Identity
from auth.permissions import Role
from collab_server.renewal import UNKNOWN, Renewals
from collab_server.tasks import Tasks
from collab_server.wire.messages import PermissionDenied
from tests.unit.collab_server.rooms.parts import Person, until
from tests.unit.collab_server.test_rights import Watched, watched


class AnyName:
    """Takes a token for the subject that it names."""

    async def authenticate(self, token: str | None, *, now: float) -> Identity:
        return Identity(token or "", "Newer", issued_at=now)


async def renewed(task: Watched, count: int) -> list[Person]:
    """So many people, each of whom has brought a newer token, all at once; their renewals have ended."""
    seated = [await task.seat(f"person-{number}", Role.EDITOR) for number in range(count)]
    renewals, tasks = Renewals(AnyName(), task.permissions, task.rights, task.parts.metrics), Tasks()
    task.permissions.asked.clear()
    task.permissions.let.clear()
    for person, seat in seated:
        renewals.begin(task.here, tasks, seat, person.member.identity.subject, now=1.0)
    await until(lambda: bool(task.permissions.asked))  # for the first of them; the others wait behind it
    task.permissions.let.set()
    await tasks.wait()
    return [person for person, _seat in seated]


async def test_many_who_renew_at_once_are_looked_up_together() -> None:
    """Tokens of a whole company end in the same minute; whose role changes then must not wait behind each of them."""
    async with watched() as task:
        people = await renewed(task, 50)
        assert [len(pairs) for pairs in task.permissions.asked] == [1, 49]
        assert {person.member.identity.name for person in people} == {"Newer"}


async def test_while_grants_cannot_be_read_many_who_renew_are_told_so_after_two_questions() -> None:
    async with watched() as task:
        task.permissions.away = True
        people = await renewed(task, 50)
        assert len(task.permissions.asked) == 2
        for person in people:
            assert [each.reason for each in person.messages if isinstance(each, PermissionDenied)] == [UNKNOWN]
