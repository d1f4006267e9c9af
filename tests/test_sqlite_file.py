"""The file of the SQLite store: where it may lie, what is refused, who makes it, what happens if it is exchanged."""

from __future__ import annotations

import os
import shutil
import socket
import sqlite3

import pytest

from locklib.errors import ConfigurationError, StoreUnavailable
from locklib.stores.sqlite import AsyncSqliteLockStore, SqliteLockStore, place, url_of_path
from locklib.stores.sqlite import file as module
from locklib.stores.sqlite.place import file_system_of, is_mounted_alone, path_of_url
from locklib.stores.sqlite.schema import APPLICATION_ID
from support.sqlite import acquire, child, everything, files, grant, keys, new, told


@pytest.fixture
def path(tmp_path):
    return tmp_path / "locks.db"


@pytest.fixture
def store(path):
    store = SqliteLockStore(path)
    yield store
    store.close()


# ---- places ----------------------------------------------------------------------------------------------------------


def foreign(path, *statements):
    connection = sqlite3.connect(path)
    for statement in statements:
        connection.execute(statement)
    connection.commit()
    connection.close()


def made(path, *statements):
    store = SqliteLockStore(path)
    acquire(store, "/a")
    store.close()
    foreign(path, *statements)


def socket_at(path):
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))


PLACES = {
    "a directory": (lambda path: path.mkdir(), "is a directory"),
    "a socket": (socket_at, "not an ordinary file"),
    "a text file": (lambda path: path.write_text("locks\n" * 500), "no database"),
    "another program's database": (lambda path: foreign(path, "CREATE TABLE t (x)"), "another program"),
    "another program's mark": (lambda path: foreign(path, "PRAGMA application_id = 7"), "another program"),
    "another program's version": (lambda path: foreign(path, "PRAGMA user_version = 1"), "another program"),
    "a newer schema": (lambda path: made(path, "PRAGMA user_version = 99"), "newer version.*99"),
    "two names": (lambda path: (made(path), os.link(path, f"{path}.2")), "second name"),
}


@pytest.mark.parametrize(("make", "words"), PLACES.values(), ids=PLACES)
def test_a_place_that_cannot_hold_locks_is_refused_and_left_alone(make, words, path, store):
    make(path)
    before = path.read_bytes() if path.is_file() else None
    for use in (store.open, lambda: acquire(store, "/a"), lambda: everything(store), store.notes, store.promises):
        with pytest.raises(ConfigurationError, match=words):
            use()
    assert store.near("", "/a")
    assert (path.read_bytes() if path.is_file() else None) == before
    assert not files(store)


def test_a_directory_that_is_not_there(tmp_path):
    with pytest.raises(ConfigurationError, match=r"no directory .*/none"):
        SqliteLockStore(tmp_path / "none" / "locks.db").open()


@pytest.mark.parametrize("what", ["directory", "file"])
def test_not_writable(what, tmp_path):
    """By somebody who is not root, for root may write everywhere."""
    tmp_path.chmod(0o777)
    for above in tmp_path.parents[:3]:
        above.chmod(above.stat().st_mode | 0o011)
    made(tmp_path / "locks.db")
    shutil.rmtree(tmp_path / "locks.db-permits")
    (tmp_path / "locks.db-turn").unlink()
    (tmp_path / "locks.db").chmod(0o644)
    if what == "directory":
        tmp_path.chmod(0o755)
    code = """
        store = SqliteLockStore(path)
        if os.getuid() == 0:
            os.setuid(65534)
        try:
            store.open()
        except ConfigurationError as error:
            print(error)
    """
    if os.getuid():
        (tmp_path / "locks.db").chmod(0o444)
        if what == "directory":
            tmp_path.chmod(0o555)
    try:
        assert "writable for this process" in told(child(code, tmp_path / "locks.db"))
    finally:
        tmp_path.chmod(0o755)


@pytest.mark.parametrize("name", ["", ":memory:", "a\0b"])
def test_what_names_no_file(name):
    with pytest.raises(ConfigurationError, match="memory://"):
        SqliteLockStore(name)


@pytest.mark.parametrize("timeout", [0, -1, float("nan"), float("inf"), 3601])
def test_a_timeout_is_a_number_of_seconds(timeout, path):
    with pytest.raises(ConfigurationError, match="timeout="):
        SqliteLockStore(path, timeout=timeout)


