"""What one run gave, and the median of several. Pure. Called by `load`, `report` and `picture`."""

from __future__ import annotations

import statistics
from collections.abc import Iterable
from dataclasses import asdict, dataclass, fields
from typing import Any

DISTURBED = 0.15
"""Above this share of a core used by others the figures are theirs too."""

KEEPS_UP = 0.9
"""A server that delivers less than this share of what is sent has fallen behind: its latencies are of a queue."""

GENERATOR_LIMIT = 0.85
"""Above this share of its core the generator may be what is measured."""

SATURATED = 0.9
"""A server that uses this much of its core has no more to give: its latencies are those of a queue."""


@dataclass(frozen=True, slots=True)
class Measured:
    """One run of one scenario against one server. `None` where a scenario does not have the figure."""

    scenario: str
    server: str
    cpu_us_delivery: float | None = None
    cpu_us_update: float | None = None
    p50_ms: float | None = None
    p95_ms: float | None = None
    p99_ms: float | None = None
    delivered_share: float | None = None  # of what was sent in the measured time, what reached probes in that time
    frames_per_delivery: float | None = None  # below 1: several edits came in one frame; above: the sender's echo
    unseen_share: float | None = None  # of what was sent in the measured time, what no wait made arrive
    server_share: float = 0.0  # of its core
    beside_share: float = 0.0  # of a core: PostgreSQL and checkpoint workers
    generator_share: float = 0.0  # of its core
    others_on_server_core: float = 0.0  # of that core, whatever is neither ours nor the peer's
    others_on_generator_core: float = 0.0
    late_p99_ms: float = 0.0  # how late the generator sent
    rss_mb: float = 0.0
    rss_kb_connection: float | None = None
    connects_per_s: float | None = None
    idle_cpu_us_connection_s: float | None = None
    join_cpu_ms: float | None = None
    join_p50_ms: float | None = None
    join_p99_ms: float | None = None
    stall_same_room_ms: float | None = None
    stall_other_room_ms: float | None = None
    lost: float = 0  # connections that the server ended

    @property
    def is_generator_bound(self) -> bool:
        """Whether the figures must not be read as the server's."""
        return self.generator_share >= GENERATOR_LIMIT

    def figures(self) -> dict[str, float | int | str | None]:
        """As JSON has it."""
        return asdict(self)


def median(runs: Iterable[Measured]) -> Measured:
    """The median of each figure over runs of one scenario against one server."""
    several = list(runs)
    first = several[0]
    middle: dict[str, Any] = {}
    for field in fields(Measured):
        if field.name not in {"scenario", "server"}:
            values = [value for run in several if (value := getattr(run, field.name)) is not None]
            middle[field.name] = statistics.median(values) if values else None
    return Measured(first.scenario, first.server, **middle)
