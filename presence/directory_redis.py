"""The directory in Redis: hashes a place and a person, with a field a task, and one key a task that says it lives.

All keys share a hash tag, because they are read together, and a prefix, for access rules:

    collab:{presence}:task:TASK/PAGE     "writing" or "shown", for `ALIVE_S`; what a beat costs, however many sit there
    collab:{presence}:at:PLACE           TASK/PAGE → who sits there, JSON
    collab:{presence}:of:SUBJECT         TASK/PAGE → where it sits, JSON

A page is everything a task wrote since `begin`. Its key never comes back once it is gone, so whoever finds a field of
such a page may remove it. No scripts, no scans. Knows no connection: `call` owns one and never shares or cancels what
is under way on it. Must never trust what it reads: others write there too. Named by `assembly`.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from typing import Any

import orjson

from presence.directory import ALIVE_S, Attendee, DirectoryUnavailable, Occupancy, merged
from presence.roster import Person, Status

Command = tuple[bytes, ...]
Call = Callable[[Sequence[Command]], Awaitable[Sequence[Any]]]
"""Sends commands as one pipeline and returns their answers. Raises ConnectionError, within about a second."""

KEPT_S = 900
"""How long a place or a person is kept without being written: every task writes all it has anew every five minutes."""
PIPELINE_BYTES = 128 * 1024
"""About one pipeline: packing and reading it takes the event loop some 5 ms."""
LONGEST_NUMBER = 19  # digits of a page's
_WRITING, _SHOWN = b"writing", b"shown"
_VERSION = 1


class RedisDirectory:
    """A `Directory` for the task `task_id`."""

    def __init__(self, task_id: str, call: Call, key_prefix: str = "collab:") -> None:
        self._task_id = task_id
        self._call = call
        self._prefix = f"{key_prefix}{{presence}}:"
        self._number = 0
        self._shown: bytes | None = None  # the page that readers see
        self._page = b""

    async def begin(self) -> None:
        self._number += 1
        self._page = f"{self._task_id}/{self._number}".encode()
        await self._ask([(b"SET", self._task_key(self._page), _WRITING, b"EX", b"%d" % ALIVE_S)])

    async def write(self, places: Mapping[str, Sequence[Attendee] | None], paths: Mapping[str, Sequence[str]]) -> None:
        fields = [
            (self._key("at:", place), None if people is None else _rows(people)) for place, people in places.items()
        ]
        fields += [(self._key("of:", who), orjson.dumps([*where]) if where else None) for who, where in paths.items()]
        commands: list[Command] = []
        size = 0
        for key, field in fields:
            if field is None:
                commands.append((b"HDEL", key, self._page))
            else:
                commands += (b"HSET", key, self._page, field), (b"EXPIRE", key, b"%d" % KEPT_S)
                size += len(field)
            size += 200
            if size > PIPELINE_BYTES:
                await self._send(commands)
                commands, size = [], 0
        await self._send(commands)

    async def _send(self, commands: list[Command]) -> None:
        if self._page != self._shown:  # a page that takes long to write must live until it is shown
            commands.append((b"EXPIRE", self._task_key(self._page), b"%d" % ALIVE_S))
        if commands:
            await self._ask(commands)

    async def beat(self) -> bool:
        commands: list[Command] = [(b"SET", self._task_key(self._page), _SHOWN, b"EX", b"%d" % ALIVE_S, b"XX")]
        before = self._shown
        if before is not None and before != self._page:
            commands.append((b"DEL", self._task_key(before)))
        lives = (await self._ask(commands))[0] is not None
        if lives:
            self._shown = self._page
        return lives

    async def leave(self) -> None:
        pages = {self._page, self._shown or self._page}
        await self._ask([(b"DEL", *map(self._task_key, pages))])

    async def at(self, place: str) -> Occupancy:
        shown = await self._read(self._key("at:", place))
        people = merged(each for content in shown.values() for each in _attendees(content))
        return Occupancy(people, frozenset(shown))

    async def places_of(self, subject: str) -> tuple[str, ...]:
        shown = await self._read(self._key("of:", subject))
        return tuple(sorted({place for content in shown.values() for place in _strings(content)}))

    async def _read(self, key: bytes) -> dict[str, bytes]:
        """What living tasks wrote under `key`, by task id; of one task, what it showed last."""
        (flat,) = await self._ask([(b"HGETALL", key)])
        fields = dict(zip(flat[::2], flat[1::2], strict=True))
        if not fields:
            return {}
        pages = list(fields)
        (said,) = await self._ask([(b"MGET", *map(self._task_key, pages))])
        if gone := [page for page, word in zip(pages, said, strict=True) if word is None]:
            await self._ask([(b"HDEL", key, *gone)])
        shown = [page for page, word in zip(pages, said, strict=True) if word == _SHOWN]
        return {_task_of(page): fields[page] for page in sorted(shown, key=_number_of)}

    async def _ask(self, commands: Sequence[Command]) -> Sequence[Any]:
        try:
            return await self._call(commands)
        except ConnectionError as error:
            raise DirectoryUnavailable(str(error)) from error

    def _key(self, kind: str, name: str) -> bytes:
        return f"{self._prefix}{kind}{name}".encode()

    def _task_key(self, page: bytes) -> bytes:
        return self._key("task:", "") + page


def _task_of(page: bytes) -> str:
    return page.rpartition(b"/")[0].decode(errors="replace")


def _number_of(page: bytes) -> int:
    number = page.rpartition(b"/")[2]
    return int(number) if number.isdigit() and len(number) <= LONGEST_NUMBER else 0


def _rows(people: Iterable[Attendee]) -> bytes:
    rows = [
        (
            each.person.subject,
            each.person.name,
            str(each.person.role),
            each.status.value,
            each.devices,
            each.since,
            each.seated_at,
        )
        for each in people
    ]
    return orjson.dumps((_VERSION, rows))


def _attendees(content: bytes) -> list[Attendee]:
    """What another task wrote; nobody, when it is of another version or nobody's."""
    try:
        version, rows = orjson.loads(content)
        return [_attendee(*row) for row in rows] if version == _VERSION else []
    except (ValueError, TypeError):
        return []


def _attendee(
    subject: object, name: object, role: object, status: str, devices: int, since: float, seated_at: float
) -> Attendee:
    person = Person(str(subject), str(name), str(role))
    return Attendee(person, Status(status), int(devices), float(since), float(seated_at))


def _strings(content: bytes) -> list[str]:
    try:
        found = orjson.loads(content)
    except ValueError:
        return []
    return [each for each in found if isinstance(each, str)] if isinstance(found, list) else []