@pytest.mark.parametrize("what", ["directory", "file"])
def test_not_writable_as_the_system_says_it(what, path, store, monkeypatch):
    made(path)
    monkeypatch.setattr(os, "access", lambda asked, _: (asked == str(path)) is (what == "directory"))
    with pytest.raises(ConfigurationError, match="writable for this process"):
        store.open()


@pytest.mark.parametrize("writable", [True, False])
def test_what_cannot_be_opened_is_a_setting_only_if_it_may_not_be_opened(writable, path, store, monkeypatch):
    """Else there are too many open files, which will pass."""
    made(path)
    monkeypatch.setattr(module, "check_place", lambda path: None)
    monkeypatch.setattr(os, "access", lambda *_: writable)
    monkeypatch.setattr(sqlite3, "connect", unable)
    with pytest.raises(StoreUnavailable if writable else ConfigurationError, match="unable to open"):
        store.open()


def unable(*_, **__):
    error = sqlite3.OperationalError("unable to open database file")
    error.sqlite_errorname = "SQLITE_CANTOPEN"
    raise error


MOUNTS = b"""22 1 8:1 / / rw - ext4 /dev/sda1 rw
30 22 0:40 / /srv rw,relatime shared:1 - nfs4 server:/srv rw
31 30 8:2 / /srv/local rw - xfs /dev/sdb rw
32 22 0:41 / /mnt/with\\040blank rw - cifs //host/share rw
33 22 0:42 / /mnt/\xc3\xa9 rw - fuse.sshfs host: rw
34 22 8:1 /x /over rw - ext4 /dev/sda1 rw
35 34 0:43 / /over rw - 9p share rw
36 22 8:1 /l /data/locks.db rw - ext4 /dev/sda1 rw
a line
"""


@pytest.mark.parametrize(
    ("place", "kind"),
    [
        ("/var/lib", "ext4"),
        ("/srv", "nfs4"),
        ("/srv/x/y", "nfs4"),
        ("/srvx", "ext4"),
        ("/srv/local/x", "xfs"),
        ("/mnt/with blank/x", "cifs"),
        ("/mnt/é/x", "fuse.sshfs"),
        ("/over/x", "9p"),
    ],
)
def test_the_file_system_of_a_place(place, kind, tmp_path):
    table = tmp_path / "mountinfo"
    table.write_bytes(MOUNTS)
    assert file_system_of(place, str(table)) == kind


def test_the_file_system_where_the_kernel_does_not_say(tmp_path):
    assert file_system_of("/", str(tmp_path / "none")) is None


def test_a_file_that_is_mounted_by_itself(tmp_path):
    table = tmp_path / "mountinfo"
    table.write_bytes(MOUNTS)
    assert is_mounted_alone("/data/locks.db", str(table))
    assert not is_mounted_alone("/data/other.db", str(table))


@pytest.mark.parametrize(
    ("name", "answer", "words"),
    [("file_system_of", "nfs4", "network file system .nfs4"), ("is_mounted_alone", True, "mounted by itself")],
)
def test_a_place_that_several_hosts_or_containers_share_is_refused(name, answer, words, path, store, monkeypatch):
    made(path)
    monkeypatch.setattr(place, name, lambda *_: answer)
    with pytest.raises(ConfigurationError, match=words):
        store.open()


def test_a_file_that_cannot_have_a_log_is_refused(path, store, monkeypatch):
    real = sqlite3.connect

    def connect(*args, **options):  # as on file systems without shared memory
        connection = real(*args, **options)
        connection.execute("PRAGMA locking_mode=NORMAL")
        return Stubborn(connection)

    class Stubborn:
        def __init__(self, connection):
            object.__setattr__(self, "connection", connection)

        def __getattr__(self, name):
            return getattr(self.connection, name)

        def execute(self, text, *values):
            return self.connection.execute(text.replace("journal_mode=WAL", "journal_mode=DELETE"), *values)

    monkeypatch.setattr(sqlite3, "connect", connect)
    with pytest.raises(ConfigurationError, match="write-ahead log"):
        store.open()


