"""Tables, JSON, the picture, and the comparison with the baseline."""

import json
import re
from pathlib import Path
from xml.etree import ElementTree

import pytest

from bench.baseline import Baseline
from bench.machine import calibration_us, description
from bench.peers.__main__ import options
from bench.peers.dialects import Dialect, Heard, HocuspocusDialect
from bench.peers.measured import Measured, median
from bench.peers.picture import svg
from bench.peers.plans import SCENARIOS, two_tasks
from bench.peers.report import cells, hops, markdown, remarks, write_json

OURS = Measured("a", "ours", cpu_us_delivery=6.0, cpu_us_update=300.0, p50_ms=1.0, generator_share=0.2)
PEER = Measured("a", "hocuspocus", cpu_us_delivery=12.0, cpu_us_update=600.0, p50_ms=2.0, generator_share=0.9)
IDLE = Measured("d", "ours", rss_kb_connection=9.5)


def test_the_median_is_of_each_figure() -> None:
    runs = [Measured("a", "ours", p50_ms=value, p99_ms=100 - value) for value in (1.0, 9.0, 3.0)]
    middle = median(runs)
    assert (middle.p50_ms, middle.p99_ms, middle.cpu_us_delivery) == (3.0, 97.0, None)


def test_the_ratio_is_ours_by_the_peers() -> None:
    assert ["ours/peer, CPU µs/delivery", "", "0.50"] in cells([OURS, PEER])


def test_a_figure_that_no_server_has_is_left_out() -> None:
    assert "RSS KiB/connection" not in [line[0] for line in cells([OURS, PEER])]
    assert "RSS KiB/connection" in [line[0] for line in cells([IDLE])]


def test_figures_that_the_generator_limited_are_marked() -> None:
    assert remarks(OURS) == ""
    assert "generator at its limit" in remarks(PEER)


def test_latencies_of_what_never_came_are_marked_as_lower_bounds() -> None:
    assert "lower bounds" in remarks(Measured("b", "ours", unseen_share=0.3))


def test_a_markdown_table_has_a_cell_for_every_heading() -> None:
    lines = [line for line in markdown(SCENARIOS["a"], [OURS, PEER]).splitlines() if line.startswith("|")]
    assert len({line.count("|") for line in lines}) == 1
    assert lines[0] == "|  | ours | hocuspocus |"


def test_json_holds_every_run_and_the_medians(tmp_path: Path) -> None:
    write_json(tmp_path / "out.json", [OURS, PEER], [OURS])
    content = json.loads((tmp_path / "out.json").read_text())
    assert [run["server"] for run in content["runs"]] == ["ours", "hocuspocus"]
    assert content["medians"][0]["cpu_us_delivery"] == 6.0
    assert content["machine"]


def test_the_picture_is_xml_with_a_bar_for_every_row() -> None:
    tree = ElementTree.fromstring(svg([OURS, PEER, IDLE]))
    bars = [element for element in tree.iter() if element.tag.endswith("rect")]
    assert len(bars) == 1 + 3  # the background
    widths = [float(bar.attrib["width"]) for bar in bars[1:]]
    assert widths[0] == pytest.approx(widths[1] / 2, rel=0.01)


def test_a_slow_hour_is_no_regression() -> None:
    before = Baseline("m", 1.0, {"firewall": 10.0})
    assert before.ratio("firewall", Baseline("m", 2.0, {"firewall": 20.0})) == 1.0
    assert before.ratio("firewall", Baseline("m", 1.0, {"firewall": 20.0})) == 2.0
    assert before.ratio("new", Baseline("m", 1.0, {"new": 20.0})) is None


def test_a_saved_baseline_is_loaded_again(tmp_path: Path) -> None:
    now = Baseline(description(), calibration_us(), {"firewall": 10.0})
    now.save(tmp_path / "baseline.json")
    loaded = Baseline.load(tmp_path / "baseline.json")
    assert loaded is not None
    assert loaded.steps_us == {"firewall": 10.0}
    assert loaded.calibration_us == pytest.approx(now.calibration_us, abs=1e-3)
    assert Baseline.load(tmp_path / "none.json") is None


def test_the_committed_baseline_names_a_machine_and_steps() -> None:
    committed = Baseline.load()
    assert committed is not None
    assert committed.machine
    assert {"decode the message", "firewall", "apply", "encode the frame", "recorder"} <= set(committed.steps_us)
    assert any(re.match("fan-out to ", name) for name in committed.steps_us)


def test_unknown_scenarios_and_servers_are_refused() -> None:
    with pytest.raises(SystemExit):
        options(["--scenario", "z"])
    with pytest.raises(SystemExit):
        options(["--server", "nobody"])
    assert options(["--scenario", "a,c"]).scenario == ["a", "c"]


@pytest.mark.parametrize("dialect", [Dialect(), HocuspocusDialect("a room")])
def test_a_dialect_finds_in_a_message_what_it_put_there(dialect: Dialect) -> None:
    assert dialect.read(dialect.update(b"\x00\x00")) == (Heard.UPDATE, b"\x00\x00")
    assert dialect.read(dialect.awareness(b"\x00")) == (Heard.AWARENESS, b"\x00")
    *_first, question, answer = dialect.opening()
    assert dialect.read(question)[0] is Heard.OTHER
    assert dialect.read(answer) == (Heard.ANSWER, b"\x00\x00")


def test_hocuspocus_is_told_the_document_in_every_message_and_a_token_first() -> None:
    dialect = HocuspocusDialect("room")
    assert all(message.startswith(b"\x04room") for message in [*dialect.opening(), dialect.update(b"")])
    assert dialect.opening()[0][5:7] == b"\x02\x00"


def test_members_of_a_room_are_on_two_tasks_or_on_one() -> None:
    apart, together = (two_tasks(4, 5, 1.0, 1.0, apart=value) for value in (True, False))
    assert list(zip(apart.rooms, apart.tasks, strict=True))[:4] == [
        ("room-0", 0),
        ("room-0", 1),
        ("room-1", 0),
        ("room-1", 1),
    ]
    assert list(zip(together.rooms, together.tasks, strict=True))[:4] == [
        ("room-0", 0),
        ("room-0", 0),
        ("room-1", 1),
        ("room-1", 1),
    ]


def test_the_hop_is_told_of_servers_that_were_measured_with_it_and_without() -> None:
    rows = [
        Measured("i", "ours", p50_ms=7.5),
        Measured("j", "ours", p50_ms=1.0),
        Measured("i", "hocuspocus", p50_ms=9.0),
    ]
    assert hops(rows) == ["ours: the hop between tasks adds 6.5 ms to p50"]
