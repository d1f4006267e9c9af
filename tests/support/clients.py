"""Real clients, driven as people drive them: litmus, cadaver, the npm package `webdav`.

Knows: how each is started and how to read what it prints.
Must not know: what the answers ought to be; that is the test's part.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from support import programs

__all__ = [
    "CadaverStep",
    "ClientFailed",
    "LitmusSuite",
    "LitmusTest",
    "parse_cadaver",
    "parse_litmus",
    "run_cadaver",
    "run_litmus",
    "run_webdav_npm",
]

CLIENT_SECONDS = 120.0
LITMUS_SUITES = ("basic", "copymove", "props", "locks", "http")


class ClientFailed(AssertionError):
    """A client program did not come to an end of its own, or printed what cannot be read."""


def finished(
    command: Sequence[str], *, cwd: Path, typed: str = "", env: Mapping[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """Run a client to its end, stderr among stdout as one would see it; a client that hangs is a failure."""
    try:
        return subprocess.run(
            list(command),
            cwd=cwd,
            input=typed,
            env={**os.environ, **(env or {})},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            encoding="utf-8",
            errors="replace",
            timeout=CLIENT_SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        seen = error.stdout.decode("utf-8", "replace") if isinstance(error.stdout, bytes) else error.stdout
        raise ClientFailed(f"{command[0]} did not end within {CLIENT_SECONDS:g} s; it printed:\n{seen}") from None


# litmus -----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class LitmusTest:
    """One numbered test. `outcome` is pass, FAIL or SKIPPED; names repeat within a suite, numbers do not."""

    number: int
    name: str
    outcome: str
    message: str = ""
    warnings: tuple[str, ...] = ()

    @property
    def label(self) -> str:
        return f"{self.number}. {self.name}"


@dataclass(frozen=True, slots=True)
class LitmusSuite:
    """What one suite came to. The counts are counted by us and have been compared with litmus's own summary."""

    name: str
    tests: tuple[LitmusTest, ...]

    def having(self, outcome: str) -> list[LitmusTest]:
        return [test for test in self.tests if test.outcome == outcome]

    @property
    def total(self) -> int:
        """All tests of the suite, skipped ones too."""
        return len(self.tests)

    @property
    def passed(self) -> int:
        return len(self.having("pass"))

    @property
    def skipped(self) -> list[str]:
        return [test.label for test in self.having("SKIPPED")]

    @property
    def failures(self) -> list[str]:
        return [f"{test.label}: {test.message}" for test in self.having("FAIL")]

    @property
    def warnings(self) -> list[str]:
        return [f"{test.label}: {text}" for test in self.tests for text in test.warnings]


SUITE = re.compile(r"-> running `(\w+)':")
SUMMARY = re.compile(r"<- summary for `(\w+)': of (\d+) tests? run: (\d+) passed, (\d+) failed")
TEST = re.compile(r" ?(\d+)\. (\w+)\.* ?(.*)")
AGAIN = re.compile(r" {4}\.{10,} (.*)")  # the verdict, when warnings came between it and the name
OUTCOME = re.compile(r"(pass|FAIL|SKIPPED)\b ?(.*)", re.DOTALL)


class _Reading:
    """The state of reading one suite: the test at hand, what belongs to it, those before it."""

    def __init__(self) -> None:
        self.done: list[LitmusTest] = []
        self.current: tuple[int, str] | None = None
        self.texts: list[str] = []
        self.warned: list[str] = []

    def line(self, line: str) -> None:
        named, again = TEST.fullmatch(line), AGAIN.fullmatch(line)
        if named:
            self.named(int(named[1]), named[2], named[3])
        elif again:
            self.text(again[1])
        elif line and self.texts and not line.startswith(("->", "<-")):
            self.texts.append(line)  # a message of several lines

    def named(self, number: int, name: str, text: str) -> None:
        if self.current != (number, name):
            self.close()
            self.current = (number, name)
        self.text(text)

    def text(self, text: str) -> None:
        if text.startswith("WARNING: "):
            self.warned.append(text.removeprefix("WARNING: "))
        elif text.strip(". "):
            self.texts.append(text)

    def close(self) -> None:
        """The test at hand is complete. One without a verdict is a failure: the suite crashed in it."""
        if self.current is None:
            return
        verdict = OUTCOME.match("\n".join(self.texts))
        outcome, message = (verdict[1], verdict[2]) if verdict else ("FAIL", " ".join(self.texts) or "no verdict")
        message = "" if outcome == "pass" else " ".join(message.removeprefix("(").removesuffix(")").split())
        self.done.append(LitmusTest(*self.current, outcome, message, tuple(self.warned)))
        self.current, self.texts, self.warned = None, [], []


def parse_litmus(printed: str) -> dict[str, LitmusSuite]:
    """What litmus printed, by suite. Raises `ClientFailed` if its own summary is absent or counts otherwise."""
    pieces = SUITE.split(printed)
    return {name: read_suite(name, text) for name, text in zip(pieces[1::2], pieces[2::2], strict=True)}


def read_suite(name: str, text: str) -> LitmusSuite:
    reading = _Reading()
    for line in re.split(r"[\r\n]+", text.replace("...................... \r", "\r")):
        reading.line(line.rstrip())
    reading.close()
    suite = LitmusSuite(name, tuple(reading.done))
    summary = SUMMARY.search(text)
    if summary is None:
        raise ClientFailed(f"litmus gave no summary for `{name}'; it printed:\n{text}")
    said, read = tuple(map(int, summary.groups()[1:])), (suite.passed, len(suite.failures))
    if said != (sum(read), *read):
        raise ClientFailed(f"litmus counts {said} (run, passed, failed) for `{name}', read were {read}, in:\n{text}")
    return suite


