"""The program that takes the figures runs from end to end and says what it should; no time is looked at."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest
from bench import __main__ as program
from bench import measure, tables
from bench.measure import QUICK, Curve, Row
from bench.picture import picture
from bench.shells import Race
from bench.wire import Wsgi, WsgiNoOp, wsgi_app

ROOT = Path(__file__).parents[1]
LINE = re.compile(r"\| (P\d+) \| (.+) \| ([\d.]+) (x|B|ms|us) \| (?:<= ([\d.]+) (?:x|B|ms))? ?\| (met|not met)? ?\|")


def bench(*arguments: object) -> subprocess.CompletedProcess[str]:
    environ = os.environ | {"PYTHONPATH": str(ROOT / "src")}
    command = [sys.executable, "-m", "bench", *map(str, arguments)]
    return subprocess.run(command, cwd=ROOT, env=environ, capture_output=True, text=True, timeout=120, check=False)


@pytest.fixture(scope="module")
def quick(tmp_path_factory: pytest.TempPathFactory) -> tuple[list[re.Match[str]], dict, Path]:
    """One quick run of everything: the rows it printed, the JSON it wrote, the folder it wrote into."""
    folder = tmp_path_factory.mktemp("bench")
    done = bench("--quick", "--json", folder / "figures.json")
    assert done.returncode == 0, done.stderr
    head, rule, *lines = done.stdout.splitlines()
    assert head == "| figure | what | found | target | |"
    assert set(rule) == {"|", "-"}
    rows = [LINE.fullmatch(line) for line in lines]
    assert all(rows), [line for line, row in zip(lines, rows, strict=True) if row is None]
    return rows, json.loads((folder / "figures.json").read_text()), folder


@pytest.mark.parametrize("figure", ["P1", "P2", "P3", "P4", "P5", "P6", "P7", "P8", "P12", "P14", "P15"])
def test_every_figure_has_a_row_with_a_value_and_a_target(quick: tuple, figure: str) -> None:
    rows = [row for row in quick[0] if row[1] == figure]
    assert rows
    assert any(row[5] for row in rows)
    assert all(float(row[3]) >= 0 for row in rows)


def test_both_shells_are_measured(quick: tuple) -> None:
    for figure in ("P1", "P2", "P3", "P4", "P15"):
        shells = {row[2].split(",")[0] for row in quick[0] if row[1] == figure}
        assert shells == {"ASGI", "WSGI"}, figure


def test_the_json_holds_the_rows_of_the_table_and_the_machine(quick: tuple) -> None:
    rows, figures, _ = quick
    assert [row["figure"] for row in figures["rows"]] == [row[1] for row in rows]
    assert [row["verdict"] for row in figures["rows"]] == [row[6] or "" for row in rows]
    assert figures["machine"]["python"] == ".".join(map(str, sys.version_info[:3]))


@pytest.mark.parametrize("name", ["requests", "table"])
def test_the_curves_are_drawn_beside_the_json_of_a_quick_run(quick: tuple, name: str) -> None:
    _, figures, folder = quick
    svg = ET.fromstring((folder / f"bench-{name}.svg").read_text())
    lines = svg.findall("{http://www.w3.org/2000/svg}polyline")
    its = [curve for curve in figures["curves"] if curve["picture"] == name]
    assert len(lines) == len(its) > 1
    for curve in its:
        assert [size for size, _ in curve["points"]] == list(QUICK.sizes)


def test_names_choose_what_is_measured(tmp_path: Path) -> None:
    done = bench("if", "--quick", "--json", tmp_path / "if.json")
    assert done.returncode == 0, done.stderr
    assert {row["figure"] for row in json.loads((tmp_path / "if.json").read_text())["rows"]} == {"P12"}


def test_an_unknown_name_is_told_with_those_that_are_known() -> None:
    done = bench("iff", "--quick")
    assert done.returncode == 2
    assert "'iff' is unknown; choose from imports, if" in done.stderr


@pytest.mark.parametrize(
    ("value", "target", "verdict"), [(1.0, 1.1, "met"), (1.1, 1.1, "met"), (1.2, 1.1, "not met"), (9.0, None, "")]
)
def test_a_verdict_follows_from_value_and_target(value: float, target: float | None, verdict: str) -> None:
    assert Row("P1", "x", value, target).verdict == verdict


def test_a_ratio_is_taken_round_by_round() -> None:
    """A machine that slows down for a round slows both sides: the median of ratios does not see it."""
    times = {"ours": [2.0, 20.0, 2.0], "theirs": [1.0, 10.0, 1.0]}
    assert measure.ratio(times, "ours", "theirs") == 2.0


def test_each_round_begins_with_another_side() -> None:
    seen: list[str] = []

    def side(name: str) -> measure.Side:
        return lambda: float(seen.append(name) or 1)

    times = measure.race({"a": side("a"), "b": side("b"), "c": side("c")}, 3)
    assert [seen[turn * 3] for turn in range(5)] == ["b", "c", "a", "b", "c"]
    assert {name: len(found) for name, found in times.items()} == {"a": 3, "b": 3, "c": 3}


def test_a_figure_for_another_answer_is_refused() -> None:
    request = Wsgi(1, "PUT", "/a")
    with pytest.raises(RuntimeError, match="the answer is 200, not 423"):
        Race(WsgiNoOp(wsgi_app)).add("423", request, wsgi_app, 423)


def test_memory_is_weighed_with_the_locks_still_held() -> None:
    assert tables.weigh_traced(200) > 200


def test_a_curve_that_is_flat_can_be_drawn() -> None:
    flat = Curve("requests", "a < b", ((10, 1.0), (100, 1.0)))
    assert "a &lt; b" in picture("flat", "times", [flat])


def test_the_table_is_markdown_and_shows_notes() -> None:
    assert program.table([Row("P12", "hostile", 2.0, 2.5, note="blanks")]).splitlines()[2] == (
        "| P12 | hostile (blanks) | 2.00 x | <= 2.50 x | met |"
    )
