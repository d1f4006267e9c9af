"""I7 among processes: no effect of a write overlaps a foreign lock, with writers killed at random.

Eight writers and a LOCK loop, each a process of its own with its own shell and store, on one SQLite file. An effect
that was cut off by SIGKILL counts until the signal was sent; a lock counts from where LOCK is answered to where its
UNLOCK is called. The last test plants *look, then publish*, and the same history shows it.

A small dose in `make test`; LOCKLIB_FULL=1 plays the whole (`pytest -s` shows the figures).
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import pytest

from support import servers
from support.effects import Effect, read_effects
from support.history import History, Span
from support.hold_processes import DOCUMENTS, EVERYWHERE, Play

FULL = os.environ.get("LOCKLIB_FULL", "") not in ("", "0")
DOSE = (
    {"writes": 12_000, "locks": 500, "kills": 200, "most_seconds": 600}
    if FULL
    else {"writes": 300, "locks": 20, "kills": 4}
)
PLANTED = {"locks": 20, "kills": 1}
LONG = 100_000_000
"""Ns that no writer shall wait for anybody."""


@dataclass(frozen=True)
class Played:
    """What was left behind. locks: the answers of LOCK and UNLOCK, counted.

    took: ns of each LOCK, and how many of them its thread could have run, but no processor was free.
    """

    effects: list[Effect]
    history: History
    kills: int
    seconds: float
    locks: dict[str, int]
    took: list[tuple[int, int]]

    @property
    def waited(self) -> list[int]:
        """Ns from call to effect, ascending."""
        return sorted(effect.waited for effect in self.effects)

    @property
    def long(self) -> list[Effect]:
        """Those that waited long, the time without a free processor aside."""
        return [effect for effect in self.effects if effect.waited - effect.queued > LONG]

    def told(self, name: str) -> str:
        waited, own = self.waited, sorted(effect.waited - effect.queued for effect in self.effects)
        took, lock_own = sorted(all for all, _ in self.took), sorted(all - queued for all, queued in self.took)
        return (
            f"{name}: {self.seconds:.1f} s, {len(self.effects)} writes, {self.kills} kills, {self.locks}, "
            f"{len(self.history.overlaps())} overlaps\n"
            f"  a writer waits {spread(waited)}; without the queue for a processor {spread(own)}; over 100 ms: "
            f"{sum(one > LONG for one in waited)} and {len(self.long)}\n"
            f"  a LOCK takes {spread(took)}; without the queue for a processor {spread(lock_own)}"
        )


def spread(ascending: list[int]) -> str:
    """In ms: median, 99 %, most."""
    shown = (ascending[int(len(ascending) * part)] for part in (0.5, 0.99))
    return "/".join(f"{one / 1e6:.2f}" for one in (*shown, ascending[-1])) + " ms"


@pytest.fixture
def play(tmp_path: Path) -> Callable[..., Played]:
    """Plays `support.hold_processes` to its end."""

    def run(kind: str, **settings: object) -> Played:
        settings = asdict(Play(kind, str(tmp_path))) | settings
        command = [sys.executable, "-m", "support.hold_processes", json.dumps(settings)]
        done = subprocess.run(
            command,
            env=servers.environment({}),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stdout
        assert done.stdout == ""
        return played(tmp_path)

    return run


def played(folder: Path) -> Played:
    kills = json.loads((folder / "kills.json").read_text())
    assert kills["locker"] == 0
    effects = read_effects(folder, {int(pid): at for pid, at in kills["at"].items()})
    history = History()
    for effect in effects:
        history.effects[effect.path].append(Span(effect.who, effect.start, effect.end))
    (told,) = (folder / "holds").glob("*.effects")
    *holds, last = told.read_text().splitlines()
    for line in holds:
        _, path, start, end = line.split()
        for document in DOCUMENTS if path == EVERYWHERE else (path,):
            history.holds[document].append(Span("holder", int(start), int(end)))
    locker = json.loads(last[2:])
    return Played(effects, history, len(kills["at"]), kills["seconds"], locker["seen"], locker["took"])


@pytest.mark.parametrize("kind", ["asgi", "wsgi"])
def test_no_effect_within_a_foreign_hold_though_writers_are_killed(play, kind):
    seen = play(kind, **DOSE)
    print("\n" + seen.told(kind))
    assert seen.history.overlaps() == []
    assert set(seen.locks) == {"LOCK 200", "UNLOCK 204"}, "writers starve a LOCK"
    assert len(seen.effects) >= DOSE["writes"]
    assert seen.locks["LOCK 200"] >= DOSE["locks"]
    assert seen.kills >= DOSE["kills"]
    if FULL:
        assert seen.long == []


@pytest.mark.parametrize("kind", ["asgi", "wsgi"])
def test_look_then_publish_is_caught(play, kind):
    seen = play(kind, plant=True, **PLANTED)
    print("\n" + seen.told(f"{kind}, planted"))
    assert len(seen.history.overlaps()) > 0
