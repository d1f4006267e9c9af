"""`python -m soak [memory] [sqlite]`: soak the stores, check the histories, write the report.
`python -m soak check DIR`: check the histories of a report again.

Exit status 0: every history has an order. 1: a violation, an undecided tree, or a run that did not come to its end.
"""

from __future__ import annotations

import argparse
import shutil
import sys
import time
from collections.abc import Iterable
from pathlib import Path

from soak.driver import Plan, Stalled, run
from soak.faults import ALL, APPLY, Dose, libfaketime
from soak.plants import PLANTS
from soak.report import Result, checked, page, stored

REPORT = "report.md"


def say(text: str) -> None:
    print(f"{time.strftime('%H:%M:%S')} {text}", file=sys.stderr, flush=True)


def soak(options: argparse.Namespace, command: str) -> int:
    options.report.mkdir(parents=True, exist_ok=True)
    dose = Dose(tuple(options.faults), options.kills)
    results = []
    for store in options.stores:
        for seed in options.seeds:
            plan = Plan(store, seed, options.operations, dose, options.report, options.workers, options.plant)
            _clear(plan)
            results.append(_one(plan))
            (options.report / REPORT).write_text(page(results, command), encoding="utf-8")
    say(f"written: {options.report / REPORT}")
    return _status(results)


def _clear(plan: Plan) -> None:
    """A run begins with no locks, and leaves none of an earlier report's files."""
    _remove(plan, f"{plan.store}-{plan.seed}[-.]*", "fsync.*")


def _remove(plan: Plan, *patterns: str) -> None:
    for pattern in patterns:
        for old in plan.folder.glob(pattern):
            if old.is_dir():
                shutil.rmtree(old)
            else:
                old.unlink()


def _one(plan: Plan) -> Result:
    stalled, seconds = "", None
    try:
        seconds = run(plan, say)
    except Stalled as error:
        stalled = str(error)
    say(f"{plan.store} seed {plan.seed}: checking")
    result = checked(stored(plan.history), seconds, stalled)
    _remove(plan, f"{plan.store}-{plan.seed}-*", "fsync.*")
    _tell(result)
    return result


def _tell(result: Result) -> None:
    say(f"{result.path.name}: {result.word}, {result.verdict.operations} operations checked in {result.checking:.1f} s")
    for finding in result.findings()[:5]:
        say(finding)


def again(folder: Path) -> int:
    paths = sorted({*folder.glob("*.jsonl"), *folder.glob("*.jsonl.gz")})
    if not paths:
        say(f"{folder} holds no history (*.jsonl.gz); name the folder of a report")
        return 2
    results = []
    for path in paths:
        say(f"{path.name}: checking")
        results.append(checked(path))
        _tell(results[-1])
    print(page(results, f"python -m soak check {folder}"))
    return _status(results)


def _status(results: Iterable[Result]) -> int:
    return 0 if all(result.word == "ok" for result in results) else 1


def positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"{number} is not above 0")
    return number


def parser() -> argparse.ArgumentParser:
    words = argparse.ArgumentParser(prog="python -m soak", description=__doc__)
    words.add_argument("stores", nargs="*", default=[], metavar="store", help=f"{' and '.join(APPLY)} (default: both)")
    words.add_argument("--operations", type=positive, default=100_000, help="per store and seed (%(default)s)")
    words.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3], help="one run each (1 2 3)")
    words.add_argument("--faults", nargs="*", default=list(ALL), choices=ALL, help="which faults happen (all)")
    words.add_argument("--kills", type=positive, help="kill -9 per run (one in 295 operations)")
    words.add_argument("--workers", type=positive, default=4, help="processes on a durable store, 3 clients each")
    words.add_argument("--report", type=Path, default=Path("soak-report"), help="the folder for report and histories")
    words.add_argument("--plant", choices=sorted(PLANTS), default="", help="a fault in the store: this must end in 1")
    return words


def main(arguments: list[str] | None = None) -> int:
    arguments = sys.argv[1:] if arguments is None else arguments
    if arguments[:1] == ["check"] and len(arguments) == 2:
        return again(Path(arguments[1]))
    words = parser()
    options = words.parse_args(arguments)
    options.stores = options.stores or list(APPLY)
    unknown = sorted(set(options.stores) - set(APPLY))
    if unknown:
        words.error(f"{unknown[0]!r} is no store; choose from {', '.join(APPLY)}, or say: check DIR")
    if "F4" in options.faults and libfaketime() is None:
        words.error("F4 needs libfaketime (apt-get install faketime); install it, or leave F4 out of --faults")
    return soak(options, " ".join(["python -m soak", *arguments]))


if __name__ == "__main__":
    sys.exit(main())
