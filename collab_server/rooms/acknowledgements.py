"""Who hears when what it sent is durable: acknowledgements, one for each update received, after its commit.

An acknowledgement rests on the recorder alone: it leaves when the journal's transaction has returned, in the order in
which the updates came, and never from memory. What was set aside (it has a gap, its sender may not write, the journal
is full) is not acknowledged until the sender's next answer to a sync request, which carries it too. One
`Acknowledgements` a process, called by rooms; one `Acks` a member that asked.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from enum import Enum

import structlog

from collab_server.errors import Close, Refused
from collab_server.rooms.outbox import Outbox
from collab_server.update_reading import NO_UPDATE
from collab_server.wire.dialect import Dialect
from collab_server.wire.frame import binary_frame
from collab_server.wire.messages import Durable
from persistence.recorder import Recorder

log = structlog.get_logger(__name__)

# While PostgreSQL is away, updates that bring nothing new are not recorded, so the recorder's bound does not hold them.
MOST_REPEATS = 1_000


class Acknowledge(Enum):
    """How a client asked to be told: not at all, by its own update coming back, or by the count of durable ones."""

    NOTHING = "nothing"
    ECHO = "echo"
    COUNT = "count"


class Acks:
    """What one member is still owed, and the frames that pay it."""

    __slots__ = (
        "_dialect",
        "_outbox",
        "durable",
        "echoes",
        "ended",
        "is_new",
        "pending",
        "repeats",
        "set_aside",
        "ticket",
        "withheld",
    )

    def __init__(self, how: Acknowledge, dialect: Dialect, outbox: Outbox) -> None:
        self.echoes = how is Acknowledge.ECHO
        self._dialect = dialect
        self._outbox = outbox
        self.is_new = self.echoes  # until it has said which client id is its own
        self.durable = 0  # messages of this connection
        self.pending = 0
        self.repeats = 0
        self.set_aside = 0
        self.ticket = 0  # of the newest update this member brought
        self.withheld = 0  # updates of others that wait for this member's own commit, and all that came behind them
        self.ended = False

    def release(self, updates: list[bytes], messages: int) -> None:
        """These updates, which end so many messages, are durable."""
        if self.ended:
            return
        if self.echoes:
            encode = self._dialect.encode_update
            if frames := [binary_frame(encode(update)) for update in updates if update != NO_UPDATE]:
                self._outbox.send(b"".join(frames))
        elif messages:
            self.durable += messages
            self._outbox.send(binary_frame(self._dialect.encode(Durable(self.durable))))


class Acknowledgements:
    """Waits for commits on behalf of all members of this process. Never waits itself."""

    def __init__(self, recorder: Recorder) -> None:
        self._recorder = recorder
        self._owed: deque[tuple[int, Acks, bytes, int]] = deque()
        self._later: deque[tuple[int, Callable[[], None]]] = deque()
        recorder.add_listener(self._committed)

    @property
    def durable(self) -> int:
        """Every ticket up to this one is committed."""
        return self._recorder.durable

    def owe(self, acks: Acks, ticket: int, update: bytes, *, messages: int = 1, is_answer: bool = False) -> None:
        """Acknowledge `update` of a member when `ticket` is durable: that of its own entry in the journal, or of the
        newest one of its room when all in it was known already.

        `messages` is how many messages end with it: 0 for the pieces of a big one but the last, which is empty.
        Counting stops at what was set aside until an answer comes (`is_answer`). Raises `Refused` when too many
        repeats wait.
        """
        if is_answer:
            messages, acks.set_aside = messages + acks.set_aside, 0
        elif acks.set_aside and messages:
            acks.set_aside += messages
            messages = 0
        if ticket > acks.ticket:
            acks.ticket = ticket
        elif acks.pending:
            acks.repeats += 1
            if acks.repeats > MOST_REPEATS:
                raise Refused(Close.JOURNAL_FULL)
        if ticket <= self._recorder.durable and not acks.pending:
            acks.release([update], messages)
            return
        acks.pending += 1
        self._owed.append((max(ticket, self._owed[-1][0]) if self._owed else ticket, acks, update, messages))

    def when_durable(self, ticket: int, act: Callable[[], None]) -> None:
        """Call `act` once `ticket` is durable, at once if it is; in the order of the calls."""
        if ticket <= self._recorder.durable and not self._later:
            act()
        else:
            self._later.append((max(ticket, self._later[-1][0]) if self._later else ticket, act))

    def _committed(self, durable: int) -> None:
        owed = self._owed
        released: dict[Acks, tuple[list[bytes], int]] = {}
        while owed and owed[0][0] <= durable:
            _ticket, acks, update, messages = owed.popleft()
            updates, ended = released.get(acks, ([], 0))
            updates.append(update)
            released[acks] = updates, ended + messages
        for acks, (updates, messages) in released.items():
            acks.pending -= len(updates)
            acks.repeats = 0
            _guarded(lambda acks=acks, updates=updates, messages=messages: acks.release(updates, messages))  # type: ignore[misc]
        while self._later and self._later[0][0] <= durable:
            _guarded(self._later.popleft()[1])


def _guarded(act: Callable[[], None]) -> None:
    """One member's failure must not keep the others waiting."""
    try:
        act()
    except Exception:
        log.exception("acknowledgement_failed")
