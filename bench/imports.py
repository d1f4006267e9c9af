"""P14: CPU time of an import in a fresh interpreter, less that of the bare interpreter.

Byte code is there, as pip leaves it: it is written in the rounds that do not count, into a folder of our own.
"""

from __future__ import annotations

import os
import resource
import subprocess
import sys
from collections.abc import Callable
from functools import cache
from pathlib import Path
from statistics import median

import locklib
from bench.measure import Plan, Report, Row, Side, race

__all__ = ["imports"]

WANTED = (("locklib", 10.0), ("locklib.asgi", 40.0), ("locklib.wsgi", None))


@cache
def _environ() -> dict[str, str]:
    """This library first on the path, its byte code beside the results, whatever the caller's settings are."""
    dropped = {"PYTHONDONTWRITEBYTECODE", *(name for name in os.environ if name.startswith("COV"))}
    kept = {name: value for name, value in os.environ.items() if name not in dropped}
    compiled = str(Path(__file__).parent / "results" / "bytecode")
    return kept | {"PYTHONPATH": str(Path(locklib.__file__).parents[1]), "PYTHONPYCACHEPREFIX": compiled}


def _run(*arguments: str) -> str:
    """Python with these arguments; what it says on stderr."""
    environ = _environ()
    done = subprocess.run([sys.executable, *arguments], check=True, capture_output=True, text=True, env=environ)
    return done.stderr


def _cpu(code: str) -> Side:
    def side() -> float:
        before = _spent()
        _run("-c", code)
        return _spent() - before

    return side


FINEST = 1e-4
"""Seconds: what costs less is lost in the noise of two fresh interpreters."""


def _spent() -> float:
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def imports(plan: Plan) -> Report:
    sides = {name: _cpu(f"import {name}") for name, _ in WANTED} | {"bare": _cpu("pass")}
    times = race(sides, plan.starts)
    bare = median(times["bare"]) * 1000
    rows = [Row("P14", "the bare interpreter itself, in this run", bare, unit="ms")]
    for name, target in WANTED:
        spent = median(ours - bare for ours, bare in zip(times[name], times["bare"], strict=True))
        told = max(spent, FINEST) * 1000
        rows.append(Row("P14", f"import {name}, CPU time", told, target, "ms", f"dearest: {_dearest(name)}"))
    return Report(tuple(rows))


def _dearest(name: str, shown: int = 4) -> str:
    """The modules that take longest by themselves, as `-X importtime` has it, less those of the bare start."""
    known = _modules("pass")
    spent = {module: own for module, own in _modules(f"import {name}").items() if module not in known}
    by_time: Callable[[str], int] = spent.__getitem__
    first = sorted(spent, key=by_time, reverse=True)[:shown]
    return f"{', '.join(f'{module} {spent[module] / 1000:.1f}' for module in first)} of {len(spent)} modules"


def _modules(code: str) -> dict[str, int]:
    found = {}
    for line in _run("-X", "importtime", "-c", code).splitlines():
        own, _, module = line.removeprefix("import time:").split("|")
        if own.strip().isdigit():
            found[module.strip()] = int(own)
    return found
