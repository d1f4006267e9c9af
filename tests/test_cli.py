"""The command line: what it serves, what it refuses, and what it says then."""

from __future__ import annotations

import signal
import socket
import subprocess
import sys
from pathlib import Path

import httpx
import pytest
from click.testing import CliRunner, Result

import locklib as package
from locklib.cli.commands import locklib
from locklib.cli.running import url_of
from support import servers

LOCKINFO = (
    '<D:lockinfo xmlns:D="DAV:"><D:lockscope>'
    "<D:exclusive/></D:lockscope><D:locktype><D:write/></D:locktype></D:lockinfo>"
)


def program(*args: str) -> subprocess.CompletedProcess[str]:
    """Python with these arguments, to its end."""
    return subprocess.run(
        [sys.executable, *args],
        env=servers.environment({}),
        check=False,
        capture_output=True,
        text=True,
        timeout=60,
    )


def invoke(*args: object) -> Result:
    return CliRunner().invoke(locklib, [str(arg) for arg in args])


@pytest.mark.parametrize("args", [["version"], ["--version"]], ids=["command", "option"])
def test_the_version_is_that_of_the_package(args: list[str]):
    done = program("-m", "locklib", *args)
    assert (done.returncode, done.stdout) == (0, f"http-locks {package.__version__}\n")


@pytest.mark.parametrize("args", [[], ["serve"], ["demo"], ["version"]], ids=["locklib", "serve", "demo", "version"])
def test_help_tells_of_every_command(args: list[str]):
    done = invoke(*args, "--help")
    assert done.exit_code == 0
    for expected in args or ("serve", "demo", "version"):
        assert expected in done.output