def run_litmus(
    url: str, suites: Sequence[str] = LITMUS_SUITES, user: str | None = None, password: str | None = None
) -> dict[str, LitmusSuite]:
    """Run suites of litmus against the collection at `url`, in a folder of its own since it writes logs.

    Raises `ClientFailed` if a suite that was asked for did not come to its summary.
    """
    credentials = [user, password or ""] if user is not None else []
    with tempfile.TemporaryDirectory(prefix="litmus-") as folder:
        command = [programs.program("litmus"), "-k", url, *credentials]
        ran = finished(command, cwd=Path(folder), env={"TESTS": " ".join(suites)})
    results = parse_litmus(ran.stdout)
    absent = [suite for suite in suites if suite not in results]
    if absent:
        raise ClientFailed(f"litmus did not run {absent} (exit {ran.returncode}); it printed:\n{ran.stdout}")
    return results


# cadaver ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class CadaverStep:
    """One command and what cadaver printed for it. `status` is the HTTP status it complained of, None if it did not."""

    command: str
    printed: str

    @property
    def status(self) -> int | None:
        found = re.search(r"^(\d{3}) \S", self.printed, re.MULTILINE)
        return int(found[1]) if found else None

    @property
    def good(self) -> bool:
        """It said `succeeded`, and nothing went wrong."""
        return "succeeded" in self.printed and "failed" not in self.printed and self.status is None

    @property
    def tokens(self) -> list[str]:
        """The lock tokens it printed (`discover`, `showlocks`, `steal`), without brackets."""
        return re.findall(r"<([A-Za-z][A-Za-z0-9+.-]*:[^>\s]+)>", self.printed)


PROMPT = re.compile(r"^dav:\S*[>?] ?(.*)$", re.MULTILINE)
# cadaver takes a file for unchanged if it is as old as before to the second, so the editor sets a later time
EDITOR = """#!/bin/sh
printf '%s\\n' "{line}" >> "$1"
touch -d '+1 minute' "$1"
"""


def parse_cadaver(printed: str) -> list[CadaverStep]:
    """What cadaver printed, cut at its prompts."""
    pieces = PROMPT.split(printed)
    return [
        CadaverStep(command.strip(), text.strip("\n")) for command, text in zip(pieces[1::2], pieces[2::2], strict=True)
    ]


@contextmanager
def cadaver_home(host: str, user: str | None, password: str | None, line: str) -> Iterator[Path]:
    """A home for one run: credentials (cadaver asks the terminal else) and the editor that adds a line."""
    with tempfile.TemporaryDirectory(prefix="cadaver-") as folder:
        home = Path(folder)
        if user is not None:
            (home / ".netrc").write_text(f"machine {host} login {user} password {password or ''}\n")
            (home / ".netrc").chmod(0o600)
        (home / "editor").write_text(EDITOR.format(line=line))
        (home / "editor").chmod(0o700)
        yield home


def run_cadaver(
    url: str,
    commands: Sequence[str],
    *,
    user: str | None = None,
    password: str | None = None,
    files: Mapping[str, bytes] | None = None,
    edit_adds: str = "edited",
) -> list[CadaverStep]:
    """Type `commands` into cadaver at `url`, then `quit`. One step for each command, in order.

    `files` (name -> content) lie in its working folder, for `put`. `edit` adds the line `edit_adds`. A lock lives in
    the run that took it: cadaver forgets its tokens when it ends, `steal` finds them again.
    Raises `ClientFailed` if it could not connect, or took a command for something else.
    """
    with cadaver_home(urlsplit(url).hostname or "", user, password, edit_adds) as home:
        for name, content in (files or {}).items():
            (home / name).write_bytes(content)
        typed = "".join(f"{command}\n" for command in [*commands, "quit"])
        env = {"HOME": str(home), "EDITOR": str(home / "editor"), "TMPDIR": str(home), "LC_ALL": "C.UTF-8"}
        ran = finished([programs.program("cadaver"), url], cwd=home, typed=typed, env=env)
    steps = parse_cadaver(ran.stdout)
    if [step.command for step in steps] != [*commands, "quit"] or "dav:/?" in ran.stdout:
        raise ClientFailed(f"cadaver did not take the commands {list(commands)}; it printed:\n{ran.stdout}")
    return steps[:-1]


# the npm package webdav --------------------------------------------------------------------------------------------


def run_webdav_npm(
    url: str, steps: Sequence[Mapping[str, Any]], *, user: str | None = None, password: str | None = None
) -> list[dict[str, Any]]:
    """Let the npm client take `steps`; one result for each, `{"do": ..., "ok": bool, "status": int | None, ...}`.

    A step is {"do": "lock" | "put" | "get" | "delete" | "unlock" | "exists", "path": str} and
    - lock: "as", the name under which later steps find the token; "timeout", the header's value (default: the client's)
    - put: "body"; "with", the name of a lock whose token goes into `If`
    - unlock: "with"; the client sends the token bare, without brackets
    A step that fails does not end the run. Raises `ClientFailed` if the client itself broke.
    """
    node = programs.program("node")
    programs.node_package("webdav")
    script = programs.TESTS / "clients" / "webdav_client.mjs"
    asked = {"url": url, "user": user, "password": password, "steps": list(steps)}
    ran = finished([node, str(script)], cwd=script.parent, typed=json.dumps(asked))
    try:
        results: list[dict[str, Any]] = json.loads(ran.stdout)
    except json.JSONDecodeError:
        raise ClientFailed(f"the npm client broke (exit {ran.returncode}); it printed:\n{ran.stdout}") from None
    return results
