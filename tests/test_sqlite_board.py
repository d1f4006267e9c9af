"""The board of permits of the SQLite store: what every process of a host sees of those at work, and when it ends."""

from __future__ import annotations

import asyncio
import fcntl
import gc
import math
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from zlib import crc32

import pytest

from locklib.core.model import Depth, Lock, Permit
from locklib.errors import ConfigurationError, StoreUnavailable
from locklib.stores.base import NeverWaiting
from locklib.stores.sqlite import segments
from locklib.stores.sqlite.board import Board

ROOT = Lock("t", "/")
PATIENCE = 30.0

PRELUDE = """
import os, sys, time, signal, resource
from locklib.core.model import Lock, Permit
from locklib.stores.sqlite.board import Board
directory = sys.argv[1]
board = Board(directory)
say = lambda *words: print(*words, flush=True)
hear = sys.stdin.readline
ROOT = Lock("t", "/")
"""


class Child:
    """A process with a board of its own on `directory`, that runs `code` and talks by lines."""

    def __init__(self, directory: Path, code: str) -> None:
        path = os.pathsep.join([str(Path(segments.__file__).parents[3]), *filter(None, [os.environ.get("PYTHONPATH")])])
        self.process = subprocess.Popen(
            [sys.executable, "-c", PRELUDE + code, str(directory)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": path},
        )

    def says(self) -> str:
        return self.process.stdout.readline().strip()

    def tell(self, line: str = "") -> None:
        self.process.stdin.write(line + "\n")
        self.process.stdin.flush()

    def ended(self) -> int:
        for pipe in (self.process.stdin, self.process.stdout):
            pipe.close()
        return self.process.wait(PATIENCE)

    def kill(self) -> None:
        self.process.kill()
        self.ended()


class Clock:
    def __init__(self) -> None:
        self.now = 1_000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    return tmp_path / "locks.db-permits"


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def board(directory: Path, clock: Clock) -> Iterator[Board]:
    made = Board(directory, clock)
    yield made
    made.close()


@pytest.fixture
def other(directory: Path, clock: Clock) -> Iterator[Board]:
    """Another board of the same process, which is as foreign as another process."""
    made = Board(directory, clock)
    yield made
    made.close()


def permit(name: str = "p", **fields: Any) -> Permit:
    return Permit(name, "ns", **{"keys": ("/a",), **fields})


def names(board: Board, lock: Lock = ROOT, namespace: str = "ns") -> set[str]:
    return {shown.id for shown in board.older(namespace, lock)}


def keys(board: Board, namespace: str = "ns") -> list[str]:
    return sorted(shown.keys[0] for shown in board.older(namespace, ROOT))


def files(directory: Path) -> list[str]:
    return sorted(os.listdir(directory)) if directory.exists() else []


def spot(board: Board, name: str) -> tuple[Any, int, int]:
    return board._permits[name][0]


def until(holds: Any) -> None:
    end = time.monotonic() + PATIENCE
    while not holds():
        assert time.monotonic() < end
        time.sleep(0.005)


# ---- publish, look, end -----------------------------------------------------------------------------------------


def test_a_permit_is_seen_by_every_board_until_it_ends(board: Board, other: Board) -> None:
    board.publish(permit())
    for looker in (board, other):
        assert looker.older("ns", ROOT) == (permit(),)
        assert looker.older("other", ROOT) == ()
        assert looker.older("ns", Lock("t", "/b")) == ()
        assert looker.live(("p", "q")) == {"p"}
        assert looker.live(()) == frozenset()
    other.end(permit())
    assert names(board) == {"p"}
    board.end(permit())
    board.end(permit())
    for looker in (board, other):
        assert looker.older("ns", ROOT) == ()
        assert looker.live(("p",)) == frozenset()


def test_a_permit_is_live_for_one_who_has_not_looked(board: Board, other: Board) -> None:
    board.publish(permit())
    assert other.live(("p",)) == board.live(("p",)) == {"p"}


def test_a_permit_that_is_published_again_stands_once(board: Board, other: Board) -> None:
    board.publish(permit())
    assert names(other) == {"p"}
    board.publish(permit(keys=("/b",)))
    assert [shown.keys for shown in other.older("ns", ROOT)] == [("/b",)]
    assert other.live(("p",)) == {"p"}
    board.end(permit())
    assert names(other) == set()


@pytest.mark.parametrize("tree", [False, True], ids=["write", "removal"])
def test_a_claim_is_a_permit(board: Board, other: Board, tree: bool) -> None:
    claim, rest = board.claim_now("ns", "/a/b", tree), board.claim_now("ns", "/")
    for looker in (board, other):
        (shown,) = looker.older("ns", Lock("t", "/a/b"))
        assert (shown.keys, shown.memberships, shown.trees) == (("/a/b",), ("/a",), ("/a/b",) if tree else ())
        assert names(looker, Lock("t", "/a", depth=Depth.ZERO)) == {shown.id}
        assert names(looker, Lock("t", "/a/b/c")) == ({shown.id} if tree else set())
        assert shown.lasts == math.inf
        assert looker.live((shown.id,)) == {shown.id}
    board.end_now(claim)
    board.end_now(claim)
    assert other.live((shown.id,)) == frozenset()
    (left,) = other.older("ns", ROOT)
    assert (left.keys, left.memberships) == (("/",), ())
    board.end_now(rest)
    assert keys(other) == []


def test_a_claim_that_was_seen_ends_by_its_permit_in_its_own_board_only(board: Board, other: Board) -> None:
    claim, stays = board.claim_now("ns", "/a"), board.claim_now("ns", "/b")
    shown = next(shown for shown in board.older("ns", ROOT) if shown.keys == ("/a",))
    other.end(shown)
    assert keys(other) == ["/a", "/b"]
    board.end(shown)
    board.end(shown)
    board.end_now(claim)
    assert keys(other) == ["/b"]
    board.end_now(stays)


def test_a_slot_is_used_again_and_an_old_claim_does_not_end_the_new_one(board: Board, other: Board) -> None:
    old = board.claim_now("ns", "/a")
    (first,) = other.older("ns", ROOT)
    board.end_now(old)
    new = board.claim_now("ns", "/b")
    assert new[0] is old[0]
    board.end_now(old)
    board.end(first)
    (second,) = other.older("ns", ROOT)
    assert second.keys == ("/b",)
    assert other.live((first.id, second.id)) == {second.id}
    board.end_now(new)


def test_claims_that_alternate_use_one_slot(board: Board) -> None:
    used = set()
    for number in range(1_000):
        claim = board.claim_now("ns", f"/{number}")
        used.add(claim[0][1])
        board.end_now(claim)
    assert used == {0}


@pytest.mark.parametrize(
    "key",
    [
        pytest.param("/\udc80\udcff", id="lone-surrogates"),
        pytest.param("/\ud83d\ude00", id="two-halves-that-are-not-one-character"),
        pytest.param("/\U0001f600", id="astral"),
        pytest.param("/a\x00b\n", id="nul-and-newline"),
        pytest.param("/7 12 /x", id="numbers-and-blanks"),
        pytest.param('/"\\u0000', id="json"),
        pytest.param("/" + "ä" * 200, id="longer-than-a-small-slot"),
        pytest.param("/" + "x" * 100_000, id="100-kB"),
    ],
)
def test_every_text_survives(board: Board, other: Board, key: str) -> None:
    claim = board.claim_now(key, key)
    whole = Permit("id" + key, key, (key,), (key,), (key,), (key,), key, 5.0)
    board.publish(whole)
    shown = {one.id: one for one in other.older(key, ROOT)}
    assert shown.pop(whole.id) == whole
    (plain,) = shown.values()
    assert (plain.namespace, plain.keys) == (key, (key,))
    board.end_now(claim)
    board.end(whole)
    assert other.older(key, ROOT) == ()


def test_a_permit_of_nobody_without_an_end_survives(board: Board, other: Board) -> None:
    board.publish(permit(keys=(), trees=("/a",), creator=None, lasts=math.inf))
    assert other.older("ns", ROOT) == (permit(keys=(), trees=("/a",)),)


# ---- number and size ----------------------------------------------------------------------------------------------


def test_two_thousand_at_once_and_the_space_is_given_back(board: Board, other: Board, directory: Path) -> None:
    claims = [board.claim_now("ns", f"/{number}") for number in range(2_000)]
    for number in range(1_500):
        board.publish(permit(f"p{number}", keys=(f"/p{number}",)))
    assert len(files(directory)) == 4
    assert len(names(other)) == 3_500
    for claim in claims:
        board.end_now(claim)
    assert len(names(other)) == 1_500
    for number in range(1_500):
        board.end(permit(f"p{number}"))
    assert names(board) == set()
    assert len(files(directory)) == 1
    assert names(other) == set()
    again = [board.claim_now("ns", f"/{number}") for number in range(1_500)]
    assert len({(claim[0][0].name, claim[0][1]) for claim in again}) == 1_500
    assert len(keys(other)) == 1_500


def test_a_segment_in_use_is_not_given_back(board: Board, other: Board, directory: Path) -> None:
    claims = [board.claim_now("ns", f"/{number}") for number in range(3 * 1_024)]
    used = {claim[0][0]: claim for claim in claims}
    for claim in claims:
        if claim not in used.values():
            board.end_now(claim)
    expected = sorted(board_key for board_key in keys(other))
    assert len(expected) == 3
    assert keys(board) == keys(other) == expected
    assert len(files(directory)) == 3


@pytest.mark.parametrize("count", [1, 3])
def test_a_big_permit(board: Board, other: Board, count: int) -> None:
    big = [permit(f"big{n}", keys=tuple(f"/{n}/{i}/" + "k" * 4_096 for i in range(200))) for n in range(count)]
    for one in big:
        board.publish(one)
    assert sorted(other.older("ns", ROOT), key=lambda one: one.id) == big
    for one in big:
        board.end(one)
    assert names(other) == set()


def test_the_files_are_private_and_small(board: Board, directory: Path) -> None:
    board.open()
    board.open()
    (name,) = files(directory)
    assert directory.stat().st_mode & 0o777 == 0o700
    assert (directory / name).stat().st_mode & 0o777 == 0o600
    assert (directory / name).stat().st_size < 300_000


# ---- deadlines (I9) -------------------------------------------------------------------------------------------------


def test_i9_a_permit_ends_at_its_deadline(board: Board, other: Board, clock: Clock) -> None:
    board.publish(permit("left", lasts=10))
    board.publish(permit("renewed", lasts=10))
    board.publish(permit("endless"))
    claim = board.claim_now("ns", "/a")
    (plain,) = names(board) - {"left", "renewed", "endless"}
    clock.now += 9
    assert names(other) == {"left", "renewed", "endless", plain}
    board.renew(permit("renewed", lasts=10))
    clock.now += 1
    assert other.live(("left", "renewed", "endless", plain)) == {"renewed", "endless", plain}
    assert names(other) == {"renewed", "endless", plain}
    clock.now += 10
    assert names(other) == {"endless", plain}
    board.end_now(claim)


def test_i9_the_owner_takes_off_what_is_past_its_deadline(board: Board, clock: Clock) -> None:
    board.publish(permit(lasts=10))
    segment, slot, _ = spot(board, "p")
    clock.now += 10
    assert names(board) == set()
    assert not segment.words[slot] & 1
    assert (board._permits, board._held) == ({}, {})


def test_i9_a_renewal_after_the_deadline_does_not_bring_a_permit_back(board: Board, other: Board, clock: Clock) -> None:
    board.publish(permit(lasts=10))
    clock.now += 10
    assert names(other) == set()
    board.renew(permit(lasts=10))
    assert names(other) == names(board) == set()


def test_a_renewal_after_the_end_does_not_touch_who_has_the_slot_now(board: Board, other: Board, clock: Clock) -> None:
    board.publish(permit("old", lasts=10))
    board.end(permit("old"))
    board.publish(permit("new", lasts=10))
    clock.now += 9
    board.renew(permit("old", lasts=10))
    clock.now += 1
    assert names(other) == set()


def test_a_deadline_that_is_no_number_never_comes(board: Board, other: Board, clock: Clock) -> None:
    board.publish(permit(lasts=math.nan))
    clock.now += 1e9
    board.renew(permit(lasts=math.nan))
    assert names(other) == names(board) == {"p"}


# ---- other processes ------------------------------------------------------------------------------------------------

PUBLISHER = """
claim = board.claim_now("ns", "/claimed")
board.publish(Permit("p", "ns", keys=("/published",)))
say("out")
hear()
"""


@pytest.fixture
def publisher(directory: Path) -> Iterator[Child]:
    child = Child(directory, PUBLISHER)
    yield child
    if child.process.poll() is None:
        child.kill()


def test_i9_kill_9_of_a_writer_ends_its_permits_at_once(board: Board, directory: Path, publisher: Child) -> None:
    board.open()
    assert publisher.says() == "out"
    assert keys(board) == ["/claimed", "/published"]
    shown = names(board)
    publisher.kill()
    assert board.live(shown) == frozenset()
    assert keys(board) == []
    assert len(files(directory)) == 1


def test_what_a_dead_process_left_is_removed_by_one_who_never_knew_it(directory: Path, publisher: Child) -> None:
    publisher.says()
    publisher.kill()
    assert len(files(directory)) == 1
    looker = Board(directory)
    assert looker.older("ns", ROOT) == ()
    assert files(directory) == []


def test_two_who_ask_whether_an_owner_lives_do_not_take_each_other_for_it(directory: Path, publisher: Child) -> None:
    publisher.says()
    looker, known = Board(directory), Board(directory)
    assert len(names(known)) == 2
    (name,) = files(directory)
    with (directory / name).open("rb") as asking:
        publisher.kill()
        fcntl.flock(asking, fcntl.LOCK_SH | fcntl.LOCK_NB)
        assert names(looker) == names(known) == set()
    assert files(directory) == []


def test_a_stopped_writer_is_still_at_work(board: Board, publisher: Child) -> None:
    publisher.says()
    publisher.process.send_signal(signal.SIGSTOP)
    os.waitpid(publisher.process.pid, os.WUNTRACED)
    assert keys(board) == ["/claimed", "/published"]
    assert board.live(("p",)) == {"p"}
    publisher.process.send_signal(signal.SIGCONT)
    publisher.tell()
    assert publisher.ended() == 0
    assert keys(board) == []


def test_a_publication_that_has_returned_is_seen(board: Board, directory: Path) -> None:
    child = Child(
        directory,
        """
while (line := hear().strip()):
    claim = board.claim_now("ns", line)
    say("out")
    hear()
    board.end_now(claim)
    say("ended")
""",
    )
    for number in range(300):
        child.tell(f"/{number}")
        assert child.says() == "out"
        assert keys(board) == [f"/{number}"]
        child.tell()
        assert child.says() == "ended"
        assert keys(board) == []
    child.tell()
    assert child.ended() == 0


STORM = """
say("ready")
hear()
for number in range(10_000):
    claim = board.claim_now("ns", f"/{os.getpid()}/{number}", not number % 3)
    if not number % 10:
        board.publish(Permit(f"{os.getpid()}:{number}", "ns", keys=("/p/" + "x" * (number % 700),), lasts=60))
    board.end_now(claim)
    if not number % 10:
        board.end(Permit(f"{os.getpid()}:{number}", "ns"))
say("done")
hear()
"""


def test_a_storm_of_four_processes_before_a_fifth_that_looks(directory: Path) -> None:
    board, children = Board(directory), [Child(directory, STORM) for _ in range(4)]
    assert [child.says() for child in children] == ["ready"] * 4
    for child in children:
        child.tell()
    finished: list[str] = []
    waiting = [threading.Thread(target=lambda child=child: finished.append(child.says())) for child in children]
    for thread in waiting:
        thread.start()
    tops = {"p", *(str(child.process.pid) for child in children)}
    seen = looks = 0
    while any(thread.is_alive() for thread in waiting):
        shown = board.older("ns", ROOT)
        seen, looks = seen + len(shown), looks + 1
        assert all(one.keys and one.keys[0].split("/")[1] in tops for one in shown)
        assert all(one.trees in ((), one.keys) for one in shown)
        board.live([one.id for one in shown])
    assert finished == ["done"] * 4
    assert looks > 10
    assert seen
    assert len(files(directory)) >= 4
    assert board.older("ns", ROOT) == ()
    for child in children:
        child.tell()
        assert child.ended() == 0
    assert board.older("ns", ROOT) == ()
    assert files(directory) == []


def test_threads_publish_and_end_at_the_same_time(board: Board, other: Board) -> None:
    def work(number: int) -> None:
        for turn in range(60):
            claims = [board.claim_now("ns", f"/{number}/{turn}/{n}") for n in range(160)]
            board.publish(permit(f"{number}:{turn}"))
            for claim in claims:
                board.end_now(claim)
                board.end_now(claim)
            board.end(permit(f"{number}:{turn}"))
            if not turn % 20:
                board.older("ns", ROOT)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(10)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert names(board) == names(other) == set()
    free = [(one[0].name, one[1]) for one in board._small]
    assert len(free) == len(set(free)) == sum(segment.count for segment in board._own)


# ---- fork -----------------------------------------------------------------------------------------------------------


def forked(work: Any) -> int:
    """Run `work` in a forked child; its exit status is 0 if all went well."""
    child = os.fork()
    if child:
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    status = 1
    try:
        work()
        status = 0
    finally:
        os._exit(status)


def test_i19_a_forked_child_does_not_touch_what_its_parent_published(board: Board, other: Board) -> None:
    claim = board.claim_now("ns", "/claimed")
    board.publish(permit("p", keys=("/published",), lasts=10))
    shown = board.older("ns", ROOT)

    def work() -> None:
        assert board.live([one.id for one in shown]) == {one.id for one in shown}
        assert keys(board) == keys(other) == ["/claimed", "/published"]
        board.end_now(claim)
        for one in shown:
            board.renew(one)
            board.end(one)
        board._clock.now += 10
        assert keys(board) == ["/claimed"]
        board.close()
        other.close()

    assert forked(work) == 0
    assert keys(board) == keys(other) == ["/claimed", "/published"]
    board.end_now(claim)
    assert keys(other) == ["/published"]


def test_i19_a_forked_child_has_a_file_of_its_own(board: Board, directory: Path) -> None:
    board.open()
    parents = files(directory)

    def work() -> None:
        claim = board.claim_now("ns", "/child")
        assert keys(board) == ["/child"]
        (name,) = set(files(directory)) - set(parents)
        assert name.startswith(f"{os.getpid()}-")
        board.end_now(claim)
        board.claim_now("ns", "/left")

    assert forked(work) == 0
    assert len(files(directory)) == 2
    assert keys(board) == []
    assert files(directory) == parents


def test_i19_a_child_that_outlives_its_parent_does_not_keep_it_alive(board: Board, directory: Path) -> None:
    parent = Child(
        directory,
        """
board.claim_now("ns", "/parent")
board.older("ns", ROOT)
if not os.fork():
    board.claim_now("ns", "/child")
    say(os.getpid())
time.sleep(60)
""",
    )
    orphan = int(parent.says())
    try:
        assert keys(board) == ["/child", "/parent"]
        parent.process.kill()
        parent.process.wait()
        assert keys(board) == ["/child"]
    finally:
        os.kill(orphan, signal.SIGKILL)
    parent.ended()
    until(lambda: not keys(board))


def test_i19_a_fork_waits_until_a_file_is_made(board: Board) -> None:
    taken, released = threading.Event(), []

    def make() -> None:
        with segments.making:
            taken.set()
            time.sleep(0.05)
            released.append(True)

    thread = threading.Thread(target=make)
    thread.start()
    taken.wait()
    assert forked(lambda: (released[0], board.open(), board.close())) == 0
    thread.join()


def test_i19_a_fork_while_a_thread_looks_leaves_no_mutex_taken(board: Board) -> None:
    taken, done = threading.Event(), threading.Event()

    def hold() -> None:
        with board._looking, board._mutex:
            taken.set()
            done.wait()

    thread = threading.Thread(target=hold)
    thread.start()
    taken.wait()
    try:
        assert forked(lambda: (board.publish(permit()), board.older("ns", ROOT), board.close())) == 0
    finally:
        done.set()
        thread.join()


# ---- what cannot be read --------------------------------------------------------------------------------------------


def broken_crc(segment: Any, start: int, sequence: int) -> None:
    segment.memory[start + 4] ^= 0xFF


def broken_length(segment: Any, start: int, sequence: int) -> None:
    segment.memory[start : start + 4] = (1 << 31).to_bytes(4, sys.byteorder)


def other_text(text: bytes) -> Any:
    def plant(segment: Any, start: int, sequence: int) -> None:
        segment.pack(segment.memory, start, len(text), crc32(text, sequence & 0xFFFFFFFF), text)

    return plant


def old_text(segment: Any, start: int, sequence: int) -> None:
    """What stood there before, whole: the word has come through and the text has not."""
    other_text(b"P2 ns/before")(segment, start, sequence - 2)


TORN = [
    pytest.param(broken_crc, id="crc"),
    pytest.param(broken_length, id="length"),
    pytest.param(old_text, id="the-text-before"),
    pytest.param(other_text(b""), id="empty"),
    pytest.param(other_text(b"\xff"), id="not-utf-8"),
    pytest.param(other_text(b"J{}"), id="not-an-array"),
    pytest.param(other_text(b"J[1,"), id="not-json"),
    pytest.param(other_text(b"J[1,2,3,4,5,6,7,8]"), id="not-a-permit"),
    pytest.param(other_text(b"Px"), id="no-length"),
]


@pytest.mark.parametrize("plant", TORN)
def test_a_torn_slot_reaches_everything(board: Board, other: Board, plant: Any) -> None:
    board.publish(permit(lasts=10))
    segment, slot, start = spot(board, "p")
    plant(segment, start, segment.words[slot])
    for looker in (board, other):
        for namespace in ("ns", "another"):
            for lock in (ROOT, Lock("t", "/x/y"), Lock("t", "/z", depth=Depth.ZERO)):
                (shown,) = looker.older(namespace, lock)
                assert (shown.namespace, shown.trees) == (namespace, ("/",))
                assert looker.live((shown.id,)) == {shown.id}
    board.end(shown)
    assert names(other) == names(board) == set()
    board.renew(permit())
    assert names(other) == set()


def test_a_torn_permit_that_has_ended_is_not_renewed_in_the_slot_of_another(
    board: Board, other: Board, clock: Clock
) -> None:
    board.publish(permit("torn", lasts=10))
    segment, slot, start = spot(board, "torn")
    broken_crc(segment, start, segment.words[slot])
    board.end(*board.older("ns", ROOT))
    board.publish(permit("new", lasts=10))
    assert spot(board, "new")[:2] == (segment, slot)
    clock.now += 9
    board.renew(permit("torn", lasts=10))
    clock.now += 1
    assert names(other) == set()


def test_a_permit_that_ends_under_the_reader_is_not_shown(
    board: Board, other: Board, monkeypatch: pytest.MonkeyPatch
) -> None:
    claim = board.claim_now("ns", "/a")
    read = segments.Segment.read

    def late(segment: Any, slot: int, sequence: int) -> bytes | None:
        board.end_now(claim)
        board.claim_now("ns", "/b")
        return read(segment, slot, sequence)

    monkeypatch.setattr(segments.Segment, "read", late)
    assert other.older("ns", ROOT) == ()
    monkeypatch.undo()
    assert keys(other) == ["/b"]


@pytest.mark.parametrize("content", [b"", b"x" * 63, b"x" * 4_096, "short", "version"])
def test_a_file_with_an_owner_that_cannot_be_read_stops_the_look(board: Board, directory: Path, content: Any) -> None:
    board.open()
    if isinstance(content, str):
        whole = bytearray((directory / files(directory)[0]).read_bytes())
        whole[8:12] = (segments.VERSION + (content == "version")).to_bytes(4, sys.byteorder)
        content = bytes(whole[: -1 if content == "short" else None])
    alien = directory / "alien.permits"
    alien.write_bytes(content)
    with alien.open("rb") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        with pytest.raises(StoreUnavailable, match=r"alien has an owner, but it is not a file of permits of version 1"):
            board.older("ns", ROOT)
        with pytest.raises(StoreUnavailable):
            board.live(("p",))
        board.end_now(board.claim_now("ns", "/a"))
    assert names(board) == set()
    assert not alien.exists()


def test_what_is_no_board_is_left_alone(board: Board, directory: Path) -> None:
    directory.mkdir()
    (directory / "README").write_text("hello")
    assert names(board) == set()
    assert files(directory) == ["README"]


# ---- temporary files ------------------------------------------------------------------------------------------------


def test_a_temporary_file_goes_when_nobody_holds_it(board: Board, directory: Path) -> None:
    directory.mkdir()
    left, held = directory / "left.permits.making", directory / "held.permits.making"
    left.touch()
    with held.open("wb") as owner:
        fcntl.flock(owner, fcntl.LOCK_EX)
        assert names(board) == set()
        assert files(directory) == [held.name]
    assert names(board) == set()
    assert files(directory) == []


@pytest.mark.parametrize("times", [1, 1_000])
@pytest.mark.parametrize("disturb", ["swept", "held"])
def test_a_file_that_is_disturbed_in_the_making_is_made_again(
    board: Board, directory: Path, monkeypatch: pytest.MonkeyPatch, times: int, disturb: str
) -> None:
    flock, left = fcntl.flock, [times]

    def disturbed(descriptor: int, operation: int) -> None:
        if operation & fcntl.LOCK_EX and left[0]:
            left[0] -= 1
            if disturb == "held":
                raise BlockingIOError
            for name in files(directory):
                (directory / name).unlink()
        flock(descriptor, operation)

    monkeypatch.setattr(segments.fcntl, "flock", disturbed)
    gc.collect()
    descriptors = len(os.listdir("/dev/fd"))
    if times == 1:
        board.publish(permit())
        assert len(files(directory)) == 1
    else:
        with pytest.raises(StoreUnavailable, match="removed again at once"):
            board.publish(permit())
        assert files(directory) == []
        assert board.older("ns", ROOT) == ()
        assert len(os.listdir("/dev/fd")) == descriptors


# ---- removed by hand ------------------------------------------------------------------------------------------------


def remove_directory(directory: Path) -> None:
    shutil.rmtree(directory)


def remove_files(directory: Path) -> None:
    for name in files(directory):
        (directory / name).unlink()


def move_directory(directory: Path) -> None:
    directory.rename(directory.with_suffix(".moved"))


def put_copies(directory: Path) -> None:
    shutil.copytree(directory, directory.with_suffix(".copy"))
    shutil.rmtree(directory)
    directory.with_suffix(".copy").rename(directory)


def notice(board: Board, way: str) -> None:
    """Do what makes `board` notice that its file is gone."""
    if way == "publish":
        board.publish(permit("late"))
        board.end(permit("late"))
    elif way == "claims":
        for _ in range(64):
            board.end_now(board.claim_now("ns", "/x"))
    elif way == "older":
        board.older("ns", ROOT)
    else:
        board.live(("p",))


REMOVALS = [remove_directory, remove_files, move_directory, put_copies]


@pytest.mark.parametrize("known", [True, False], ids=["known", "unknown"])
@pytest.mark.parametrize("way", ["publish", "claims", "older", "live"])
@pytest.mark.parametrize("remove", REMOVALS)
def test_a_board_that_was_removed_is_made_anew(
    board: Board, other: Board, directory: Path, clock: Clock, remove: Any, way: str, known: bool
) -> None:
    long = "/long" + "x" * 400
    board.publish(permit("p", keys=("/p",), lasts=10))
    claims = [board.claim_now("ns", "/a", tree=True), board.claim_now("ns", long)]
    shown = board.older("ns", ROOT)
    ids = {one.id for one in shown}
    if known:
        assert set(other.older("ns", ROOT)) == set(shown)
    clock.now += 5
    remove(directory)
    if known:
        assert set(other.older("ns", ROOT)) == set(shown)
        assert other.live(ids) == ids
    notice(board, way)
    for looker in (board, other):
        assert {one.id: one for one in looker.older("ns", ROOT)} == {one.id: one for one in shown}
        assert looker.live(ids) == ids
    board.end_now(claims[0])
    assert keys(other) == [long, "/p"]
    assert other.live(ids) == ids - {one.id for one in shown if one.trees}
    board.end(next(one for one in shown if one.keys == (long,)))
    board.end_now(claims[1])
    assert keys(other) == ["/p"]
    clock.now += 5
    assert keys(other) == keys(board) == []
    assert board._held == {}


def test_only_what_stood_in_the_removed_file_moves(board: Board, other: Board, directory: Path) -> None:
    board.publish(permit("small"))
    board.publish(permit("big", keys=("/" + "x" * 500,)))
    places = {name: spot(board, name) for name in ("small", "big")}
    (directory / f"{places['small'][0].name}.permits").unlink()
    assert names(board) == names(other) == {"small", "big"}
    assert spot(board, "big") is places["big"]
    assert spot(board, "small")[0] is not places["small"][0]
    assert len(files(directory)) == 2


def test_threads_are_at_work_while_the_directory_is_removed(board: Board, other: Board, directory: Path) -> None:
    stop, wrong = threading.Event(), []

    def work(number: int) -> None:
        try:
            while not stop.is_set():
                claims = [board.claim_now("ns", f"/{number}/{n}") for n in range(20)]
                board.publish(permit(str(number)))
                for claim in claims:
                    board.end_now(claim)
                board.end(permit(str(number)))
        except BaseException as error:  # a thread must tell
            wrong.append(error)

    standing = [board.claim_now("ns", f"/standing/{number}") for number in range(20)]
    expected = {f"/standing/{number}" for number in range(20)}
    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for _ in range(50):
        remove_files(directory)
        assert expected <= set(keys(board))
        assert expected <= set(keys(other))
    stop.set()
    for thread in threads:
        thread.join()
    assert wrong == []
    assert set(keys(board)) == set(keys(other)) == expected
    for claim in standing:
        board.end_now(claim)
    assert board._held == {}
    assert keys(board) == keys(other) == []
    free = [(one[0].name, one[1]) for one in board._small if not one[0].gone]
    assert len(free) == len(set(free)) == sum(segment.count for segment in board._own)


def test_a_looker_sees_permits_at_every_moment_of_their_move(
    board: Board, other: Board, directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in "pqr":
        board.publish(permit(name))
    assert names(other) == set("pqr")
    remove_directory(directory)
    fill, looked = segments.Segment.fill, []

    def watched(segment: Any, *what: Any) -> None:
        looked.append((names(other), other.live("pqr")))
        fill(segment, *what)

    monkeypatch.setattr(segments.Segment, "fill", watched)
    assert names(board) == set("pqr")
    assert looked == [(set("pqr"), set("pqr"))] * 3
    assert names(other) == set("pqr")


def test_what_has_moved_moves_again_under_its_name(board: Board, other: Board, directory: Path) -> None:
    claim = board.claim_now("ns", "/a")
    ids = names(board)
    for _ in range(3):
        remove_directory(directory)
        assert names(board) == names(other) == ids
    board.end_now(claim)
    assert names(other) == set()


def test_a_torn_claim_that_moves_still_reaches_everything(board: Board, other: Board, directory: Path) -> None:
    claim = board.claim_now("ns", "/a")
    segment, slot, start = claim[0]
    broken_crc(segment, start, segment.words[slot])
    (torn,) = board.older("ns", ROOT)
    for _ in range(2):
        remove_directory(directory)
        for namespace in ("ns", "another"):
            assert board.older(namespace, ROOT) == other.older(namespace, ROOT)
            assert other.older(namespace, Lock("t", "/x")) == (Permit(torn.id, namespace, trees=("/",)),)
        assert board.live((torn.id,)) == other.live((torn.id,)) == {torn.id}
    board.end_now(claim)
    assert names(other) == set()


class Meanwhile(dict):
    """The held claims, and what another thread does just before or just after one is looked for."""

    def __init__(self, held: dict[int, Any], act: Any, late: bool) -> None:
        super().__init__(held)
        self.acts, self.late = [act], late

    def __contains__(self, key: object) -> bool:
        before = super().__contains__(key)
        if self.acts:
            self.acts.pop()()
        return before if self.late else super().__contains__(key)


@pytest.mark.parametrize("late", [False, True], ids=["before-it-is-asked-for", "just-after"])
def test_a_claim_that_ends_while_it_moves_is_gone(board: Board, other: Board, directory: Path, late: bool) -> None:
    claim = board.claim_now("ns", "/a")
    remove_directory(directory)
    ending = threading.Thread(target=lambda: board.end_now(claim))

    def act() -> None:
        ending.start()
        until(lambda: not dict.__contains__(board._held, id(claim)))

    board._held = Meanwhile(board._held, act, late)
    board.publish(permit())
    board.end(permit())
    ending.join()
    assert keys(board) == keys(other) == []
    assert len(board._small) == len({one[1] for one in board._small}) == 1_024


def test_a_slot_of_a_removed_file_that_comes_back_late_is_not_used(board: Board, other: Board, directory: Path) -> None:
    stale = board.claim_now("ns", "/a")
    gone = stale[0]
    board.end_now(stale)
    remove_directory(directory)
    board.publish(permit())
    board._small.append(gone)
    claim = board.claim_now("ns", "/b")
    assert not claim[0][0].gone
    board._small.append(gone)
    board.publish(permit("q"))
    assert "/b" in keys(other)
    assert "q" in names(other)
    board.end_now(claim)
    assert names(other) == {"p", "q"}


def test_a_board_that_moves_while_a_stranger_lists_is_found(
    board: Board, other: Board, directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    board.publish(permit())
    meet, left = segments._meet, [True]

    def late(path: str, name: str) -> Any:
        if left:
            left.clear()
            remove_files(directory)
            board.publish(permit("q"))
        return meet(path, name)

    monkeypatch.setattr(segments, "_meet", late)
    assert names(other) == {"p", "q"}


def test_own_permits_that_move_during_a_look_are_shown(
    board: Board, directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    board.publish(permit())
    published = segments.Segment.published

    def late(segment: Any) -> Iterator[int]:
        if not segment.gone:
            remove_directory(directory)
            thread = threading.Thread(target=board.publish, args=(permit("q"),))
            thread.start()
            thread.join()
        return published(segment)

    monkeypatch.setattr(segments.Segment, "published", late)
    assert "p" in names(board)
    monkeypatch.undo()
    assert names(board) == {"p", "q"}


@pytest.mark.parametrize("way", ["publish", "claims", "older", "live"])
def test_a_removed_board_that_cannot_be_made_anew_refuses_until_it_can(
    board: Board, other: Board, directory: Path, way: str
) -> None:
    claim = board.claim_now("ns", "/a")
    board.publish(permit(keys=("/p",)))
    remove_directory(directory)
    directory.write_text("in the way")
    with pytest.raises(StoreUnavailable, match="Not a directory"):
        notice(board, way)
    assert set(board._held) == {id(claim), id(board._permits["p"])}
    directory.unlink()
    assert keys(board) == keys(other) == ["/a", "/p"]
    board.end_now(claim)
    assert keys(other) == ["/p"]


def test_a_claim_that_ends_before_it_could_move_is_gone(board: Board, other: Board, directory: Path) -> None:
    claim = board.claim_now("ns", "/a")
    claim[0][0].gone = True
    board.end_now(claim)
    assert keys(board) == keys(other) == []


# ---- the system says no ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("word", ["open", "publish", "claim"])
def test_no_directory_can_be_made(tmp_path: Path, word: str) -> None:
    board = Board(tmp_path / "missing" / "permits")
    with pytest.raises(StoreUnavailable, match=r"missing.permits could not be .*: no file can be made in it"):
        {"open": board.open, "publish": lambda: board.publish(permit()), "claim": lambda: board.claim_now("", "/")}[
            word
        ]()
    assert board.older("ns", ROOT) == ()
    assert board._held == {}


def test_the_directory_is_a_file(directory: Path) -> None:
    directory.write_text("")
    board = Board(directory)
    for act in (board.open, lambda: board.older("ns", ROOT), lambda: board.live(("p",))):
        with pytest.raises(StoreUnavailable, match=r"Not a directory.*that this process may write to"):
            act()


def test_a_full_disk_shows_when_the_file_is_made(directory: Path) -> None:
    child = Child(
        directory,
        """
from locklib.errors import StoreUnavailable
small = board.claim_now("ns", "/a")
before = resource.getrlimit(resource.RLIMIT_FSIZE)
resource.setrlimit(resource.RLIMIT_FSIZE, (4096, before[1]))
def refused(act):
    try:
        act()
    except StoreUnavailable as error:
        say(error)
    else:
        say("not refused")
refused(lambda: board.publish(Permit("p", "ns", keys=("/" + "x" * 5000,))))
refused(lambda: board.claim_now("ns", "/" + "x" * 5000))
refused(Board(directory).open)
say(len(os.listdir(directory)), len(board.older("ns", ROOT)), len(board._held))
board.end_now(small)
say(len(board.older("ns", ROOT)))
resource.setrlimit(resource.RLIMIT_FSIZE, before)
""",
    )
    for _ in range(3):
        assert "File too large" in child.says()
    assert [child.says(), child.says()] == ["1 1 1", "0"]
    assert child.ended() == 0


def test_without_posix_fallocate_the_space_is_written(
    board: Board, other: Board, directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delattr(os, "posix_fallocate")
    big = permit(keys=("/" + "x" * 600_000,))
    board.publish(big)
    (name,) = files(directory)
    assert (directory / name).stat().st_blocks * 512 >= 1 << 20
    assert other.older("ns", ROOT) == (big,)


def test_a_system_without_flock_is_refused_at_open(board: Board, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(segments, "fcntl", None)
    for act in (board.open, lambda: board.publish(permit()), lambda: board.claim_now("ns", "/a")):
        with pytest.raises(ConfigurationError, match="this system has no flock"):
            act()


def test_the_module_is_imported_without_fcntl(directory: Path) -> None:
    child = Child(
        directory,
        """
import importlib, locklib.stores.sqlite.segments as segments
sys.modules["fcntl"] = None
importlib.reload(segments)
say(segments.fcntl)
""",
    )
    assert child.says() == "None"
    assert child.ended() == 0


def test_a_file_system_whose_flock_excludes_nobody_is_refused_at_open(
    board: Board, directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(segments.fcntl, "flock", lambda *_: None)
    with pytest.raises(ConfigurationError, match="flock does not keep others out"):
        board.open()
    assert files(directory) == []


# ---- close ----------------------------------------------------------------------------------------------------------


def test_close_removes_the_own_files_and_only_them(board: Board, other: Board, directory: Path) -> None:
    claim = board.claim_now("ns", "/a")
    board.publish(permit("q", keys=("/q" * 500,)))
    other.publish(permit())
    assert len(names(board)) == len(names(other)) == 3
    board.close()
    board.close()
    assert len(files(directory)) == 1
    assert names(other) == {"p"}
    board.end_now(claim)
    board.end(permit("q"))
    board.renew(permit("q"))
    assert names(board) == {"p"}


def test_a_late_writer_makes_a_closed_board_anew(board: Board, other: Board) -> None:
    board.open()
    small = board._small
    board.close()
    board.publish(permit())
    board._small, small = small, board._small  # a thread that took the list before the close
    claim = board.claim_now("ns", "/late")
    board._small = small
    assert sorted(one.keys[0] for one in other.older("ns", ROOT)) == ["/a", "/late"]
    board.end_now(claim)
    assert names(other) == {"p"}


def test_a_closed_board_holds_nothing_open(directory: Path) -> None:
    def once() -> None:
        boards = [Board(directory) for _ in range(3)]
        for one in boards:
            one.publish(permit())
            one.publish(permit("big", keys=("/" + "x" * 5_000,)))
        for one in boards:
            assert names(one) == {"p", "big"}
        for one in boards:
            one.close()

    once()
    gc.collect()  # what earlier tests left; what `once` leaves must need no collector
    before = len(os.listdir("/dev/fd"))
    for _ in range(5):
        once()
    assert len(os.listdir("/dev/fd")) == before
    assert files(directory) == []


# ---- the words of a store -----------------------------------------------------------------------------------------


def test_the_sync_words(board: Board, clock: Clock) -> None:
    board.publish(permit(lasts=10))
    clock.now += 9
    board.renew(permit(lasts=10))
    clock.now += 9
    assert board.older("ns", ROOT) == (permit(lasts=10),)
    assert board.live(("p",)) == {"p"}
    board.end(permit())
    assert board.live(("p",)) == frozenset()


def test_the_async_words(board: Board, clock: Clock) -> None:
    async def play() -> None:
        permits = NeverWaiting(board)
        await permits.publish(permit(lasts=10))
        clock.now += 9
        await permits.renew(permit(lasts=10))
        clock.now += 9
        assert await permits.older("ns", ROOT) == (permit(lasts=10),)
        assert await permits.live(("p",)) == {"p"}
        await permits.end(permit())
        assert await permits.live(("p",)) == frozenset()

    asyncio.run(play())
