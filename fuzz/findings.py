"""Findings: made smaller, written down, played again.

A case is made smaller by delta debugging: leave out halves, quarters, ... single pieces of every list and text in it,
for as long as the same fault shows. Tuples keep their shape.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from fuzz.watch import HANG, Case, Finding, Target, Watch, fault_of, guarded, time_of

__all__ = ["FOLDER", "read", "replayed", "shows", "shrunk", "write"]

FOLDER = Path(__file__).parent / "findings"
PATIENCE = 10.0
"""Seconds to make one finding smaller."""
KEPT = 0.7
"""The part of its time that a slow input keeps when it is made smaller."""


def shows(target: Target, finding: Finding, case: Case, hang: float = HANG) -> bool:
    """Whether `case` shows the fault of `finding`."""
    if finding.fault == "hang":
        return slowest(target, case) > hang
    with guarded():
        found = fault_of(target, case, Watch())
    return found is not None and found[0] == finding.fault


def slowest(target: Target, case: Case, rounds: int = 3) -> float:
    """Seconds of the slowest input of the case, the least of some measurements."""
    watch = Watch()
    with guarded():
        fault_of(target, case, watch)
    slow = max(range(len(watch.took)), key=watch.took.__getitem__, default=0)
    return min([*watch.took[slow : slow + 1], *(time_of(target, case, slow) for _ in range(rounds - 1))])


def shrunk(target: Target, finding: Finding, patience: float = PATIENCE, hang: float = HANG) -> Finding:
    """The same fault in a smaller case."""
    until = time.monotonic() + patience
    case = whole = finding.case
    if finding.fault == "hang":  # what is left must be slow for the same reason, not only just slow enough
        hang = max(hang, KEPT * slowest(target, case))
    smaller = True
    while smaller:
        smaller = False
        for attempt in _smaller(case):
            if time.monotonic() > until:
                return replace(finding, case=case, whole=whole)
            if shows(target, finding, attempt, hang):
                case, smaller = attempt, True
                break
    return replace(finding, case=case, whole=whole)


def _smaller(case: Case) -> Iterator[Case]:
    """Smaller cases, the boldest first."""
    if isinstance(case, (str, list)):
        yield from _cuts(case)
    if isinstance(case, (list, tuple)):
        for at, part in enumerate(case):
            for less in _smaller(part):
                yield type(case)((*case[:at], less, *case[at + 1 :]))


def _cuts(whole: Any) -> Iterator[Any]:
    size = len(whole)
    while size > 0:
        for start in range(0, len(whole), size):
            yield whole[:start] + whole[start + size :]
        size //= 2


def write(finding: Finding, folder: Path = FOLDER) -> Path:
    """One file for each fault of a target; a later finding of the same fault takes the place of the earlier."""
    folder.mkdir(parents=True, exist_ok=True)
    name = hashlib.sha256(finding.fault.encode()).hexdigest()[:10]
    path = folder / f"{finding.target}-{name}.json"
    said = {
        "target": finding.target,
        "fault": finding.fault,
        "told": finding.told,
        "case": finding.case,
        "whole": finding.whole,
        "replay": f"python -m fuzz replay {path}",
    }
    path.write_text(json.dumps(said, indent=1) + "\n", encoding="ascii")
    return path


def read(path: Path, load: Callable[[str], Callable[[Any], Case]]) -> Finding:
    """load: from a target's name to what makes a case of JSON."""
    said = json.loads(path.read_text(encoding="ascii"))
    cases = [load(said["target"])(case) if case is not None else None for case in (said["case"], said["whole"])]
    return Finding(said["target"], said["fault"], said["told"], *cases)


def replayed(target: Target, case: Case) -> tuple[str | None, list[float]]:
    """What is wrong with the case now, if anything, and the seconds of its inputs."""
    watch = Watch()
    with guarded():
        found = fault_of(target, case, watch)
    if found is None and max(watch.took, default=0.0) > HANG and slowest(target, case, 6) > HANG:
        return "hang", watch.took
    return (None if found is None else found[1]), watch.took
