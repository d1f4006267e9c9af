"""The turn of the SQLite store: fair over processes, given up in time, handed on, safe over fork and close."""

from __future__ import annotations

import fcntl
import os
import threading
import time

import pytest

from locklib.errors import ConfigurationError, StoreUnavailable
from locklib.stores.sqlite import turn as module
from locklib.stores.sqlite.turn import Turn
from locklib.testing.adversary import together
from support.sqlite import child, forked, told, until

WORKERS = 8


@pytest.fixture
def path(tmp_path):
    return str(tmp_path / "turn")


@pytest.fixture
def turn(path):
    turn = Turn(path)
    yield turn
    turn.close()


def soon(seconds=5.0):
    return time.monotonic() + seconds


def is_free(path):
    """Whether nobody has the turn: asked by another opening of the file."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    finally:
        os.close(descriptor)
    return True


class Held:
    """The turn, taken by somebody else until the end of the block or `go`."""

    def __init__(self, path):
        self.descriptor = os.open(path, os.O_RDWR | os.O_CREAT)
        fcntl.flock(self.descriptor, fcntl.LOCK_EX)

    def __enter__(self):
        return self

    def go(self):
        fcntl.flock(self.descriptor, fcntl.LOCK_UN)

    def __exit__(self, *_):
        os.close(self.descriptor)


def test_one_at_a_time_in_the_order_of_nobody_twice(turn, path):
    inside = []

    def work(number):
        for _ in range(20):
            with turn.taken(soon()):
                inside.append(number)
                assert inside == [number]
                assert not is_free(path)
                inside.remove(number)

    together(WORKERS, work)
    assert is_free(path)


def test_within_ones_own_turn_one_goes_on(turn, path):
    with turn.taken(soon()):
        with turn.taken(soon()):
            assert not is_free(path)
        assert not is_free(path)
    assert is_free(path)


def test_processes_that_write_in_a_loop_get_their_share(tmp_path, record_property):
    code = """
        store = SqliteLockStore(path, timeout=20)
        store.open()
        print("here", flush=True)
        sys.stdin.readline()
        end, times, longest = time.monotonic() + 2, 0, 0.0
        while time.monotonic() < end:
            begun = time.monotonic()
            grant(store, new(f"/{sys.argv[2]}", token=f"urn:test:{sys.argv[2]}"))
            longest = max(longest, time.monotonic() - begun)
            times += 1
        store.close()
        print(times, longest)
    """
    crowd = [child(code, tmp_path / "locks.db", number) for number in range(WORKERS)]
    for process in crowd:
        assert process.stdout.readline() == "here\n"
    for process in crowd:
        process.stdin.write("go\n")
        process.stdin.flush()
    answers = [told(process).split() for process in crowd]
    times = [int(answer[0]) for answer in answers]
    record_property("units", times)
    record_property("longest wait", max(float(answer[1]) for answer in answers))
    print("units", times, "longest wait", max(float(answer[1]) for answer in answers))
    assert min(times) >= sum(times) / WORKERS / 3


def test_it_is_given_up_in_time_and_the_late_turn_is_handed_on(turn, path):
    with Held(path) as holder:
        for _ in range(3):
            begun = time.monotonic()
            with pytest.raises(StoreUnavailable, match="did not come in time"), turn.taken(soon(0.1)):
                pass
            assert 0.09 <= time.monotonic() - begun < 1.5
        assert sum(thread.name == "locklib-turn" for thread in threading.enumerate()) == 1
        holder.go()
        until(lambda: not waiting())
        assert is_free(path)
    with turn.taken(soon()):
        assert not is_free(path)


def waiting():
    return [thread for thread in threading.enumerate() if thread.name == "locklib-turn"]


def test_a_turn_that_comes_while_one_waits(turn, path):
    with Held(path) as holder:
        threading.Timer(0.1, holder.go).start()
        with turn.taken(soon()):
            assert not is_free(path)
    assert is_free(path)
    assert not waiting()


def test_a_late_turn_is_not_taken_from_whoever_has_it_by_then(turn, path):
    """A thread still waits for us; it wakes up while another one of ours is in its turn, and leaves it that."""
    with Held(path) as holder:
        with pytest.raises(StoreUnavailable), turn.taken(soon(0.05)):
            pass
        with turn._place._changed:  # the thread that waits cannot tell that it has the turn
            holder.go()
            until(lambda: not is_free(path))
            assert turn._place.come(soon())
        until(lambda: not waiting())
        assert not is_free(path)
        turn._place.leave()
    assert is_free(path)


def test_threads_of_one_process_wait_for_each_other_in_time(turn):
    went = threading.Event()

    def work(number):
        if number == 0:
            with turn.taken(soon()):
                went.set()
                time.sleep(0.3)
            return "done"
        went.wait(5)
        with pytest.raises(StoreUnavailable), turn.taken(soon(0.05)):
            pass
        return "late"

    assert together(2, work) == ["done", "late"]


@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit, ValueError])
def test_an_error_within_a_turn_ends_it(error, turn, path):
    with pytest.raises(error), turn.taken(soon()):
        raise error
    assert is_free(path)


def test_an_interrupt_while_one_waits_leaves_no_turn_behind(turn, path, monkeypatch):
    """As a worker's time-out comes: wherever it stands. The turn that was on its way goes to the next."""
    with Held(path) as holder:
        with pytest.raises(StoreUnavailable), turn.taken(soon(0.01)):
            pass
        monkeypatch.setattr(turn._place._changed, "wait", interrupt)
        with pytest.raises(SystemExit), turn.taken(soon()):
            pass
        monkeypatch.undo()
        holder.go()
        until(lambda: not waiting())
        assert is_free(path)
    with turn.taken(soon()):
        assert not is_free(path)


