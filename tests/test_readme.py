"""README.md says what is: each block of code is run, each command exists, each setting has the default that is told."""

from __future__ import annotations

import asyncio
import inspect
import json
import re
import shlex
import subprocess
import tomllib
from collections.abc import Callable, Iterator
from dataclasses import fields
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx
import pytest

from locklib import Policy
from locklib.asgi import LockMiddleware
from locklib.cli.commands import locklib
from locklib.core.policy import Timeouts
from support import programs, servers

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()
FENCED = re.findall(r"^```(\w*)\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)
PYTHON = [text for language, text in FENCED if language == "python"]
CONSOLE = [text for language, text in FENCED if language == "console"]
FILES = ("notes.py", "wiki.py")
"""The first two blocks, by the names that README gives them; the others go on where notes.py ends."""


def indented() -> Iterator[str]:
    """The commands in blocks that are indented."""
    outside = re.sub(r"^```.*?^```$", "", README, flags=re.MULTILINE | re.DOTALL)
    return (line.strip() for line in re.findall(r"^    (\S.*)$", outside, re.MULTILINE))


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A directory with the two files, as a reader would have typed them."""
    for name, text in zip(FILES, PYTHON, strict=False):
        (tmp_path / name).write_text(text)
    return tmp_path


# --- shape ---


def test_the_blocks_are_of_a_kind_that_is_tested():
    assert {language for language, _ in FENCED} == {"python", "console"}
    assert len(PYTHON) >= 5
    assert len(CONSOLE) >= 3


def test_code_comes_early_and_is_short():
    before = README[: README.index(PYTHON[1])]
    assert before.count("\n") <= 30
    for name, text in zip(FILES, PYTHON, strict=False):
        assert f"`{name}`" in README
        assert len([line for line in text.splitlines() if line.strip()]) <= 8


# --- commands ---


def installable(words: list[str]) -> bool:
    """Whether it is ours, with extras that there are, or what our tests run on."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    extras = project["project"]["optional-dependencies"]
    ours = {project["project"]["name"], *(f"{project['project']['name']}[{extra}]" for extra in extras)}
    others = {re.split(r"[^\w-]", line)[0] for line in (*project["dependency-groups"]["test"], *extras["serve"])}
    return words[1] == "install" and set(words[2:]) <= ours | others


def parsed_by_click(words: list[str]) -> bool:
    command = locklib.commands[words[1]]
    return bool(command.make_context(words[1], words[2:]))


def in_makefile(words: list[str]) -> bool:
    return re.search(rf"^{words[1]}:", (ROOT / "Makefile").read_text(), re.MULTILINE) is not None


COMMANDS: dict[str, Callable[[list[str]], bool]] = {
    "pip": installable,
    "locklib": parsed_by_click,
    "make": in_makefile,
    "uvicorn": lambda words: words[1] == "notes:app",
}


@pytest.mark.parametrize("line", [*indented(), *re.findall(r"`((?:uvicorn|make|locklib) [^`]+)`", README)])
def test_a_command_that_is_shown_exists(line: str):
    words = shlex.split(line)
    assert COMMANDS[words[0]](words)


def test_nobody_is_told_to_install_the_package_of_others():
    pages = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *(ROOT / "docs").glob("**/*.md"), *ROOT.glob("examples/*.*")]
    sources = list((ROOT / "src").glob("**/*.py"))
    wrong = re.compile(r"pip3? install [^\n]*?(?<![\w/.-])locklib\b", re.IGNORECASE)
    assert [str(path) for path in (*pages, *sources) if wrong.search(path.read_text())] == []


@pytest.mark.parametrize("target", sorted(set(re.findall(r"\]\(([^)]+)\)", README))))
def test_a_link_leads_somewhere(target: str):
    path, _, heading = target.partition("#")
    assert (ROOT / path).exists()
    headings = re.findall(r"^#+ (.*)$", README, re.MULTILINE)
    assert not heading or heading in {title.lower().replace(" ", "-").replace(",", "") for title in headings}


# --- what the wire shows ---