def test_a_pragma_that_fails_leaves_no_connection(path, store, monkeypatch):
    real = sqlite3.connect
    opened = []

    class Failing(sqlite3.Connection):
        def execute(self, *_):
            raise sqlite3.OperationalError("no")

    def connect(*args, **options):
        opened.append(real(*args, factory=Failing, **options))
        return opened[-1]

    monkeypatch.setattr(sqlite3, "connect", connect)
    with pytest.raises(StoreUnavailable):
        store.open()
    with pytest.raises(sqlite3.ProgrammingError, match="closed"):
        opened[0].cursor()


# ---- names -----------------------------------------------------------------------------------------------------------

URLS = {
    "sqlite:///locks.db": ("locks.db", None),
    "sqlite:///dir/locks.db": ("dir/locks.db", None),
    "sqlite:////var/lib/locks.db": ("/var/lib/locks.db", None),
    "sqlite:////tmp/a%20b%3Fc%23.db": ("/tmp/a b?c#.db", None),
    "sqlite:////tmp/%C3%A9.db": ("/tmp/é.db", None),
    "sqlite:////tmp/%FF.db": (os.fsdecode(b"/tmp/\xff.db"), None),
    "sqlite:///locks.db?timeout=2.5": ("locks.db", 2.5),
    "sqlite:///locks.db?": ("locks.db", None),
}
WRONG_URLS = {
    "sqlite://locks.db": "names no file",
    "sqlite:///": "names no file",
    "sqlite:locks.db": "names no file",
    "mysql:///locks.db": "names no file",
    "sqlite:///locks.db?mode=ro": "'mode' is no option",
    "sqlite:///locks.db?timeout=soon": "not a number",
    "sqlite:///locks.db?timeout=": "not a number",
    "sqlite:///locks.db?timeout=0": "above 0",
    "sqlite:///locks.db?timeout=inf": "above 0",
    "sqlite:///:memory:": "names no file",
    "sqlite:///a%00b": "names no file",
}


@pytest.mark.parametrize("url", URLS)
def test_a_url_names_a_path(url):
    assert path_of_url(url) == URLS[url]


@pytest.mark.parametrize("url", WRONG_URLS)
@pytest.mark.parametrize("kind", [SqliteLockStore, AsyncSqliteLockStore])
def test_a_wrong_url_is_refused(kind, url):
    with pytest.raises(ConfigurationError, match=WRONG_URLS[url]):
        kind.from_url(url)


@pytest.mark.parametrize("name", ["locks.db", "a b?c#%20.db", "é.db", os.fsdecode(b"\xff.db")], ids=ascii)
def test_a_path_comes_back_from_its_url(name, tmp_path):
    store = SqliteLockStore.from_url(url_of_path(tmp_path / name))
    grant(store, new("/a"))
    assert store.path == str(tmp_path / name)
    assert os.path.getsize(tmp_path / name)
    store.close()


def test_a_timeout_from_the_url_is_kept(path):
    url = f"{url_of_path(path)}?timeout=1.5"
    assert SqliteLockStore.from_url(url)._sqlite.timeout == 1.5
    assert AsyncSqliteLockStore.from_url(url)._sqlite.timeout == 1.5


def test_a_relative_path_is_of_the_directory_that_it_was_named_in(tmp_path, monkeypatch):
    (tmp_path / "other").mkdir()
    monkeypatch.chdir(tmp_path)
    store = SqliteLockStore("locks.db")
    monkeypatch.chdir(tmp_path / "other")
    grant(store, new("/a"))
    store.close()
    assert (tmp_path / "locks.db").exists()
    assert list((tmp_path / "other").iterdir()) == []
    assert keys(store) == ["/a"]
    store.close()


def test_a_link_and_what_it_leads_to_have_one_log_and_one_board(path, store, tmp_path):
    store.open()
    (tmp_path / "link.db").symlink_to(path)
    other = SqliteLockStore(tmp_path / "link.db")
    assert other.path == str(path)
    grant(other, new("/a"))
    assert store.near("", "/a")
    other.close()
    assert not list(tmp_path.glob("link.db-*"))


# ---- who makes it ----------------------------------------------------------------------------------------------------