def interrupt(_):
    raise SystemExit


def test_closed_while_somebody_waits_or_is_in_it(turn, path):
    with Held(path) as holder:
        with pytest.raises(StoreUnavailable), turn.taken(soon(0.05)):
            pass
        turn.close()
        turn.close()
        holder.go()
        until(lambda: not waiting())
    assert is_free(path)
    with turn.taken(soon()):
        turn.close()
        assert not is_free(path)
    assert is_free(path)
    assert turn._place is None
    with turn.taken(soon()):
        assert not is_free(path)


def test_a_file_that_is_removed_is_made_anew_for_all(turn, path):
    other = Turn(path)
    for taker in (turn, other):
        with taker.taken(soon()):
            pass
    os.unlink(path)
    with turn.taken(soon()):
        assert not is_free(path)
        with pytest.raises(StoreUnavailable), other.taken(soon(0.05)):
            pass
    other.close()


def test_a_file_that_cannot_be_used(tmp_path, turn, path, monkeypatch):
    with pytest.raises(StoreUnavailable, match="cannot be used"), Turn(str(tmp_path)).taken(soon()):
        pass
    with Held(path), monkeypatch.context() as patched:
        patched.setattr(module.Thread, "start", lambda _: (_ for _ in ()).throw(RuntimeError("no more threads")))
        with pytest.raises(StoreUnavailable, match="no more threads"), turn.taken(soon()):
            pass
    monkeypatch.setattr(module, "fcntl", None)
    with pytest.raises(ConfigurationError, match="POSIX"), Turn(path).taken(soon()):
        pass
    monkeypatch.undo()


def test_a_wait_that_the_kernel_refuses_is_told(turn, path, monkeypatch):
    real = fcntl.flock

    def flock(descriptor, how):
        if how == fcntl.LOCK_EX:
            raise OSError(37, "No locks available")
        return real(descriptor, how)

    with Held(path):
        monkeypatch.setattr(module.fcntl, "flock", flock)
        with pytest.raises(StoreUnavailable, match="No locks available"), turn.taken(soon()):
            pass
        until(lambda: not waiting())
        place = turn._place
        place._wait()  # when nobody wants it any more
        assert place._failed is None
        monkeypatch.undo()
    with turn.taken(soon()):
        assert not is_free(path)


def test_a_child_has_a_place_of_its_own(turn, path):
    with turn.taken(soon()):

        def late():
            try:
                with turn.taken(soon(0.05)):
                    return "taken"
            except StoreUnavailable:
                return "late"

        def fork():
            turn.forked()
            return late()

        assert forked(fork) == "late"
        assert not is_free(path)
    assert is_free(path)

    def fresh():
        turn.forked()
        with turn.taken(soon()):
            return is_free(path)

    assert forked(fresh) is False
    assert forked(lambda: Turn(path + "2").forked()) is None
