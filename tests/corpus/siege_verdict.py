"""What a siege found, and whether the server held. Pure. Filled by `siege`."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

MOST_GROWTH_MB = 24.0
KNOWN = ("edits moved: ", "(key)")  # what forgeries still do in one room of twenty: docs/guarantees.md, not promised


@dataclass(slots=True)
class Verdict:
    """What a siege found. `resident_mb` is the server's memory with no room open: before it, and after each wave.

    A room is `poisoned` when honest edits do not arrive, are lost, doubled or in another order, when copies are not
    equally far, or when it cannot be opened. `differing` counts, by kind, rooms where only what attackers wrote does
    not look the same to everyone.
    """

    sent: Counter[str] = field(default_factory=Counter)
    fates: Counter[str] = field(default_factory=Counter)
    closes: Counter[int] = field(default_factory=Counter)
    refused: dict[str, int] = field(default_factory=dict)
    rebuilds: dict[str, int] = field(default_factory=dict)
    rooms: int = 0
    edits: int = 0
    reloads: int = 0
    poisoned: dict[str, str] = field(default_factory=dict)
    differing: Counter[str] = field(default_factory=Counter)
    deaths: int = 0
    resident_mb: list[float] = field(default_factory=list)

    @property
    def growth_mb(self) -> float:
        """Of the last three quarters: before that allocators and caches warm up."""
        later = self.resident_mb[len(self.resident_mb) // 4 :]
        return later[-1] - later[0] if later else 0.0

    @property
    def holds(self) -> bool:
        """Whether the server kept its promise."""
        return not self.deaths and not self.poisoned and self.growth_mb <= MOST_GROWTH_MB

    @property
    def news(self) -> dict[str, str]:
        """Poisoned rooms but those where forgeries did what is known of them."""
        return {
            room: why
            for room, why in self.poisoned.items()
            if not (room.startswith("forged") and any(known in why for known in KNOWN))
        }

    def __str__(self) -> str:
        lines = {
            "sent": dict(self.sent),
            "fates": dict(sorted(self.fates.items())),
            "refused": dict(sorted(self.refused.items(), key=lambda item: -item[1])),
            "closes": dict(sorted(self.closes.items())),
            "copies rebuilt": self.rebuilds,
            "honest edits": f"{self.edits} in {self.rooms} rooms",
            "MB": " ".join(f"{mb:.0f}" for mb in self.resident_mb),
            "growth MB": f"{self.growth_mb:.1f} (at most {MOST_GROWTH_MB:.0f})",
            "pycrdt reloaded": f"{self.reloads} times (docs/guarantees.md)",
            "hostile text": f"differs between copies in {dict(self.differing) or 0} rooms (docs/guarantees.md)",
            "process deaths": self.deaths,
            "rooms poisoned": self.poisoned or 0,
        }
        return "\n".join(f"{name:>15}: {value}" for name, value in lines.items())
