"""Whether one client can hurt the others: a reader that stops reading, and one that floods. `python -m bench.fairness`.

What is printed is judged by the bars below; a flood's are of one machine, whose noise is in both halves of a ratio.
"""

from __future__ import annotations

import argparse
import statistics
from collections.abc import Sequence

import uvloop
from rich.console import Console
from rich.table import Table

from bench import flood, stalled
from bench.flood import Flood
from bench.own import make_ready, own_server, pin_apart
from bench.stalled import Stalled

RSS_BAR_MB = 2.0
P99_BAR = 2.0
CLOSED, REFUSED = "4529", "429"


def show_stalled(console: Console, stall_s: float, pairs: Sequence[tuple[Stalled, Stalled]]) -> None:
    """Print each pair of passes, and what the stalled reader added."""
    title = f"{stalled.WRITERS} writers, {stalled.READERS} readers; one more reader reads nothing for {stall_s:g} s"
    table = Table("run", "stalled reader", "RSS growth MiB", "p50 ms", "p99 ms", "unsent MiB", title=title)
    for number, pair in enumerate(pairs, 1):
        for name, one in zip(("no", "yes"), pair, strict=True):
            figures = (f"{one.rss_growth_mb:.1f}", f"{one.p50_ms:.1f}", f"{one.p99_ms:.1f}", f"{one.unsent_mb:.2f}")
            table.add_row(str(number), name, *figures)
    console.print(table)
    table = Table("run", "fell behind", "catch-ups", "backlog frames", "diffs", "KiB", "level after s", "news frames")
    for number, (_without, one) in enumerate(pairs, 1):
        counts = (one.fell_behind, one.catch_ups, one.backlog_frames, one.diffs, one.diff_bytes // 1024)
        table.add_row(str(number), *map(str, counts), f"{one.level_after_s:.2f}", str(one.news_frames))
    console.print(table)
    added = statistics.median(one.rss_growth_mb - without.rss_growth_mb for without, one in pairs)
    slower = statistics.median(one.p99_ms / without.p99_ms for without, one in pairs)
    level = all(one.is_level and one.diffs == 1 for _without, one in pairs)
    console.print(f"RSS because of it {added:+.1f} MiB, bar {RSS_BAR_MB:g}: {_verdict(added <= RSS_BAR_MB)}")
    console.print(f"others' p99 {slower:.2f} times, bar {P99_BAR:g}: {_verdict(slower <= P99_BAR)}")
    console.print(f"brought level by one diff, with the others' text: {_verdict(level)}")
    _tell_lost(console, [reason for pair in pairs for one in pair for reason in one.lost])


def show_floods(console: Console, found: Sequence[Flood]) -> None:
    """Print what each flood did to others."""
    title = f"p99 ms of others, without the flood → with it: {flood.PAIRS} pairs in rooms of their own, one in its room"
    columns = (
        "flood of",
        "other rooms",
        "ratio",
        "same room",
        "ratio",
        "longest lag ms",
        "core",
        "messages",
        "ended with",
    )
    table = Table(*columns, title=title)
    for one in found:
        cells = []
        for name in ("others_ms", "same_room_ms"):
            before, during = getattr(one.before, name), getattr(one.during, name)
            cells += [f"{before:.1f} → {during:.1f}", f"{during / before:.1f}"]
        core = f"{one.before.server_share:.0%} → {one.during.server_share:.0%}"
        closes = ", ".join(f"{code}: {count}" for code, count in one.closes.most_common())
        table.add_row(one.kind, *cells, f"{one.longest_lag_ms:.0f}", core, str(one.taken), closes)
    console.print(table)
    worst = max(one.during.others_ms / one.before.others_ms for one in found)
    console.print(f"others' p99 {worst:.1f} times at worst, bar {P99_BAR:g}: {_verdict(worst <= P99_BAR)}")
    # The last attempt of each is ended by us.
    only = all(one.closes.total() >= one.attempts - 1 and set(one.closes) <= {CLOSED, REFUSED} for one in found)
    ended = all(one.closes[CLOSED] for one in found)
    console.print(f"every flood ended with {CLOSED}, then came {REFUSED}: {_verdict(only and ended)}")


def _verdict(held: bool) -> str:
    return "held" if held else "NOT HELD"


def _tell_lost(console: Console, reasons: Sequence[str]) -> None:
    for reason in reasons:
        console.print(f"lost: {reason}", style="red", markup=False)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="python -m bench.fairness", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--only", choices=("stalled", "flood"), help="one of the two")
    parser.add_argument("--stall", type=float, default=60, help="seconds without reading (%(default)s)")
    parser.add_argument("--runs", type=int, default=1, help="pairs of passes with and without (%(default)s)")
    parser.add_argument("--flood", type=float, default=10, help="seconds of each kind (%(default)s)")
    chosen = parser.parse_args()
    console = Console()
    make_ready()
    if chosen.only != "flood":
        pairs = [stalled.measure_pair(chosen.stall) for _run in range(chosen.runs)]
        show_stalled(console, chosen.stall, pairs)
    if chosen.only != "stalled":
        with own_server() as server:
            pin_apart(server)
            show_floods(console, uvloop.run(flood.measure(server, chosen.flood)))


if __name__ == "__main__":
    main()