@pytest.mark.parametrize("command", [["serve", "."], ["demo"]], ids=["serve", "demo"])
def test_a_port_in_use_is_named_with_what_to_do(command: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        done = invoke(*command, "--port", port)
    assert done.exit_code == 1
    assert f"port {port} of 127.0.0.1 is in use" in done.stderr
    assert "--port" in done.stderr


def test_what_cannot_be_served_is_named(tmp_path: Path):
    file = tmp_path / "file"
    file.touch()
    missing = tmp_path / "missing"
    for directory, words in ((missing, "does not exist"), (file, "is not a directory")):
        done = invoke("serve", directory)
        assert done.exit_code == 1
        assert f"{directory} {words}" in done.stderr
    assert not missing.exists()


@pytest.mark.parametrize(
    ("args", "words"),
    [
        pytest.param(["--user", "alice"], "--user number 1 is not NAME:PASSWORD", id="user-without-password"),
        pytest.param(["--user", "a:b", "--user", ":x"], "--user number 2 is not NAME:PASSWORD", id="second-user"),
        pytest.param(["--user", "a:b", "--user", "a:c"], "names 'a' twice", id="user-twice"),
        pytest.param(["--store", "floppy://a"], "store='floppy://a'", id="store"),
        pytest.param(["--host", "192.0.2.1"], "is no address of this machine", id="foreign-address"),
        pytest.param(["--host", "host.invalid"], "is no host name or address", id="unknown-host"),
        pytest.param(["--port", "65536"], "65536", id="port"),
    ],
)
def test_arguments_that_cannot_work_are_refused_before_anything_is_served(
    tmp_path: Path, args: list[str], words: str, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("locklib.cli.serve.foreground", lambda *_: pytest.fail("served"))
    done = invoke("serve", tmp_path, "--port", "0", *args)
    assert done.exit_code in (1, 2)
    assert words in done.stderr


def test_a_password_is_never_repeated_in_an_error(tmp_path: Path):
    done = invoke("serve", tmp_path, "--user", "hunter2")
    assert done.exit_code == 1
    assert "hunter2" not in done.output


@pytest.mark.parametrize(
    ("missing", "args"),
    [pytest.param("click", [], id="click"), pytest.param("uvicorn", ["demo", "--once"], id="uvicorn")],
)
def test_a_missing_package_says_what_to_install(missing: str, args: list[str]):
    done = program(
        "-c",
        f"import sys; sys.modules[{missing!r}] = None; from locklib.cli import main; sys.argv[1:] = {args!r}; main()",
    )
    assert done.returncode == 1
    assert missing in done.stderr
    assert "pip install 'http-locks[serve]'" in done.stderr
    assert "Traceback" not in done.stderr


def test_any_other_missing_module_is_not_blamed_on_the_extra():
    done = program("-c", "import sys; sys.modules['locklib.cli.commands'] = None; from locklib.cli import main; main()")
    assert done.returncode == 1
    assert "ModuleNotFoundError" in done.stderr
    assert "pip install" not in done.stderr


# --- serve ---


def lock(http: httpx.Client, path: str) -> httpx.Response:
    return http.request("LOCK", path, content=LOCKINFO, headers={"Content-Type": "application/xml", "Depth": "0"})


def test_a_folder_is_served_with_locks(tmp_path: Path):
    (tmp_path / "a.txt").write_text("one")
    with servers.locklib_serve(tmp_path) as server, httpx.Client(base_url=server.url) as http:
        assert http.options("/").headers["dav"].replace(" ", "") == "1,2"
        locked = lock(http, "/a.txt")
        assert locked.status_code == 200
        assert http.put("/a.txt", content="two").status_code == 423
        holding = {"If": f"({locked.headers['lock-token']})"}
        assert http.put("/a.txt", content="two", headers=holding).status_code == 204
        printed = server.printed()
        assert f"{tmp_path} is served at {server.url}" in printed
        assert "423 locked PUT '/a.txt'" in printed
        assert "sqlite: one table per host" in printed
    assert (tmp_path / "a.txt").read_text() == "two"


def test_with_users_locks_belong_to_who_made_them(tmp_path: Path):
    (tmp_path / "a.txt").write_text("one")
    more = ["--user", "bob:builder"]
    with (
        servers.locklib_serve(tmp_path, user="alice:wonderland", args=more) as server,
        httpx.Client(base_url=server.url, auth=("alice", "wonderland")) as alice,
        httpx.Client(base_url=server.url, auth=("bob", "builder")) as bob,
    ):
        for auth in (None, ("alice", "builder"), ("eve", "x")):
            answer = httpx.get(f"{server.url}a.txt", auth=auth)
            assert answer.status_code == 401
            assert answer.headers["www-authenticate"].startswith("Basic ")
        token = lock(alice, "/a.txt").headers["lock-token"]
        holding = {"If": f"({token})"}
        refused = bob.put("/a.txt", content="two", headers=holding)
        assert refused.status_code == 423
        assert refused.headers["x-lock-owner"] == "alice"
        assert alice.put("/a.txt", content="two", headers=holding).status_code == 204


def test_users_may_come_from_the_environment(tmp_path: Path):
    env = {"LOCKLIB_USER": "alice:wonderland bob:builder"}
    with servers.locklib_serve(tmp_path, env=env) as server:
        assert httpx.get(server.url).status_code == 401
        for auth in (("alice", "wonderland"), ("bob", "builder")):
            assert httpx.get(server.url, auth=auth).status_code == 200


def test_an_open_folder_for_everybody_is_warned_of(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("locklib.cli.serve.foreground", lambda _, bound: bound.close())
    monkeypatch.setattr("locklib.cli.serve._log_refusals", lambda: None)
    assert "no --user is given" in invoke("serve", tmp_path, "--host", "0.0.0.0", "--port", "0").stderr
    assert invoke("serve", tmp_path, "--host", "0.0.0.0", "--port", "0", "--user", "a:b").stderr == ""
    assert invoke("serve", tmp_path, "--port", "0").stderr == ""


def test_ctrl_c_ends_the_server_well(tmp_path: Path):
    with servers.locklib_serve(tmp_path) as server:
        server.process.send_signal(signal.SIGINT)
        assert server.process.wait(20) == 0
        assert "Traceback" not in server.printed()


@pytest.mark.parametrize("command", [["serve", "."], ["demo", "--once"]], ids=["serve", "demo"])
def test_an_application_that_does_not_start_is_an_exit_status(
    command: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """The disk is said to be a network's, where no lock between processes can be relied on."""
    monkeypatch.chdir(tmp_path)
    code = "import locklib.stores.sqlite.place as place; place.file_system_of = lambda *_: 'nfs4'"
    done = program("-c", f"{code}; from locklib.cli import main; main()", *command, "--port", "0")
    assert done.returncode == 1
    assert "network file system (nfs4)" in done.stderr
    assert "the server did not start" in done.stderr


def test_the_fragment_of_a_target_is_seen(tmp_path: Path):
    """httptools would drop it, and answer for a URL that was not asked for."""
    (tmp_path / "a").write_text("one")
    with servers.locklib_serve(tmp_path) as server, socket.create_connection(("127.0.0.1", server.port)) as raw:
        raw.sendall(b"GET /a#b HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        assert raw.makefile("rb").readline().split()[1] != b"200"


@pytest.mark.parametrize(
    ("host", "url"),
    [
        pytest.param("127.0.0.1", "http://127.0.0.1:{}", id="ipv4"),
        pytest.param("0.0.0.0", "http://127.0.0.1:{}", id="all"),
        pytest.param("::1", "http://[::1]:{}", id="ipv6"),
        pytest.param("::", "http://[::1]:{}", id="all-ipv6"),
    ],
)
def test_the_url_that_is_told_can_be_asked(host: str, url: str):
    class Bound:
        def getsockname(self) -> tuple[str, int, int, int]:
            return host, 8423, 0, 0

    assert url_of(Bound()) == url.format(8423)
