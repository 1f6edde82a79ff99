"""The load scenarios of scenarios.toml, checked when read.

Never touches the network or the clock. Called by run.py (how long, how many, which limits) and by locustfile.py (who
sits where and how fast they type).
"""

import tomllib
from dataclasses import dataclass, fields
from pathlib import Path

from loadtests.thresholds import Thresholds

SCENARIOS = Path(__file__).with_name("scenarios.toml")


class ScenarioRefused(Exception):
    """There is no such scenario, or its numbers make no sense; the message is for the person who typed it."""


@dataclass(frozen=True, slots=True)
class Scenario:
    """`keystrokes_per_s` and `cursor_moves_per_s` are of one user; `thresholds` are of all of them together."""

    users: int
    members_per_room: int
    spawn_per_s: float
    duration_s: float
    keystrokes_per_s: float
    cursor_moves_per_s: float
    thresholds: Thresholds

    def __post_init__(self) -> None:
        if self.members_per_room < 2:
            raise ScenarioRefused("members_per_room must be at least 2: somebody has to see what another writes")
        if self.users < 1 or self.users % self.members_per_room:
            raise ScenarioRefused(f"users ({self.users}) must be a multiple of members_per_room")
        if min(self.spawn_per_s, self.duration_s, self.keystrokes_per_s) <= 0 or self.cursor_moves_per_s < 0:
            raise ScenarioRefused("spawn_per_s, duration_s and keystrokes_per_s must be above 0")
        if self.spawn_s >= self.duration_s:
            raise ScenarioRefused(f"spawning takes {self.spawn_s:.0f} s, all of duration_s: nobody would have typed")

    @property
    def spawn_s(self) -> float:
        """Seconds until the last user has come."""
        return self.users / self.spawn_per_s


def load_scenario(name: str, path: Path = SCENARIOS) -> Scenario:
    """The scenario called `name`. Raises ScenarioRefused."""
    tables = tomllib.loads(path.read_text())
    if name not in tables:
        raise ScenarioRefused(f"no scenario {name!r} in {path.name}; there are: {', '.join(tables)}")
    table = tables[name]
    limits = {field.name for field in fields(Thresholds)}
    expected = {field.name for field in fields(Scenario)} - {"thresholds"} | limits
    if table.keys() != expected:
        raise ScenarioRefused(f"scenario {name!r}: missing or unknown {', '.join(sorted(table.keys() ^ expected))}")
    thresholds = Thresholds(**{key: table.pop(key) for key in sorted(limits)})
    return Scenario(thresholds=thresholds, **table)