def test_processes_that_make_the_file_at_the_same_moment(tmp_path):
    """Twenty rounds of two, and each of them puts a lock; the second half of the rounds with six."""
    code = """
        number = int(sys.argv[2])
        for turn in sys.stdin:
            store = SqliteLockStore(f"{path}/{int(turn)}.db")
            grant(store, new(f"/{number}"))
            store.close()
            print("done", flush=True)
    """
    crowd = [child(code, tmp_path, number) for number in range(6)]
    for turn in range(20):
        some = crowd[: 2 if turn < 10 else 6]
        for process in some:
            process.stdin.write(f"{turn}\n")
            process.stdin.flush()
        assert [process.stdout.readline() for process in some] == ["done\n"] * len(some)
        store = SqliteLockStore(tmp_path / f"{turn}.db")
        assert keys(store) == [f"/{number}" for number in range(len(some))]
        assert len({lock.fence for lock in everything(store).values()}) == len(some)
        store.close()
    assert [told(process) for process in crowd] == [""] * 6


def test_a_file_that_comes_to_be_while_one_looks_is_not_taken_for_a_foreign_one(path, store, monkeypatch):
    """Its mark, its version and its tables are those of one moment."""
    foreign(path, "PRAGMA journal_mode = WAL")
    other = SqliteLockStore(path)
    real, seen = sqlite3.connect, []

    class Watched(sqlite3.Connection):
        def execute(self, text, *values):
            if text == "PRAGMA user_version" and not seen:
                seen.append(text)
                other.open()
            return super().execute(text, *values)

    monkeypatch.setattr(sqlite3, "connect", lambda *args, **options: real(*args, **options, factory=Watched))
    store.open()
    assert seen
    assert acquire(store, "/a")
    assert keys(other) == ["/a"]
    other.close()


def test_an_opening_does_not_wait_for_writers(store, path):
    """Nothing is written by whoever opens a file that is as it should be."""
    store.open()
    holder = sqlite3.connect(path, isolation_level=None)
    holder.execute("BEGIN IMMEDIATE")
    other = SqliteLockStore(path, timeout=0.5)
    other.open()
    assert everything(other) == {}
    other.close()
    holder.close()


def test_an_opening_that_has_to_write_waits_as_long_as_a_unit(path):
    made(path, "UPDATE state SET boot = 'another'")
    holder = sqlite3.connect(path, isolation_level=None)
    holder.execute("BEGIN IMMEDIATE")
    store = SqliteLockStore(path, timeout=0.2)
    with pytest.raises(StoreUnavailable, match="keeps it locked"):
        store.open()
    assert store.near("", "/x")
    with store._sqlite.file._opening, pytest.raises(StoreUnavailable, match="somebody else is at it"):
        store.open()
    holder.close()
    store.open()
    assert keys(store) == ["/a"]
    store.close()


def test_an_earlier_version_of_the_schema_is_brought_up(path, store, monkeypatch):
    made(path)
    monkeypatch.setattr(module, "VERSION", 2)
    monkeypatch.setattr(module, "MIGRATIONS", (*module.MIGRATIONS, ("CREATE TABLE later (x)",)))
    assert keys(store) == ["/a"]
    with store._sqlite.file.lent() as connection:
        assert connection.execute("PRAGMA user_version").fetchone() == (2,)
        assert connection.execute("PRAGMA application_id").fetchone() == (APPLICATION_ID,)
        assert connection.execute("SELECT count(*) FROM later").fetchone() == (0,)


def test_what_survives_is_told_from_the_file(store, path):
    promises = store.promises()
    assert promises[:5] == ("sqlite", "host", True, True, True)
    assert str(path) in promises.note
    assert "journal_mode=wal" in promises.note


def test_a_board_that_cannot_be_made_leaves_nothing_open(store, path):
    (path.parent / "locks.db-permits").write_text("")
    with pytest.raises(StoreUnavailable):
        store.open()
    assert files(store) <= {f"{path}-turn"}


# ---- closing ---------------------------------------------------------------------------------------------------------


def test_closed_twice_and_used_again(store, path):
    store.close()
    store.open()
    store.open()
    grant(store, new("/a"))
    store.close()
    store.close()
    assert not files(store)
    assert store.near("", "/x"), "it is not open: nobody knows"
    assert keys(store) == ["/a"]
    assert not store.near("", "/x")
    assert store.notes() == ()


def test_what_is_lent_is_closed_when_it_comes_back(store):
    store.open()
    file = store._sqlite.file
    with file.lent() as connection:
        store.close()
        assert connection.execute("SELECT 1").fetchone() == (1,)
    with pytest.raises(sqlite3.ProgrammingError):
        connection.execute("SELECT 1")
    assert not files(store)
