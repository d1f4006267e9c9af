"""`python -m bench [names...] [--json FILE] [--quick]`: measure, print the table, write JSON and the curves."""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

from bench import durable, endtoend, headers, imports, shells, tables
from bench.held import filled
from bench.measure import QUICK, Curve, Plan, Report, Row
from bench.picture import picture
from locklib.stores.memory import MemoryLockStore

HERE = Path(__file__).parent
Stores = Mapping[int, MemoryLockStore]

ALONE: dict[str, Callable[[Plan], Report]] = {
    "imports": imports.imports,
    "if": headers.if_header,
    "memory": tables.memory,
    "durable": durable.durable,
    "servers": endtoend.servers,
}
WITH_LOCKS: dict[str, Callable[[Plan, Stores], Report]] = {
    "asgi": shells.asgi,
    "wsgi": shells.wsgi,
    "conflicts": tables.conflicts,
    "recursive": tables.recursive,
    "locks": tables.lock_and_unlock,
}
PICTURES = {
    "requests": ("A request through LockMiddleware, against a middleware that does nothing", "times the no-op"),
    "table": ("The lock table in memory", "microseconds"),
    "durable": ("The lock table in a file of SQLite", "microseconds"),
}


def measured(names: Iterable[str], plan: Plan, say: Callable[[str], None]) -> Report:
    rows: list[Row] = []
    curves: list[Curve] = []
    stores: dict[int, MemoryLockStore] = {}
    for name in names:
        start = time.perf_counter()
        if name in WITH_LOCKS and not stores:
            stores.update({size: filled(size) for size in plan.sizes})
        report = ALONE[name](plan) if name in ALONE else WITH_LOCKS[name](plan, stores)
        rows += report.rows
        curves += report.curves
        say(f"{name}: {time.perf_counter() - start:.0f} s")
    return Report(tuple(sorted(rows, key=lambda row: int(row.figure[1:]))), tuple(curves))


def table(rows: Iterable[Row]) -> str:
    """Markdown, so that it can be put into a page as it is."""
    lines = ["| figure | what | found | target | |", "|---|---|---|---|---|"]
    for row in rows:
        target = "" if row.target is None else f"{'>=' if row.least else '<='} {_number(row.target, row.unit)}"
        what = f"{row.what} ({row.note})" if row.note else row.what
        lines.append(f"| {row.figure} | {what} | {_number(row.value, row.unit)} | {target} | {row.verdict} |")
    return "\n".join(lines)


def _number(value: float, unit: str) -> str:
    return (
        f"{value:.2f} x"
        if unit == "x"
        else f"{value:.0f} B"
        if unit == "B"
        else f"{value:.{0 if value >= 100 else 2}{'f' if value >= 100 else 'g'}} {unit}"
        if unit == "us"
        else f"{value:.1f} {unit}"
    )


def machine() -> dict[str, object]:
    return {
        "python": platform.python_version(),
        "implementation": platform.python_implementation(),
        "system": f"{platform.system()} {platform.machine()}",
        "cpus": os.cpu_count(),
    }


def as_json(report: Report) -> str:
    rows = [
        {
            "figure": row.figure,
            "what": row.what,
            "value": row.value,
            "unit": row.unit,
            "target": row.target,
            "least": row.least,
            "verdict": row.verdict,
            "note": row.note,
        }
        for row in report.rows
    ]
    curves = [{"picture": curve.picture, "name": curve.name, "points": curve.points} for curve in report.curves]
    return json.dumps({"machine": machine(), "rows": rows, "curves": curves}, indent=1) + "\n"


def draw(curves: Iterable[Curve], into: Path) -> list[Path]:
    by_picture: dict[str, list[Curve]] = {}
    for curve in curves:
        by_picture.setdefault(curve.picture, []).append(curve)
    written = []
    for name, its in by_picture.items():
        title, unit = PICTURES[name]
        path = into / f"bench-{name}.svg"
        path.write_text(picture(title, unit, its), encoding="utf-8")
        written.append(path)
    return written


def main(arguments: list[str] | None = None) -> int:
    known = [*ALONE, *WITH_LOCKS]
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="name", help=f"what to measure (all): {', '.join(known)}")
    parser.add_argument("--json", type=Path, help="where to write the figures (bench/results/last.json)")
    parser.add_argument("--curves", type=Path, help="the folder for the curves (docs; with --quick: beside the JSON)")
    parser.add_argument("--quick", action="store_true", help="a few locks and rounds: shows that the program works")
    options = parser.parse_args(arguments)
    unknown = sorted(set(options.names) - set(known))
    if unknown:
        parser.error(f"{unknown[0]!r} is unknown; choose from {', '.join(known)}")
    results = options.json or HERE / "results" / ("quick.json" if options.quick else "last.json")
    results.parent.mkdir(parents=True, exist_ok=True)
    report = measured(
        options.names or known, QUICK if options.quick else Plan(), lambda text: print(text, file=sys.stderr)
    )
    print(table(report.rows))
    results.write_text(as_json(report), encoding="utf-8")
    folder = options.curves or (results.parent if options.quick else HERE.parent / "docs")
    for path in [results, *draw(report.curves, folder)]:
        print(f"written: {path}", file=sys.stderr)
    return 0


if __name__ == "__main__":
    sys.exit(main())
