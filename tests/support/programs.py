"""Programs that are not Python packages: found, or missed by name.

Knows: which program a test needs and how to get it.
Must not know: servers, locks.

A missing program fails the test that needs it. With `ALLOW_MISSING=1` the test does not run and the summary at the end
names it (`NOT RUN: ...`), so that nothing is ever left out in silence.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

__all__ = ["HOW_TO_GET", "NOT_RUN", "TESTS", "allow_missing", "node_package", "program"]

TESTS = Path(__file__).resolve().parent.parent
NOT_RUN = "NOT RUN: "

HOW_TO_GET = {
    "litmus": "apt-get install litmus",
    "cadaver": "apt-get install cadaver",
    "node": "apt-get install nodejs",
    "npm": "apt-get install npm",
    "curl": "apt-get install curl",
    "strace": "apt-get install strace",
    "faketime": "apt-get install faketime",
}


def allow_missing() -> bool:
    """Whether the caller said that programs may be missing on this machine."""
    return os.environ.get("ALLOW_MISSING", "") not in {"", "0"}


def missing(what: str, remedy: str) -> None:
    """End the test: it cannot run without `what`. Fails, or (ALLOW_MISSING=1) is reported as not run."""
    if allow_missing():
        pytest.skip(f"{NOT_RUN}{what} is missing ({remedy})")
    pytest.fail(f"{what} is missing; get it: {remedy}; or run with ALLOW_MISSING=1 to go on without", pytrace=False)


def program(name: str) -> str:
    """The path of a program, or the end of the test (see `missing`)."""
    found = shutil.which(name)
    if found is None:
        missing(name, HOW_TO_GET.get(name, f"install {name}"))
    return str(found)


def node_package(name: str) -> Path:
    """The folder of an installed npm package of tests/clients, or the end of the test (see `missing`)."""
    where = TESTS / "clients" / "node_modules" / name
    if not where.is_dir():
        missing(f"the npm package {name}", "make test sets it up (npm ci in tests/clients)")
    return where
