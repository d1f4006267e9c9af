"""`python -m fuzz [targets...] --inputs N --seed S --engine NAME --jobs J --report FILE`, or `replay FILE`."""

from __future__ import annotations

import argparse
import platform
import sys
from pathlib import Path

from fuzz import engines, findings, jobs

__all__ = ["main"]

MILLION = 1_000_000


def replay(files: list[str]) -> int:
    """Play each finding again; 1 if any still shows."""
    from fuzz.targets import TARGETS

    status = 0
    for file in files:
        finding = findings.read(Path(file), lambda name: TARGETS[name].load)
        target = TARGETS[finding.target]
        wrong, took = findings.replayed(target, finding.case)
        if wrong is None and finding.whole is not None:  # a hang may be gone with what was left out
            wrong, took = findings.replayed(target, finding.whole)
        slowest = max(took, default=0.0) * 1000
        print(f"{file}: {len(took)} inputs of {finding.target}, slowest {slowest:.1f} ms")
        print(f"still there: {wrong}" if wrong else "fine now")
        status |= wrong is not None
    return status


def report(plan: jobs.Plan, rows: list[jobs.Row]) -> str:
    how = f"engine {plan.engine}, seed {plan.seed}, {plan.jobs} processes, Python {platform.python_version()}"
    found = sorted({name for row in rows for name in row.findings})
    lines = [jobs.table(rows), "", f"({how})", *(f"- finding: `python -m fuzz replay {name}`" for name in found)]
    return "\n".join(lines) + "\n"


def number(text: str) -> int:
    value = int(text.replace("_", "").replace(",", ""))
    if value < 1:
        raise argparse.ArgumentTypeError(f"{text!r} must be 1 or more")
    return value


def options(arguments: list[str] | None, known: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m fuzz", description=__doc__)
    parser.add_argument("targets", nargs="*", metavar="target", help=f"what to fuzz (all): {', '.join(known)}")
    parser.add_argument("--inputs", type=number, default=MILLION, help="inputs in all (1 000 000)")
    parser.add_argument("--seed", type=int, default=0, help="the run is the same for the same seed (0)")
    parser.add_argument("--engine", choices=sorted(engines.ENGINES), default="plain")
    parser.add_argument("--jobs", type=number, default=2, help="processes (2)")
    parser.add_argument("--report", type=Path, help="where to write the table as well")
    parser.add_argument("--findings", type=Path, default=findings.FOLDER, help="the folder for findings")
    found = parser.parse_args(arguments)
    unknown = sorted(set(found.targets) - set(known))
    if unknown:
        parser.error(f"{unknown[0]!r} is unknown; choose from {', '.join(known)}, or replay FILE")
    return found


def main(arguments: list[str] | None = None) -> int:
    arguments = sys.argv[1:] if arguments is None else arguments
    if arguments[:1] == ["replay"]:
        return replay(arguments[1:])
    from fuzz.targets import TARGETS

    given = options(arguments, list(TARGETS))
    if given.engine == "atheris" and not engines.has_atheris():
        print(
            f"atheris is not installed for Python {platform.python_version()}: "
            "half of the inputs come from hypothesis, half from the plain engine",
            file=sys.stderr,
        )
    names = tuple(dict.fromkeys(given.targets or TARGETS))
    plan = jobs.Plan(names, given.inputs, given.seed, given.engine, given.jobs, given.findings)
    rows = jobs.work_out(plan, {name: TARGETS[name].weight for name in names})
    said = report(plan, rows)
    print(said, end="")
    if given.report is not None:
        given.report.parent.mkdir(parents=True, exist_ok=True)
        given.report.write_text(said, encoding="utf-8")
    return int(any(row.findings for row in rows))


if __name__ == "__main__":
    sys.exit(main())
