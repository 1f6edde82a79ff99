"""The gate of a task to the bus: seals what goes out, and lets in what other tasks sealed, once.

A parcel that was heard before, that was recorded earlier, or that is for another channel than the one it came on is
refused and counted; the doubles of a publisher that did not learn how its sending ended are counted apart. A parcel may
be overtaken by `WINDOW` later ones of its origin (F09). What is refused for being late the rooms make good by
exchanging states. Speaks the newest version that every living neighbour reads. Must never keep more than a bounded
memory of strangers. Owned by a bus adapter.
"""

from __future__ import annotations

import secrets
from array import array
from collections import defaultdict
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, field
from uuid import UUID

import structlog

from collab_server.bus import Envelope, EnvelopeKind
from collab_server.envelopes import (
    BOOT_BYTES,
    FIRST_VERSION,
    SPEAKS,
    VERSION,
    MalformedEnvelope,
    Parcel,
    Stamp,
    decode,
    encode,
    encode_first,
)
from collab_server.telemetry import Tally

log = structlog.get_logger(__name__)

TOLERANCE_MS = 60_000
"""Age, and lead, of a parcel that is still heard. All tasks stamp with one clock, the bus's own: this is for delays."""

DOUBLED_WITHIN_MS = 10_000
"""A second copy of a parcel this young is the publisher's own, sent again after a broken connection."""

WINDOW = 4_096
"""Parcels of one origin of which it is known whether they were heard: a second at full load. Older ones are refused."""

MOST_ORIGINS = 256
"""Lives of tasks whose windows are kept, 16 KiB each; the one silent for longest makes place."""


@dataclass(frozen=True, slots=True)
class BusTallies:
    """What a bus counts: refused foreign messages by reason, and doubles of honest ones."""

    refused: dict[str, Tally] = field(default_factory=lambda: defaultdict(Tally))
    doubled: Tally = field(default_factory=Tally)


class Window:
    """Which of the last `WINDOW` numbers of one boot were heard."""

    __slots__ = ("_heard", "_highest")

    def __init__(self) -> None:
        self._heard = array("Q", bytes(8 * WINDOW))
        self._highest = 0

    def knows(self, sequence: int) -> bool:
        """Whether `sequence` was heard."""
        return self._heard[sequence % WINDOW] == sequence

    def take(self, sequence: int) -> bool:
        """Note `sequence` as heard; False when it was before, or is too old to tell."""
        place = sequence % WINDOW
        if sequence <= self._highest - WINDOW or self._heard[place] == sequence:
            return False
        self._heard[place] = sequence
        self._highest = max(self._highest, sequence)
        return True


class Gate:
    """See the module. `now_ms` is the bus's clock, 0 while it is not known; `keys`: the first signs, all verify."""

    def __init__(
        self, task_id: str, now_ms: Callable[[], int], keys: Sequence[bytes] = (), tallies: BusTallies | None = None
    ) -> None:
        self.versions: Callable[[], Collection[int]] = lambda: SPEAKS
        self.malformed = 0
        self._task_id = task_id
        self._now_ms = now_ms
        self._keys = tuple(keys)
        self._tallies = tallies or BusTallies()
        self._boot = secrets.token_bytes(BOOT_BYTES)
        self._sequence = 0
        self._windows: dict[tuple[str, bytes], Window] = {}  # the one heard last comes last

    # Out

    def seal(self, envelopes: Sequence[Envelope]) -> Iterator[tuple[bytes, list[Envelope]]]:
        """Messages for the bus with the envelopes in each: one a document, or one an envelope in version 1."""
        key = self._keys[0] if self._keys else None
        if not self._speaks_newest():
            for envelope in envelopes:
                yield encode_first(envelope, key), [envelope]
            return
        if len(envelopes) == 1:
            yield encode(envelopes, self._stamp(), key), list(envelopes)
            return
        parcels: dict[tuple[UUID | None, int | None], list[Envelope]] = {}
        for envelope in envelopes:
            parcels.setdefault((envelope.document_id, envelope.epoch), []).append(envelope)
        for parcel in parcels.values():
            yield encode(parcel, self._stamp(), key), parcel

    def _stamp(self) -> Stamp:
        self._sequence += 1
        return Stamp(self._boot, self._sequence, self._now_ms())

    def _speaks_newest(self) -> bool:
        versions = self.versions()
        return VERSION in versions or FIRST_VERSION not in versions

    # In

    def admit(self, wire: bytes, *channel: UUID | None) -> Parcel | None:
        """The envelopes in `wire`; None when it is refused, which is counted. `channel` is whose it came on."""
        try:
            parcel = decode(wire, self._keys, *channel)
            if channel and parcel.document_id != channel[0]:
                raise MalformedEnvelope("channel")  # one room's envelope published into another's channel (T21)
            if parcel.stamp is None:
                self._check_first_version(parcel)
            elif not self._is_news(parcel.stamp, parcel.origin):
                return None
        except MalformedEnvelope as refused:
            self.refuse(refused.reason)
            return None
        for _ in range(parcel.unknown):
            self.refuse("kind")
        return parcel

    def refuse(self, reason: str) -> None:
        """Count something foreign that was dropped."""
        self.malformed += 1
        self._tallies.refused[reason].inc()
        log.debug("bus_envelope_refused", reason=reason)

    def _check_first_version(self, parcel: Parcel) -> None:
        """Nothing guards version 1 against replay, so rooms hear it only while somebody lives who speaks nothing newer.

        The control channel always does, or nobody would learn of that task; acts on words bear doubles.
        """
        if parcel.envelopes[0].kind is not EnvelopeKind.CONTROL and self._speaks_newest():
            raise MalformedEnvelope("version")

    def _is_news(self, stamp: Stamp, origin: str) -> bool:
        """Whether this parcel comes for the first time. Raises MalformedEnvelope when it is a replay or stale."""
        now_ms = self._now_ms()
        age_ms = now_ms - stamp.sent_at_ms if now_ms and stamp.sent_at_ms else 0
        name = (origin, stamp.boot)
        window = self._windows.get(name) or Window()
        if not -TOLERANCE_MS <= age_ms <= TOLERANCE_MS:
            raise MalformedEnvelope("replayed" if window.knows(stamp.sequence) else "stale")
        self._windows.pop(name, None)  # not before it is heard, or an old recording would clear what was heard since
        while len(self._windows) >= MOST_ORIGINS:
            del self._windows[next(iter(self._windows))]
        self._windows[name] = window
        if window.take(stamp.sequence):
            return True
        if age_ms <= DOUBLED_WITHIN_MS and window.knows(stamp.sequence):
            self._tallies.doubled.inc()
            return False
        raise MalformedEnvelope("replayed")


class Gated:
    """What a bus adapter tells of its gate, which it makes itself."""

    _gate: Gate

    @property
    def malformed(self) -> int:
        """Foreign messages that were refused."""
        return self._gate.malformed

    @property
    def versions(self) -> Callable[[], Collection[int]]:
        """The versions that every living neighbour reads."""
        return self._gate.versions

    @versions.setter
    def versions(self, versions: Callable[[], Collection[int]]) -> None:
        self._gate.versions = versions
