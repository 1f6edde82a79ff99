"""The committed cost of each step, and how a run compares with it.

Machines and hours differ by more than most changes do, so a step is compared after both runs are divided by the same
fixed piece of work, measured beside them. Called by `__main__`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

BASELINE = Path(__file__).with_name("baseline.json")
WORTH_A_LOOK = 1.25
"""A ratio above this is marked: below, it is most often the machine."""


@dataclass(frozen=True, slots=True)
class Baseline:
    """What the steps cost in one run."""

    machine: str
    calibration_us: float
    steps_us: Mapping[str, float]

    def save(self, path: Path = BASELINE) -> None:
        """Write it where `load` finds it."""
        content = asdict(self) | {"steps_us": {name: round(cost, 3) for name, cost in self.steps_us.items()}}
        content["calibration_us"] = round(self.calibration_us, 4)
        path.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n")

    @classmethod
    def load(cls, path: Path = BASELINE) -> Baseline | None:
        """The committed run; `None` where there is none."""
        return cls(**json.loads(path.read_text())) if path.exists() else None

    def hour(self, now: Baseline) -> float:
        """How much slower the machine is in `now` than it was here: 1 is the same."""
        return now.calibration_us / self.calibration_us

    def ratio(self, step: str, now: Baseline) -> float | None:
        """How much more `step` costs in `now`, the machine's speed taken out; `None` for a step that is new."""
        before = self.steps_us.get(step)
        return now.steps_us[step] / before / self.hour(now) if before else None