VARYING = (
    (re.compile(r"urn:uuid:[0-9a-f-]{36}"), "urn:uuid:TOKEN"),
    (re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ"), "WHEN"),
    (re.compile(r'((?:"retry_after"|"expires_in_seconds"|retry-after): )\d+'), r"\1SECONDS"),
)
NOT_SHOWN = ("date:", "server:")


def commands_and_outputs() -> list[tuple[str, str]]:
    found = []
    for block in CONSOLE:
        for piece in re.split(r"^\$ ", block, flags=re.MULTILINE)[1:]:
            command, _, output = piece.partition("\n")
            found.append((command, output))
    return found


def told(text: str) -> tuple[list[str], Any]:
    """An output as what can be compared: its lines up to the JSON, and the JSON."""
    for pattern, stands_for in VARYING:
        text = pattern.sub(stands_for, text)
    text = re.sub(r"SECONDS", '"SECONDS"', text) if "{" in text else text
    head, brace, body = text.replace("\r", "").partition("{")
    lines = [line for line in head.strip().splitlines() if not line.lower().startswith(NOT_SHOWN)]
    return lines, json.loads(brace + body) if brace else None


def test_the_session_goes_as_shown(project: Path):
    programs.program("curl")
    shown = commands_and_outputs()
    with servers.uvicorn("notes:app", cwd=project) as server:
        script = "".join(f"{command}\nprintf '\\n@@@\\n'\n" for command, _ in shown)
        script = script.replace("http://127.0.0.1:8000/", server.url)
        done = subprocess.run(
            ["bash", "-eu"], input=script, cwd=project, check=False, capture_output=True, text=True, timeout=60
        )
    outputs = done.stdout.split("\n@@@\n")[:-1]
    assert len(outputs) == len(shown), done.stderr
    for (command, expected), output in zip(shown, outputs, strict=True):
        assert (command, told(output)) == (command, told(expected))


# --- the code ---


def test_the_flask_application_locks(project: Path):
    with (
        servers.waitress("wiki:app", cwd=project) as server,
        httpx.Client(base_url=server.url) as http,
    ):
        token = http.request("LOCK", "pages/start", content="{}").headers["lock-token"]
        assert http.put("pages/start", content="x").status_code == 423
        assert http.put("pages/start", content="x", headers={"If": f"({token})"}).status_code == 200


@pytest.fixture
def blocks() -> dict[str, dict[str, Any]]:
    """The names after each block of Python that goes on from notes.py, by what stands in the block."""
    names: dict[str, Any] = {}
    after = {}
    for text in (PYTHON[0], *PYTHON[2:]):
        exec(compile(text, "README.md", "exec"), names)
        after[text] = dict(names)
    return after


def block_with(blocks: dict[str, dict[str, Any]], words: str) -> dict[str, Any]:
    (text,) = (text for text in blocks if words in text)
    return blocks[text]


def ask(app: Any, *requests: tuple[str, str, dict[str, Any]]) -> list[httpx.Response]:
    """The answers of `app`, asked without a server; `{token}` in a header is that of the last grant."""

    async def run() -> list[httpx.Response]:
        answers: list[httpx.Response] = []
        token = ""
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://test") as http:
            for method, path, more in requests:
                headers = {name: value.format(token=token) for name, value in more.get("headers", {}).items()}
                answers.append(await http.request(method, path, content=more.get("content", ""), headers=headers))
                token = answers[-1].headers.get("lock-token", token) if method == "LOCK" else token
        return answers

    return asyncio.run(run())


HOLDING = {"headers": {"If": "({token})"}}


def test_a_principal_is_asked_for(blocks: dict[str, dict[str, Any]]):
    guarded = block_with(blocks, "def who(scope)")["app"]
    user: list[Any] = [None]

    async def authenticated(scope: Any, receive: Any, send: Any) -> None:
        await guarded({**scope, "user": user[0]}, receive, send)

    def status(method: str, *, by: str | None, **more: Any) -> int:
        user[0] = None if by is None else SimpleNamespace(name=by, groups=["staff"])
        return ask(authenticated, (method, "/notes/plan", more))[0].status_code

    assert status("LOCK", by=None, content="{}") == 403
    user[0] = SimpleNamespace(name="alice", groups=[])
    token = ask(authenticated, ("LOCK", "/notes/plan", {"content": "{}"}))[0].headers["lock-token"]
    holding = {"If": f"({token})"}
    assert status("PUT", by="bob", headers=holding) == 423
    assert status("PUT", by="alice", headers=holding) == 200
    assert guarded.policy.bypass_roles == {"records-office"}


def test_a_job_takes_a_lock(blocks: dict[str, dict[str, Any]]):
    names = block_with(blocks, "async def publish")
    app = LockMiddleware(names["api"])
    names["notes"]["plan"] = "draft"
    published, locked, refused, unlocked, again, written = ask(
        app,
        ("POST", "/publish/plan", {}),
        ("LOCK", "/notes/plan", {"content": "{}"}),
        ("POST", "/publish/plan", {}),
        ("UNLOCK", "/notes/plan", {"headers": {"Lock-Token": "{token}"}}),
        ("POST", "/publish/plan", {}),
        ("PUT", "/notes/plan", {"content": "x"}),
    )
    assert (published.status_code, published.json()) == (200, {"published": "draft"})
    assert (locked.status_code, refused.status_code, unlocked.status_code) == (200, 423, 204)
    assert again.status_code == 200
    assert written.status_code == 200  # the job has given its lock back


def test_routes_are_as_told(blocks: dict[str, dict[str, Any]]):
    app = block_with(blocks, '"exempt"')["app"]
    modes = {
        path: (app.policy.route(path).mode.value, app.policy.route(path).reads) for path in ("/login", "/scans/1", "/")
    }
    assert modes == {"/login": ("exempt", False), "/scans/1": ("hold", True), "/": ("hold", False)}
    locked, refused, passed = ask(
        app,
        ("LOCK", "/notes", {"content": "{}"}),
        ("PUT", "/notes/plan", {"content": "x"}),
        ("PUT", "/notes/plan", {"content": "x", **HOLDING}),
    )
    assert (locked.status_code, refused.status_code, passed.status_code) == (201, 423, 200)


# --- the settings ---

SETTINGS = re.findall(r"^\| `(\w+)` \| `(.*?)` \|", README, re.MULTILINE)


def defaults() -> dict[str, Any]:
    policy = Policy()
    own = inspect.signature(LockMiddleware).parameters
    return {
        **{field.name: getattr(policy, field.name) for field in fields(Policy)},
        **{name: own[name].default for name in ("store", "principal")},
    }


def test_the_table_names_settings():
    assert len(SETTINGS) >= 10


@pytest.mark.parametrize(("name", "default"), SETTINGS)
def test_a_setting_has_the_default_that_is_told(name: str, default: str):
    assert eval(default, {"Timeouts": Timeouts, "frozenset": frozenset}) == defaults()[name]
