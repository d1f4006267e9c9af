"""A run: targets and their shares, in a few processes, with a line of progress about once a second.

The processes share a board of numbers, so what is shown, and what is counted at the end, is what was executed, even by
a process that did not end well.
"""

from __future__ import annotations

import multiprocessing
import sys
import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TextIO

from fuzz import engines, findings
from fuzz.watch import HANG, INSTRUMENTED, Finding, Player

__all__ = ["Plan", "Row", "shares", "table", "work_out"]


@dataclass(frozen=True, slots=True)
class Plan:
    """names: targets. inputs: in all. folder: for findings."""

    names: tuple[str, ...]
    inputs: int
    seed: int = 0
    engine: str = "plain"
    jobs: int = 2
    folder: Path = findings.FOLDER


@dataclass(slots=True)
class Row:
    """What became of one target. slowest: seconds. findings: the files."""

    name: str
    inputs: int = 0
    slowest: float = 0.0
    slow_case: str = ""
    findings: set[str] = field(default_factory=set)


@dataclass(frozen=True, slots=True)
class Task:
    """One process: a part of one target's inputs."""

    name: str
    inputs: int
    seed: str
    engine: str
    folder: Path


def shares(weights: dict[str, int], inputs: int) -> dict[str, int]:
    """`inputs` by weight; what is left over by rounding goes to the last."""
    whole = sum(weights.values())
    found = {name: inputs * weight // whole for name, weight in weights.items()}
    found[list(weights)[-1]] += inputs - sum(found.values())
    return found


def tasks(plan: Plan, weights: dict[str, int]) -> list[Task]:
    """Each target in as many parts as there are jobs."""
    parts = []
    for name, inputs in shares(weights, plan.inputs).items():
        for job in range(plan.jobs):
            part = inputs // plan.jobs + (job < inputs % plan.jobs)
            if part:
                parts.append(Task(name, part, f"{plan.seed} {name} {job}", plan.engine, plan.folder))
    return parts


def work(task: Task, board: Any, told: Any) -> None:
    """In a process of its own. board: inputs, slowest. told: takes (name, file) of findings."""
    engines.prepare(task.engine)
    from fuzz.targets import TARGETS

    target = TARGETS[task.name]

    def found(finding: Finding) -> None:
        told.put(("finding", str(findings.write(findings.shrunk(target, finding, hang=hang), task.folder))))

    slowed = task.engine == "atheris" and engines.has_atheris()
    hang = HANG * INSTRUMENTED if slowed else HANG
    player = Player(target, found, hang)

    def tell() -> None:
        if player.slowest > board[1]:
            told.put(("slow", ascii(player.slowest_case)[:300]))
        board[0], board[1] = player.inputs, player.slowest

    try:
        engines.ENGINES[task.engine](target, player, task.inputs, task.seed, tell)
    finally:
        tell()


@dataclass(slots=True)
class Running:
    task: Task
    process: Any
    board: Any
    told: Any


def work_out(plan: Plan, weights: dict[str, int], show: TextIO | None = None) -> list[Row]:
    """Run everything; a row for each target."""
    # Each process starts anew, so that atheris finds nothing imported yet.
    context = multiprocessing.get_context("spawn")
    rows = {name: Row(name) for name in plan.names}
    waiting = tasks(plan, weights)
    running: list[Running] = []
    done: list[Running] = []
    progress = Progress(plan.inputs, show or sys.stderr)
    while waiting or running:
        while waiting and len(running) < plan.jobs:
            running.append(_started(context, waiting.pop(0)))
        for each in running:
            each.process.join(0.2 / len(running))
            _listen(each, rows[each.task.name])
        for each in [each for each in running if not each.process.is_alive()]:
            running.remove(each)
            done.append(each)
            _ended(each, rows[each.task.name])
        progress.show(rows.values(), [*done, *running], last=not (waiting or running))
    for each in done:
        row = rows[each.task.name]
        row.inputs += int(each.board[0])
        row.slowest = max(row.slowest, each.board[1])
    return list(rows.values())


def _started(context: Any, task: Task) -> Running:
    board, told = context.Array("d", 2, lock=False), context.SimpleQueue()
    process = context.Process(target=work, args=(task, board, told), daemon=True)
    process.start()
    return Running(task, process, board, told)


def _listen(each: Running, row: Row) -> None:
    while not each.told.empty():
        kind, said = each.told.get()
        if kind == "finding":
            row.findings.add(said)
        elif each.board[1] >= row.slowest:
            row.slow_case = said


def _ended(each: Running, row: Row) -> None:
    """A process that did not end by itself, or too early, is a finding too."""
    _listen(each, row)
    task = each.task
    if each.process.exitcode != 0 or each.board[0] < task.inputs:
        told = f"the process ended with {each.process.exitcode} after {int(each.board[0])} of {task.inputs} inputs"
        finding = Finding(task.name, f"the process ended: {each.process.exitcode}", f"{told}; seed {task.seed!r}", "")
        row.findings.add(str(findings.write(finding, task.folder)))


class Progress:
    """A line about once a second: on a terminal over the last one, else a new one every ten seconds."""

    def __init__(self, inputs: int, show: TextIO) -> None:
        self.inputs = inputs
        self.stream = show
        self.pause = 1.0
        self.start = self.before = time.monotonic()

    def show(self, rows: Iterable[Row], work: Iterable[Running], *, last: bool) -> None:
        now = time.monotonic()
        if now - self.before < self.pause and not last:
            return
        self.before = now
        count = sum(int(each.board[0]) for each in work)
        slowest = max((each.board[1] for each in work), default=0.0)
        found = len({name for row in rows for name in row.findings})
        names = ", ".join(dict.fromkeys(each.task.name for each in work if each.process.is_alive()))
        line = (
            f"{count:,} of {self.inputs:,} inputs, {count / (now - self.start):,.0f} a second, "
            f"slowest {slowest * 1000:.1f} ms, {found} findings; {names or 'done'}"
        )
        over = self.stream.isatty()
        self.stream.write(("\r\x1b[K" if over else "") + line + ("" if over and not last else "\n"))
        self.stream.flush()


def table(rows: Iterable[Row]) -> str:
    """Markdown."""
    lines = ["| target | inputs | slowest ms | findings |", "|---|---:|---:|---:|"]
    every = list(rows)
    for row in every:
        lines.append(f"| {row.name} | {row.inputs:,} | {row.slowest * 1000:.2f} | {len(row.findings)} |")
    slowest = max((row.slowest for row in every), default=0.0)
    found = len({name for row in every for name in row.findings})
    lines.append(f"| all | {sum(row.inputs for row in every):,} | {slowest * 1000:.2f} | {found} |")
    return "\n".join(lines)
