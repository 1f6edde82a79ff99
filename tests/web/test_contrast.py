"""The colours in styles.css, checked against WCAG 2.2 AA: 4.5:1 for text, 3:1 for edges of controls."""

import re
from pathlib import Path

import pytest

STYLES = (Path(__file__).parents[2] / "web" / "src" / "styles.css").read_text()
TEXT = 4.5
CONTROL = 3.0


def theme(name: str) -> dict[str, str]:
    block = STYLES.split(f':root[data-theme="{name}"]', 1)[1].split("}", 1)[0]
    colours = dict(re.findall(r"--([\w-]+): (#[0-9a-f]{3,6});", block))
    return {
        key: value if len(value) == 7 else "#" + "".join(c * 2 for c in value[1:]) for key, value in colours.items()
    }


def luminance(colour: str) -> float:
    channels = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(one: str, other: str) -> float:
    lighter, darker = sorted((luminance(one), luminance(other)), reverse=True)
    return (lighter + 0.05) / (darker + 0.05)


PAIRS = [
    *((text, ground, TEXT) for text in ("ink", "soft") for ground in ("paper", "raised", "hover", "selection")),
    *((text, "paper", TEXT) for text in ("faint", "accent", "warn", "bad")),
    ("good", "hover", TEXT),
    ("on-accent", "accent", TEXT),
    *(("on-tone", f"t{tone}", TEXT) for tone in range(8)),
    *((f"t{tone}", ground, TEXT) for tone in range(8) for ground in ("paper", "raised")),  # a viewer's initials
    ("edge", "paper", CONTROL),
    ("edge", "raised", CONTROL),
]


@pytest.mark.parametrize("name", ["light", "dark"])
def test_every_pair_of_colours_can_be_read(name: str) -> None:
    colours = theme(name)
    ratios = {(text, ground): contrast(colours[text], colours[ground]) for text, ground, _ in PAIRS}
    assert {pair: round(ratios[pair[:2]], 2) for pair in PAIRS if ratios[pair[:2]] < pair[2]} == {}
