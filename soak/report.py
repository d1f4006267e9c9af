"""What came of a run: the verdict on its history, and the page that tells of all runs.

Knows: histories, verdicts, Markdown. Must not know: how a history came to be.
"""

from __future__ import annotations

import gzip
import platform
import shutil
import time
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from locklib.core.locking import MARGIN
from locklib.testing.linearize import Answer, Kind, Limits, Operation, Overlap, Verdict, check, overlaps
from soak.asking import HOLD
from soak.history import History, read

__all__ = ["LIMITS", "Result", "checked", "page", "stored"]

LIMITS = Limits(eps=0.05, pending=HOLD + MARGIN)


@dataclass(frozen=True, slots=True)
class Result:
    """One history, looked at. seconds: of the run (None: not known any more), checking: of the look."""

    path: Path
    history: History
    verdict: Verdict
    overlaps: tuple[Overlap, ...]
    seconds: float | None
    checking: float
    stalled: str = ""

    @property
    def word(self) -> str:
        bad = self.overlaps or self.history.findings or self.stalled
        return "violation" if bad else self.verdict.word

    def findings(self) -> list[str]:
        told = [self.stalled] if self.stalled else []
        told += [str(violation) for violation in self.verdict.violations]
        told += [f"undecided: the tree {tree}" for tree in self.verdict.undecided]
        told += [str(overlap) for overlap in self.overlaps]
        return told + self.history.findings


def checked(path: Path, seconds: float | None = None, stalled: str = "") -> Result:
    """The verdict on the history in `path`."""
    start = time.perf_counter()
    history = read(path)
    verdict = check(history.operations, LIMITS)
    within = overlaps(history.effects, history.operations, LIMITS)
    return Result(path, history, verdict, tuple(within), seconds, time.perf_counter() - start, stalled)


def stored(path: Path) -> Path:
    """The history gzipped, in place of the plain one."""
    packed = path.with_suffix(path.suffix + ".gz")
    with path.open("rb") as plain, gzip.open(packed, "wb", compresslevel=6) as out:
        shutil.copyfileobj(plain, out)
    path.unlink()
    return packed


# ---- the page --------------------------------------------------------------------------------------------------------


def page(results: Iterable[Result], command: str, notes: Iterable[str] = ()) -> str:
    """Markdown: a table of all runs, what was found, and how to look again."""
    results = list(results)
    return "\n".join(
        [
            "# Soak",
            "",
            f"`{command}`, Python {platform.python_version()}, {platform.system()} {platform.machine()}.",
            "",
            "An operation is an acquire, refresh, release, check or list; *unknown* are those that nobody was told the",
            "outcome of. A window of 50 ms around each deadline is allowed. The verdict is that of",
            "`locklib.testing.linearize` on the history (one atomic lock table per tree, fences grow, no token twice),",
            "and that no effect of a write lies within the hold of a lock that did not let it in.",
            "",
            *_table(results),
            "",
            *(f"- {note}" for note in notes),
            *_findings(results),
            "## To look again",
            "",
            "    python -m soak check DIR",
            "",
            "where DIR holds this page. Each `*.jsonl.gz` is a history as it was recorded: one JSON object per line,",
            "explained in `soak/history.py`.",
            "",
        ]
    )


COLUMNS = (
    *("history", "operations", "granted", "refused", "checks passed", "writes", "unknown", "unavailable"),
    *("faults", "longest wait", "per second", "trees", "tables tried", "undecided", "verdict"),
)


def _table(results: Iterable[Result]) -> list[str]:
    rows = [[str(cell) for cell in _row(result)] for result in results]
    return ["| " + " | ".join(row) + " |" for row in (COLUMNS, ["---"] * len(COLUMNS), *rows)]


def _row(result: Result) -> tuple[object, ...]:
    history, verdict = result.history, result.verdict
    answers = Counter((op.kind, op.answer) for op in history.operations)
    faults = ", ".join(f"{count} {name}" for name, count in sorted(history.faults.items()))
    least, most = history.skew
    if max(-least, most) > 60:
        faults += f" (wall clocks {least:+.0f} to {most:+.0f} s off)"
    return (
        result.path.name,
        verdict.operations,
        answers[Kind.ACQUIRE, Answer.YES],
        f"{answers[Kind.ACQUIRE, Answer.NO]} + {answers[Kind.ACQUIRE, Answer.BUSY]} busy",
        f"{answers[Kind.CHECK, Answer.YES]} of {answers[Kind.CHECK, Answer.YES] + answers[Kind.CHECK, Answer.NO]}",
        f"{len(history.effects)}, {history.unfinished} cut off",
        sum(op.answer is None for op in history.operations),
        history.unavailable,
        faults or "-",
        _longest(history.operations),
        "-" if not result.seconds else f"{verdict.operations / result.seconds:.0f}",
        verdict.trees,
        verdict.explored,
        len(verdict.undecided),
        f"**{result.word}**",
    )


def _longest(operations: Iterable[Operation]) -> str:
    waits: dict[Kind, float] = {}
    for op in operations:
        if op.returned is not None:
            waits[op.kind] = max(waits.get(op.kind, 0.0), op.returned - op.call)
    return ", ".join(f"{kind} {wait * 1000:.0f} ms" for kind, wait in sorted(waits.items())) or "-"


SHOWN = 20


def _findings(results: Iterable[Result]) -> list[str]:
    lines: list[str] = []
    for result in results:
        found = result.findings()
        if found:
            lines += ["", f"## {result.path.name}: {len(found)} findings", "", "```"]
            lines += [line[:2_000] for one in found[:SHOWN] for line in one.splitlines()[:40]]
            lines += ["```", ""]
    return lines or ["- Nothing was found.", ""]
