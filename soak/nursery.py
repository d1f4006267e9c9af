"""A process that has everything imported and forks workers: a worker that is killed is back within milliseconds.

    python -m soak.nursery    one JSON line per worker on stdin; the history goes to stdout

Knows: how to fork, and to say when a child is gone. Must not know: what a worker does.

It never opens a store, so nothing of one is inherited. With its last word on stdin it kills its children and ends.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import sys
import time
import traceback
from typing import Any

from soak.clients import Job, work
from soak.history import Recorder


def main() -> int:
    if os.environ.get("SOAK_SKEWED"):  # under libfaketime, with the monotonic clock left alone, sleeping fails
        time.sleep = _sleep
    recorder = Recorder(os.dup(1))
    os.dup2(2, 1)  # nobody but the recorder writes into the history
    waking, waken = os.pipe()
    os.set_blocking(waken, False)
    signal.set_wakeup_fd(waken)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    children: dict[int, str] = {}
    rest = b""
    while True:
        ready, _, _ = select.select([0, waking], [], [])
        if waking in ready:
            os.read(waking, 4096)
        _bury(children, recorder)
        if 0 in ready:
            came = os.read(0, 65536)
            if not came:
                break
            *lines, rest = (rest + came).split(b"\n")
            for line in lines:
                _bear(Job(**json.loads(line)), children, recorder, (waking, waken))
    for pid in children:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
            os.kill(pid, signal.SIGCONT)
    while children:
        _bury(children, recorder)
        select.select([], [], [], 0.01)
    return 0


def _sleep(seconds: Any) -> None:
    select.select([], [], [], max(0.0, seconds))


def _bear(job: Job, children: dict[int, str], recorder: Recorder, pipe: tuple[int, int]) -> None:
    pid = os.fork()
    if pid:
        children[pid] = job.worker
        recorder.write("born", job.worker, pid=pid)
        return
    status = 1
    try:
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        for fd in (0, *pipe):
            os.close(fd)
        work(job, recorder)
        status = 0
    except BaseException as error:
        traceback.print_exc()
        recorder.write("broken", f"{job.worker}:-", error=f"{type(error).__name__}: {error}"[:1_000])
    finally:
        sys.stderr.flush()
        os._exit(status)


def _bury(children: dict[int, str], recorder: Recorder) -> None:
    """Say of each child that has ended that it is gone; nothing of it happens after this instant."""
    while children:
        try:
            pid, status = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return
        if pid == 0:
            return
        recorder.write("gone", children.pop(pid), status=status)


if __name__ == "__main__":
    sys.exit(main())
