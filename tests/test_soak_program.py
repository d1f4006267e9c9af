"""A small dose of the soak runs from end to end, can be checked again, and ends in 1 on a store with a fault."""

from __future__ import annotations

import gzip
import json
import os
import random
import subprocess
import sys
from pathlib import Path

import pytest
from soak import faults
from soak.faults import ALL, Dose, moments
from soak.history import read
from soak.report import checked

from locklib.testing.linearize import Answer, Kind

ROOT = Path(__file__).parents[1]


def soak(*arguments: object) -> subprocess.CompletedProcess[str]:
    environ = os.environ | {"PYTHONPATH": str(ROOT / "src")}
    command = [sys.executable, "-m", "soak", *map(str, arguments)]
    return subprocess.run(command, cwd=ROOT, env=environ, capture_output=True, text=True, timeout=120, check=False)


def dose(folder: Path, *arguments: object, operations: int = 400) -> subprocess.CompletedProcess[str]:
    return soak(*arguments, "--operations", operations, "--seeds", 1, "--report", folder)


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a soak of both stores, in which four workers were killed."""
    folder = tmp_path_factory.mktemp("soak")
    done = dose(folder, "memory", "sqlite", "--faults", "F1", "F3", "--kills", 4)
    assert done.returncode == 0, done.stderr
    assert "memory seed 1" in done.stderr
    return folder


@pytest.mark.parametrize("store", ["memory", "sqlite"])
def test_a_small_dose_finds_nothing_and_leaves_a_history(report: Path, store: str) -> None:
    history = read(report / f"{store}-1.jsonl.gz")
    assert len(history.operations) >= 400
    assert history.findings == []
    answers = {(op.kind, op.answer) for op in history.operations}
    contended = {(kind, answer) for kind in (Kind.ACQUIRE, Kind.CHECK) for answer in (Answer.YES, Answer.NO)}
    assert answers >= {*contended, (Kind.LIST, Answer.YES), (Kind.RELEASE, Answer.YES)}
    ways = {op.client.partition("/")[2].rstrip("0123456789") for op in history.operations}
    assert ways >= {"ByCode", "ThroughWsgi", "ThroughAsgi"}
    assert history.effects
    assert history.faults["pause"] >= 1


def test_workers_of_the_durable_store_were_killed_and_came_back(report: Path) -> None:
    history = read(report / "sqlite-1.jsonl.gz")
    assert history.faults["kill"] == 4
    lives = {op.client.partition("/")[0] for op in history.operations}
    assert len({life.partition(".")[0] for life in lives} - {"w4"}) == 4  # w4 is the auditor
    with gzip.open(report / "sqlite-1.jsonl.gz", "rt", encoding="ascii") as lines:
        born = [told["born"] for told in map(json.loads, lines) if "born" in told]
    assert sum(not life.endswith(".0") for life in born) == 4  # whoever came back last may have had nothing to do
    unknown = [op for op in history.operations if op.returned is None]
    assert all(op.gone is not None and op.gone >= op.call for op in unknown)


def test_the_report_tells_each_run_and_nothing_else_is_left(report: Path) -> None:
    page = (report / "report.md").read_text(encoding="utf-8")
    rows = [line for line in page.splitlines() if line.startswith("| ") and "jsonl" in line]
    assert [row.split(" | ")[0] for row in rows] == ["| memory-1.jsonl.gz", "| sqlite-1.jsonl.gz"]
    assert all(row.endswith("**ok** |") for row in rows)
    assert "4 kill" in rows[1]
    assert "python -m soak check" in page
    assert sorted(path.name for path in report.iterdir()) == ["memory-1.jsonl.gz", "report.md", "sqlite-1.jsonl.gz"]


def test_anyone_can_check_again(report: Path) -> None:
    done = soak("check", report)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("**ok**") == 2


def test_an_altered_history_is_seen(report: Path, tmp_path: Path) -> None:
    """The same history, in which somebody was granted what others held: the check is of the file, not of the report."""
    with gzip.open(report / "memory-1.jsonl.gz", "rt", encoding="ascii") as lines:
        told = [json.loads(line) for line in lines]
    refused = {line["return"] for line in told if line.get("answer") == "no"}
    checks = [line["call"] for line in told if line.get("kind") == "check" and line.get("call") in refused]
    for line in told:
        if line.get("return") in checks:
            line["answer"] = "yes"
    (tmp_path / "altered.jsonl").write_text("\n".join(map(json.dumps, told)), encoding="ascii")
    done = soak("check", tmp_path)
    assert done.returncode == 1
    assert "no order explains this" in done.stdout
    assert "**violation**" in done.stdout


@pytest.mark.parametrize(
    ("plant", "said"),
    [("forgetful", "no order explains this"), ("blind", "no order explains this"), ("claimless", "was held")],
)
def test_a_planted_fault_ends_in_1(plant: str, said: str, tmp_path: Path) -> None:
    """A gap of threads opens by chance: a few doses, and one of them falls in."""
    for _ in range(5):
        done = dose(tmp_path, "memory", "--faults", "--plant", plant, operations=1_200)
        if done.returncode:
            break
    assert done.returncode == 1, done.stderr
    assert said in (tmp_path / "report.md").read_text(encoding="utf-8")


def test_a_plant_without_a_fault_ends_in_0(tmp_path: Path) -> None:
    """So that it is the fault that is found, and not the planting."""
    done = dose(tmp_path, "memory", "--faults", "--plant", "none")
    assert done.returncode == 0, done.stderr


def test_full_disks_and_restarts_are_survived(tmp_path: Path) -> None:
    done = dose(tmp_path, "sqlite", "--faults", "F6", "F8")
    assert done.returncode == 0, done.stderr
    history = read(tmp_path / "sqlite-1.jsonl.gz")
    assert history.faults["restart"] == 1
    assert history.faults["disk full"] == 1
    assert len({op.client.partition("/")[0] for op in history.operations}) >= 8


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["paper"], "'paper' is no store; choose from memory, sqlite"),
        (["--faults", "F2"], "invalid choice: 'F2'"),
        (["--operations", "0"], "0 is not above 0"),
        (["check", "tests/nowhere"], "holds no history"),
    ],
    ids=["store", "fault", "operations", "folder"],
)
def test_what_cannot_be_done_is_said(arguments: list[str], said: str) -> None:
    done = soak(*arguments)
    assert done.returncode == 2
    assert said in done.stderr


# ---- parts -----------------------------------------------------------------------------------------------------------


def test_the_full_dose_holds_a_thousand_kills() -> None:
    found = [moments(Dose(ALL), "sqlite", 100_000, random.Random(seed)) for seed in (1, 2, 3)]
    for fault, least in (("F1", 1_000), ("F3", 600), ("F4", 30), ("F6", 150), ("F8", 30)):
        assert sum(moment.fault == fault for run in found for moment in run) >= least
    for run in found:
        assert run == sorted(run, key=lambda moment: moment.operations)
        assert all(moment.operations < 100_000 for moment in run)


def test_a_store_in_memory_is_not_killed() -> None:
    assert {moment.fault for moment in moments(Dose(ALL), "memory", 10_000, random.Random(1))} == {"F3", "F4"}


def test_skewed_clocks_need_their_library(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(faults, "LIBRARIES", (str(tmp_path / "not-there.so"),))
    with pytest.raises(FileNotFoundError, match="apt-get install faketime"):
        faults.environ_skewed(tmp_path / "skew")
    library = tmp_path / "there.so"
    library.touch()
    monkeypatch.setattr(faults, "LIBRARIES", (str(library),))
    assert faults.environ_skewed(tmp_path / "skew")["LD_PRELOAD"] == str(library)
    faults.write_skew(tmp_path / "skew", -3_600)
    assert (tmp_path / "skew").read_text() == "-3600\n"


def written(path: Path, *lines: object) -> Path:
    path.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="ascii")
    return path


CALL = {"call": "w0.0/c:1", "at": 1.0, "client": "w0.0/c", "kind": "acquire", "key": "/d", "lock": "w0.0/c:1"}
EFFECT = {"effect": "w0.0/c:2", "at": 1.0, "client": "w0.0/c", "key": "/d", "creator": "anna", "submitted": []}


def test_a_call_of_a_dead_worker_has_no_outcome_and_an_end(tmp_path: Path) -> None:
    path = written(tmp_path / "h.jsonl", CALL, EFFECT, {"mark": "w0.0/c:2", "at": 1.5}, {"gone": "w0.0", "at": 2.0})
    history = read(path)
    (operation,), (effect,) = history.operations, history.effects
    assert (operation.answer, operation.returned, operation.gone) == (None, None, 2.0)
    assert (effect.start, effect.end, history.unfinished) == (1.0, 1.5, 1)


@pytest.mark.parametrize(("fault", "latest"), [("disk full", 1.5), ("fsync error", None)])
def test_a_call_that_the_store_failed_happens_no_later_unless_a_sync_failed(
    tmp_path: Path, fault: str, latest: float | None
) -> None:
    """What was written before a sync that failed may be found again when the file is opened."""
    failed = {"failed": "w0.0/c:1", "at": 1.5, "error": "disk I/O error"}
    lines = ({"fault": fault, "at": 1.2, "seconds": 0.2}, failed, {"gone": "w0.0", "at": 2.0})
    history = read(written(tmp_path / "h.jsonl", CALL, *lines))
    assert history.operations[0].gone == latest
    assert history.unavailable == 1


def test_an_answer_that_nothing_allows_is_a_violation(tmp_path: Path) -> None:
    path = written(tmp_path / "h.jsonl", CALL, {"broken": "w0.0/c:1", "at": 1.5, "error": "Unexpected: 500 error"})
    assert checked(path).word == "violation"
    assert checked(path).findings() == ["w0.0/c:1: Unexpected: 500 error"]


@pytest.mark.parametrize("line", [{"what": 1}, {"return": "x", "at": 1.0, "answer": "yes"}, {"call": "x"}, 7])
def test_a_line_that_is_none_is_named(tmp_path: Path, line: object) -> None:
    path = written(tmp_path / "h.jsonl", CALL, line, CALL)
    with pytest.raises(ValueError, match=r"h\.jsonl"):
        read(path)
