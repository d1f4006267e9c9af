"""Each example runs as its first comment says, on a real server, and its locks hold."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import pytest

from support import servers

EXAMPLES = Path(__file__).parents[1] / "examples"
SERVERS = {"uvicorn": servers.uvicorn, "gunicorn": servers.gunicorn, "waitress-serve": servers.waitress}
MOST_LINES = 20


@dataclass(frozen=True)
class Play:
    """What is locked and written in one example."""

    path: str
    body: str
    written: int
    content_type: str = "text/plain"
    first: str = "PUT"
    holder: tuple[str, str] | None = None
    other: tuple[str, str] | None = None
    also_refused: tuple[str, ...] = ()
    env: Mapping[str, str] = field(default_factory=dict)


PLAYS = {
    "wsgidav_folder": Play("report.txt", "figures", 204),
    "flask_wiki": Play("wiki/start", "Hello", 204, holder=("alice", "wonderland"), other=("bob", "builder")),
    "fastapi_documents": Play("documents/1", json.dumps({"title": "T"}), 200, content_type="application/json"),
    "django_polls": Play("polls/1", "yes no", 200, also_refused=("POST polls/1/tea",)),
}


def code(path: Path) -> list[str]:
    return [line for line in path.read_text().splitlines() if line.strip() and not line.lstrip().startswith("#")]


def command(path: Path) -> list[str]:
    """The command in the first comment."""
    return shlex.split(re.search(r"^#     (\S.*)$", path.read_text(), re.MULTILINE)[1])


def test_every_example_is_played():
    assert {path.stem for path in EXAMPLES.glob("*.py")} == set(PLAYS)


@pytest.mark.parametrize("name", PLAYS)
def test_an_example_is_short(name: str):
    assert len(code(EXAMPLES / f"{name}.py")) < MOST_LINES


@pytest.mark.parametrize("name", PLAYS)
def test_an_example_locks(name: str, tmp_path: Path):
    program, *_, target = command(EXAMPLES / f"{name}.py")
    assert target.startswith(f"{name}:")
    play, env = PLAYS[name], {"FOLDER": str(tmp_path / "shared")}
    with SERVERS[program](target, cwd=EXAMPLES, env=env) as server, httpx.Client(base_url=server.url) as http:
        plain = {"Content-Type": play.content_type}
        assert http.put(play.path, content=play.body, headers=plain, auth=play.other).is_success

        locked = http.request(
            "LOCK", play.path, content="{}", headers={"Content-Type": "application/json"}, auth=play.holder
        )
        assert locked.status_code == 200, locked.text
        token = locked.headers["lock-token"]

        refused = http.put(play.path, content="not this", headers=plain, auth=play.other)
        assert refused.status_code == 423
        assert refused.json()["lock"]["root"] == f"/{play.path}"
        for line in play.also_refused:
            assert http.request(*line.split()).status_code == 423
        read = http.get(play.path, auth=play.other)
        assert read.status_code == 200
        assert "not this" not in read.text

        holding = {"If": f"({token})", **plain}
        assert http.put(play.path, content=play.body, headers=holding, auth=play.holder).status_code == play.written
        unlocked = http.request("UNLOCK", play.path, headers={"Lock-Token": token}, auth=play.holder)
        assert unlocked.status_code == 204
        assert http.put(play.path, content=play.body, headers=plain, auth=play.other).status_code == play.written
        for line in play.also_refused:
            assert http.request(*line.replace("tea", "yes").split()).is_success


def test_the_wiki_lets_nobody_hold_a_lock_by_another_name():
    program, *_, target = command(EXAMPLES / "flask_wiki.py")
    with SERVERS[program](target, cwd=EXAMPLES) as server, httpx.Client(base_url=server.url) as http:
        for auth in (None, ("alice", "wrong"), ("nobody", "")):
            answer = http.request("LOCK", "wiki/start", content="{}", auth=auth)
            assert answer.status_code == 401
            assert answer.headers["www-authenticate"].startswith("Basic")
        alices = http.request("LOCK", "wiki/start", content="{}", auth=("alice", "wonderland"))
        holding = {"If": f"({alices.headers['lock-token']})"}
        assert http.put("wiki/start", content="x", headers=holding, auth=("bob", "builder")).status_code == 423
