"""Real clients on real servers: litmus, cadaver and npm `webdav` against `locklib serve` and wrapped WsgiDAV.

litmus: `locks` whole, with nothing skipped and nothing warned of; every other suite as good as the wrapped application
is alone. WsgiDAV and its servers never see the fragment of a request (litmus warns of that), with locklib or without.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from support import clients, servers

EXAMPLES = Path(__file__).parent.parent / "examples"
SUITES = ("basic", "copymove", "props", "locks", "http")
TOTALS = {"basic": 16, "copymove": 13, "props": 30, "locks": 41, "http": 4}
FRAGMENT = "DELETE removed collection resource with Request-URI including fragment; unsafe"

Litmus = Callable[..., dict[str, clients.LitmusSuite]]
Cadaver = Callable[..., list[clients.CadaverStep]]
Npm = Callable[..., list[dict[str, Any]]]


@pytest.fixture(params=["serve", "gunicorn", "waitress"])
def server(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[servers.Server]:
    folder = tmp_path / "shared"
    folder.mkdir()
    wrapped = {"env": {"FOLDER": str(folder)}, "cwd": EXAMPLES}
    starting = {
        "serve": lambda: servers.locklib_serve(folder),
        "gunicorn": lambda: servers.gunicorn("wsgidav_folder:application", **wrapped),
        "waitress": lambda: servers.waitress("wsgidav_folder:application", **wrapped),
    }
    with starting[request.param]() as running:
        yield running


def test_litmus_finds_nothing_to_complain_of(server: servers.Server, litmus: Litmus) -> None:
    suites = litmus(server.url, SUITES)
    assert {name: (suite.passed, suite.total) for name, suite in suites.items()} == {
        name: (total, total) for name, total in TOTALS.items()
    }
    assert not any(suite.skipped or suite.failures for suite in suites.values())
    assert not suites["locks"].warnings
    others = [warning for suite in suites.values() for warning in suite.warnings]
    assert all(FRAGMENT in warning for warning in others)
    assert not others or server.name != "locklib serve"


def test_litmus_with_credentials(tmp_path: Path, litmus: Litmus) -> None:
    """With users, locks have creators: the whole of `locks` again, as somebody."""
    with servers.locklib_serve(tmp_path, user="alice:pw") as server:
        suite = litmus(server.url, ("locks",), user="alice", password="pw")["locks"]
    assert (suite.passed, suite.total, suite.skipped, suite.warnings) == (41, 41, [], [])


def test_cadaver_locks_edits_and_unlocks(server: servers.Server, cadaver: Cadaver) -> None:
    commands = ["put a.txt", "lock a.txt", "discover a.txt", "put a.txt", "unlock a.txt", "edit a.txt", "cat a.txt"]
    put, lock, discover, again, unlock, edit, cat = cadaver(
        server.url, commands, files={"a.txt": b"one\n"}, edit_adds="two"
    )
    assert put.good
    assert lock.good
    assert len(discover.tokens) == 1
    assert again.good, "the holder's own PUT carries its token"
    assert unlock.good
    assert edit.good, "edit locks, gets, puts and unlocks"
    assert cat.printed.count("two") == 1


def test_cadaver_is_refused_by_anothers_lock_and_steals_it(server: servers.Server, cadaver: Cadaver) -> None:
    cadaver(server.url, ["put b.txt", "lock b.txt"], files={"b.txt": b"one\n"})
    refused, steal, put, unlock, free = cadaver(
        server.url,
        ["put b.txt", "steal b.txt", "put b.txt", "unlock b.txt", "delete b.txt"],
        files={"b.txt": b"mine\n"},
    )
    assert refused.status == 423
    assert len(steal.tokens) == 1
    assert put.good, "these are bearer locks: the token that was found opens"
    assert unlock.good
    assert free.good


def test_the_npm_client_locks_writes_and_unlocks(server: servers.Server, webdav_npm: Npm) -> None:
    lock, refused, put, unlock, free, got = webdav_npm(
        server.url,
        [
            {"do": "lock", "path": "/c.txt", "as": "mine"},
            {"do": "put", "path": "/c.txt", "body": "foreign"},
            {"do": "put", "path": "/c.txt", "body": "mine", "with": "mine"},
            {"do": "unlock", "path": "/c.txt", "with": "mine"},
            {"do": "put", "path": "/c.txt", "body": "free"},
            {"do": "get", "path": "/c.txt"},
        ],
    )
    assert lock["ok"]
    assert lock["token"].startswith("urn:uuid:")
    assert lock["serverTimeout"] == "Second-86400", "it asks for ever, and gets a day"
    assert (refused["ok"], refused["status"]) == (False, 423)
    assert put["ok"]
    assert unlock["ok"], "it sends its token bare, without brackets"
    assert free["ok"]
    assert got["body"] == "free"
