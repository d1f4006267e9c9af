"""A history as lines of JSON, written as it happens, and read back as operations and effects.

Knows: the words of the lines. Must not know: who does the operations, what makes a history lawful.

    {"call": id, "at": ..., "client": ..., "kind": ..., arguments}   an operation begins
    {"return": id, "at": ..., "answer": ..., results}                its answer is there
    {"failed": id, "at": ..., "error": ...}                          the store was not there: outcome unknown
    {"broken": id, "at": ..., "error": ...}                          an answer that nothing allows: a finding by itself
    {"effect": id, "at": ..., "key": ..., "creator": ..., "submitted": [...]}, {"mark": id, ...}, {"ended": id, ...}
    {"born": worker, "pid": ..., "at": ...}, {"gone": worker, "at": ...}
    {"fault": name, "at": ..., more}

Instants are seconds of CLOCK_MONOTONIC, which all processes of a host share. A line is shorter than PIPE_BUF and is
written in one call, so a process that is killed leaves whole lines, and a call without a return.
"""

from __future__ import annotations

import gzip
import json
import os
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from locklib.core.model import Depth, Scope
from locklib.testing.linearize import Answer, Effect, Kind, Operation

__all__ = ["History", "Recorder", "now", "read"]


SLOW = 0.5
"""Seconds by which a fault may end later than it was to."""


def now() -> float:
    return time.clock_gettime(time.CLOCK_MONOTONIC)


class Recorder:
    """Writes lines into a pipe that somebody else empties."""

    def __init__(self, fd: int) -> None:
        self._fd = fd

    def write(self, word: str, of: str, **more: Any) -> float:
        """One line; the instant that it states."""
        at = now()
        line = json.dumps({word: of, "at": round(at, 7), **more}, separators=(",", ":"), ensure_ascii=True)
        os.write(self._fd, line.encode("ascii") + b"\n")
        return at


@dataclass
class History:
    """What was recorded. findings: lines that are wrong by themselves; faults: how often each was done."""

    operations: list[Operation] = field(default_factory=list)
    effects: list[Effect] = field(default_factory=list)
    findings: list[str] = field(default_factory=list)
    faults: Counter[str] = field(default_factory=Counter)
    unavailable: int = 0
    unfinished: int = 0
    skew: tuple[float, float] = (0.0, 0.0)


@dataclass
class _Reading:
    """Lines that wait for others."""

    called: dict[str, Operation] = field(default_factory=dict)
    failed: dict[str, float] = field(default_factory=dict)
    unsynced: list[tuple[float, float]] = field(default_factory=list)
    effects: dict[str, list[Any]] = field(default_factory=dict)
    gone: dict[str, float] = field(default_factory=dict)


def read(path: Path) -> History:
    """The history in a file of JSON lines, gzipped or not. Raises ValueError for a line that is none."""
    history, reading = History(), _Reading()
    for number, line in enumerate(_lines(path), 1):
        try:
            _take(history, reading, json.loads(line))
        except (ValueError, KeyError) as error:
            raise ValueError(f"{path}, line {number}: {error!r} in {line[:120]!r}") from error
    for id, operation in reading.called.items():
        worker = operation.client.partition("/")[0]
        gone = _latest(operation, reading.failed[id], reading) if id in reading.failed else reading.gone.get(worker)
        history.operations.append(replace(operation, gone=gone))
    for effect, last in reading.effects.values():
        history.effects.append(_effect(effect, last))
        history.unfinished += 1
    return history


def _latest(operation: Operation, failed: float, reading: _Reading) -> float | None:
    """When `operation`, which failed, can have happened at the latest: a store promises that it then has ended.

    But for a commit whose sync failed: what it wrote may still be found when the file is next opened from the start.
    """
    doubtful = any(start <= failed and operation.call <= end for start, end in reading.unsynced)
    return None if doubtful else failed


def _lines(path: Path) -> Iterator[str]:
    opened = gzip.open if path.suffix == ".gz" else open
    with opened(path, "rt", encoding="ascii") as lines:
        yield from lines


def _take(history: History, reading: _Reading, line: dict[str, Any]) -> None:
    match line:
        case {"call": id}:
            reading.called[id] = _called(line)
        case {"return": id}:
            history.operations.append(_returned(reading.called.pop(id), line))
        case {"failed": id, "at": at}:
            reading.failed[id] = at
            history.unavailable += 1
        case {"broken": id, "error": error}:
            history.findings.append(f"{id}: {error}")
        case {"effect": id}:
            reading.effects[id] = [line, line["at"]]
        case {"mark": id}:
            reading.effects[id][1] = line["at"]
        case {"ended": id}:
            history.effects.append(_effect(reading.effects.pop(id)[0], line["at"]))
        case {"gone": worker, "at": at}:
            reading.gone[worker] = at
        case {"fault": fault, "at": at}:
            history.faults[fault] += 1
            if fault == "fsync error":
                reading.unsynced.append((at, at + line["seconds"] + SLOW))
        case {"clock": _, "off": off}:
            history.skew = (min(history.skew[0], off), max(history.skew[1], off))
        case {"born": _}:
            pass
        case _:
            raise ValueError("not a line of a history")


def _called(line: Mapping[str, Any]) -> Operation:
    return Operation(
        line["client"],
        Kind(line["kind"]),
        line["at"],
        None,
        lock=line.get("lock", ""),
        key=line["key"],
        depth=Depth(line.get("depth", "infinity")),
        scope=Scope(line.get("scope", "exclusive")),
        creator=line.get("creator"),
        timeout=line.get("timeout", 0.0),
        submitted=tuple(line.get("submitted", ())),
    )


def _returned(operation: Operation, line: Mapping[str, Any]) -> Operation:
    return replace(
        operation,
        returned=line["at"],
        answer=Answer(line["answer"]),
        token=line.get("token"),
        fence=line.get("fence"),
        shown=tuple(line.get("shown", ())),
    )


def _effect(line: Mapping[str, Any], end: float) -> Effect:
    return Effect(line["client"], line["at"], end, line["key"], line["creator"], tuple(line["submitted"]))
