"""What rooms tell other tasks about the document: only what is committed.

Another task must never hold an edit that a crash of this one could still lose: its members would build on it, and a
client whose state vector covers it would not send it again. So an envelope waits until every update in it is
durable. Awareness needs no such care and goes to the bus directly. Never waits, never drops. One a process, called
by rooms.
"""

from __future__ import annotations

from collections import deque

from collab_server.bus import Bus, Envelope
from persistence.journal import JournalEntry
from persistence.recorder import Recorder


class Publication:
    """Passes envelopes on to `bus` as the recorder's commits return."""

    def __init__(self, bus: Bus, recorder: Recorder) -> None:
        self._bus = bus
        self._recorder = recorder
        self._waiting: deque[tuple[int, Envelope]] = deque()
        self._refused: set[int] = set()
        recorder.add_listener(self._committed)
        recorder.add_refusal_listener(self._will_never_be_committed)

    def publish(self, ticket: int, envelope: Envelope) -> None:
        """Tell the other tasks once the recorder has passed `ticket`, the newest update in `envelope`."""
        if self._bus.is_alone:
            return
        if ticket > self._recorder.durable or self._waiting:
            self._waiting.append((ticket, envelope))
        else:
            self._bus.publish(envelope)

    def has_passed(self, ticket: int) -> bool:
        """Whether what was published with `ticket` is out. What waits is not dropped: who repeats itself asks first."""
        return ticket <= self._recorder.durable

    def _committed(self, durable: int) -> None:
        waiting = self._waiting
        while waiting and waiting[0][0] <= durable:
            ticket, envelope = waiting.popleft()
            if ticket not in self._refused:
                self._bus.publish(envelope)
        self._refused = {ticket for ticket in self._refused if ticket > durable}

    def _will_never_be_committed(self, ticket: int, _entry: JournalEntry, _reason: str) -> None:
        self._refused.add(ticket)
