"""The scenarios that ship are sound, and a wrong one says what is wrong."""

import tomllib
from dataclasses import replace
from pathlib import Path

import pytest

from loadtests.scenarios import SCENARIOS, ScenarioRefused, load_scenario

NAMES = tuple(tomllib.loads(SCENARIOS.read_text()))


@pytest.mark.parametrize("name", NAMES)
def test_every_shipped_scenario_loads_and_can_meet_its_own_throughput(name: str) -> None:
    scenario = load_scenario(name)
    assert scenario.thresholds.min_keystrokes_per_s < scenario.users * scenario.keystrokes_per_s


def test_an_unknown_scenario_is_refused_with_the_known_ones() -> None:
    with pytest.raises(ScenarioRefused, match=r"no scenario 'smok' in scenarios\.toml; there are: smoke"):
        load_scenario("smok")


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"users": 5}, "multiple"),
        ({"users": 0}, "multiple"),
        ({"members_per_room": 1}, "at least 2"),
        ({"keystrokes_per_s": 0}, "above 0"),
        ({"duration_s": 1}, "nobody would have typed"),
    ],
)
def test_numbers_that_make_no_sense_are_refused(change: dict[str, float], sentence: str) -> None:
    with pytest.raises(ScenarioRefused, match=sentence):
        replace(load_scenario("smoke"), **change)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("edit", "key"),
    [
        (("users = 4\n", ""), "users"),
        (("users", "user = 1\nusers"), "user"),
        (("error_ratio = 0\n", ""), "error_ratio"),
    ],
)
def test_a_missing_or_misspelt_key_is_named(tmp_path: Path, edit: tuple[str, str], key: str) -> None:
    text = SCENARIOS.read_text()
    start = text.index("[smoke]")
    wrong = tmp_path / "wrong.toml"
    wrong.write_text(text[start:].replace(*edit, 1))
    with pytest.raises(ScenarioRefused, match=f"missing or unknown {key}$"):
        load_scenario("smoke", wrong)
