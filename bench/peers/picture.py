"""A bar chart of the medians as SVG, written by hand: one group a scenario, one bar a server, shorter is better.

Scenarios have different units, so the bars of a group are scaled to its longest. Pure but for the write. Called by
`__main__`.
"""

from __future__ import annotations

from collections.abc import Sequence
from xml.sax.saxutils import escape

from bench.peers.measured import Measured
from bench.peers.plans import SCENARIOS
from bench.peers.report import FIGURES, compared

WIDTH, LABEL, BAR, GAP, HEAD = 860, 150, 18, 4, 30
COLOURS = ("#2563eb", "#94a3b8", "#a8a29e", "#cbd5e1")
FONT = "font-family='system-ui, sans-serif' font-size='12'"


def svg(medians: Sequence[Measured]) -> str:
    """The chart."""
    parts: list[str] = []
    top = 10
    servers = list(dict.fromkeys(row.server for row in medians))
    for letter in dict.fromkeys(row.scenario for row in medians):
        rows = [row for row in medians if row.scenario == letter]
        parts += _group(letter, rows, servers, top)
        top += HEAD + len(rows) * (BAR + GAP) + 14
    head = f"<svg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 {WIDTH} {top}' {FONT} role='img'>"
    return "\n".join([head, f"<rect width='{WIDTH}' height='{top}' fill='#fff'/>", *parts, "</svg>"]) + "\n"


def _group(letter: str, rows: Sequence[Measured], servers: Sequence[str], top: int) -> list[str]:
    name = compared(rows[0])
    unit, shape = FIGURES[name]
    title = escape(f"{letter} · {SCENARIOS[letter].title} · {unit}")
    parts = [f"<text x='10' y='{top + 16}' font-weight='600'>{title}</text>"]
    values = [float(getattr(row, name) or 0.0) for row in rows]
    scale = (WIDTH - LABEL - 90) / (max(values) or 1.0)
    for number, (row, value) in enumerate(zip(rows, values, strict=True)):
        y = top + HEAD + number * (BAR + GAP)
        colour = COLOURS[servers.index(row.server) % len(COLOURS)]
        parts += [
            f"<text x='{LABEL - 8}' y='{y + 13}' text-anchor='end'>{escape(row.server)}</text>",
            f"<rect x='{LABEL}' y='{y}' width='{max(value * scale, 1):.1f}' height='{BAR}' fill='{colour}'/>",
            f"<text x='{LABEL + max(value * scale, 1) + 6:.1f}' y='{y + 13}'>{value:{shape}}</text>",
        ]
    return parts
