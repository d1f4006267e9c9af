"""The program that takes the figures runs from end to end and says what it should; no time is looked at."""

from __future__ import annotations

import json
import os
import re
import socket
import subprocess
import sys
import threading
import xml.etree.ElementTree as ET
from contextlib import closing, suppress
from pathlib import Path

import pytest
from bench import __main__ as program
from bench import client, durable, endtoend, measure, tables
from bench.held import key
from bench.measure import QUICK, Curve, Row
from bench.picture import picture
from bench.shells import Race
from bench.wire import Wsgi, WsgiNoOp, wsgi_app

from locklib.core import rules
from locklib.core.model import Query

ROOT = Path(__file__).parents[1]
LINE = re.compile(r"\| (P\d+) \| (.+) \| ([\d.]+) (x|B|ms|us) \| (?:[<>]= ([\d.]+) (?:x|B|ms))? ?\| (met|not met)? ?\|")


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


@pytest.mark.parametrize("figure", ["P1", "P2", "P3", "P4", "P5", "P6", "P7", "P8", "P11", "P12", "P13", "P14", "P15"])
def test_every_figure_has_a_row_with_a_value_and_a_target(quick: tuple, figure: str) -> None:
    rows = [row for row in quick[0] if row[1] == figure]
    assert rows
    assert any(row[5] for row in rows)
    assert all(float(row[3]) >= 0 for row in rows)


@pytest.mark.parametrize("server", ["uvicorn", "gunicorn", "waitress"])
def test_every_server_is_measured_with_both_stores(quick: tuple, server: str) -> None:
    of_it = [row[2] for row in quick[0] if row[1] == "P13" and row[2].startswith(server)]
    for what in ("CPU of a PUT, store memory", "CPU of a PUT, store sqlite", "requests a second"):
        assert any(what in told for told in of_it), what


def test_both_shells_are_measured(quick: tuple) -> None:
    for figure in ("P1", "P2", "P3", "P4", "P15"):
        shells = {row[2].split(",")[0] for row in quick[0] if row[1] == figure}
        assert shells >= {"ASGI", "WSGI"}, figure


def test_the_json_holds_the_rows_of_the_table_and_the_machine(quick: tuple) -> None:
    rows, figures, _ = quick
    assert [row["figure"] for row in figures["rows"]] == [row[1] for row in rows]
    assert [row["verdict"] for row in figures["rows"]] == [row[6] or "" for row in rows]
    assert figures["machine"]["python"] == ".".join(map(str, sys.version_info[:3]))


@pytest.mark.parametrize(
    ("name", "sizes"), [("requests", QUICK.sizes), ("table", QUICK.sizes), ("durable", QUICK.files)]
)
def test_the_curves_are_drawn_beside_the_json_of_a_quick_run(quick: tuple, name: str, sizes: tuple[int, ...]) -> None:
    _, figures, folder = quick
    svg = ET.fromstring((folder / f"bench-{name}.svg").read_text())
    lines = svg.findall("{http://www.w3.org/2000/svg}polyline")
    its = [curve for curve in figures["curves"] if curve["picture"] == name]
    assert len(lines) == len(its) > 1
    for curve in its:
        assert [size for size, _ in curve["points"]] == list(sizes)


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


@pytest.mark.parametrize(("value", "verdict"), [(0.95, "met"), (0.9, "met"), (0.89, "not met")])
def test_a_target_that_is_to_be_reached_is_shown_as_such(value: float, verdict: str) -> None:
    row = Row("P13", "requests a second", value, 0.9, least=True)
    assert row.verdict == verdict
    assert program.table([row]).splitlines()[2].endswith(f"| >= 0.90 x | {verdict} |")


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


class Serving:
    """A server that answers with what it is given, so many times on one connection, and counts both."""

    def __init__(self, answer: bytes, each: int) -> None:
        self.answer, self.each = answer, each
        self.requests = self.connections = 0
        self.socket = socket.create_server(("127.0.0.1", 0))
        self.port = self.socket.getsockname()[1]
        self.thread = threading.Thread(target=self.serve)

    def serve(self) -> None:
        with suppress(OSError):
            while True:
                connection, _ = self.socket.accept()
                self.connections += 1
                with connection:
                    for _ in range(self.each):
                        if not connection.recv(65_536).startswith(b"PUT /a HTTP/1.1\r\n"):
                            break
                        self.requests += 1
                        connection.sendall(self.answer)

    def __enter__(self) -> Serving:
        self.thread.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self.socket.shutdown(socket.SHUT_RDWR)
        self.socket.close()
        self.thread.join(5)


@pytest.fixture
def one_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client, "AT_ONCE", 1)


@pytest.mark.usefixtures("one_at_a_time")
@pytest.mark.parametrize(
    ("field", "each", "connections"), [(b"", 9, 1), (b"Connection: close\r\n", 1, 5)], ids=["kept", "closed by it"]
)
def test_the_client_keeps_a_connection_as_long_as_the_server_does(field: bytes, each: int, connections: int) -> None:
    answer = b"HTTP/1.1 200 OK\r\n" + field + b"Content-Length: 2\r\n\r\nok"
    with Serving(answer, each) as server:
        assert client.load(server.port, "PUT", "/a", 5) == b"ok"
    assert (server.requests, server.connections) == (5, connections)


@pytest.mark.usefixtures("one_at_a_time")
def test_the_client_counts_no_other_answer_than_a_200() -> None:
    with (
        Serving(b"HTTP/1.1 423 Locked\r\nContent-Length: 0\r\n\r\n", 1) as server,
        pytest.raises(RuntimeError, match=r"the answer is .*423 Locked.*, not a 200"),
    ):
        client.load(server.port, "PUT", "/a", 1)


def test_a_server_that_does_not_start_is_named_with_what_it_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(endtoend, "SERVERS", {"uvicorn": ("uvicorn", "bench.served:nothing", "--port={port}")})
    with pytest.raises(RuntimeError, match=r"(?s)uvicorn does not answer: .*nothing"):
        endtoend.servers(QUICK)


def test_a_file_of_locks_holds_as_many_as_it_says(tmp_path: Path) -> None:
    with closing(durable.filled(tmp_path / "locks.db", 30, scattered=True)) as store:
        held = store.transact(*rules.listing(Query(trees=("/held",)))).answer
    assert sorted(lock.lock.key for lock in held) == sorted(map(key, range(30)))
    assert len({lock.lock.token for lock in held}) == 30


def test_memory_is_weighed_with_the_locks_still_held() -> None:
    assert tables.weigh_traced(200) > 200


def test_a_curve_that_is_flat_can_be_drawn() -> None:
    flat = Curve("requests", "a < b", ((10, 1.0), (100, 1.0)))
    assert "a &lt; b" in picture("flat", "times", [flat])


def test_the_table_is_markdown_and_shows_notes() -> None:
    assert program.table([Row("P12", "hostile", 2.0, 2.5, note="blanks")]).splitlines()[2] == (
        "| P12 | hostile (blanks) | 2.00 x | <= 2.50 x | met |"
    )
