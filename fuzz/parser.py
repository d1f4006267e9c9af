"""A parser as a target: text in; a value, or one of the errors that become 400, 413, 414, 415 or 422."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from fuzz.source import CRUMBS, Source, mutated, pick, pumped, some
from fuzz.watch import Case, Fault, Watch

__all__ = ["REFUSED", "Parser", "must", "same"]

REFUSED = frozenset({400, 413, 414, 415, 422})
"""The statuses of what cannot be read."""

LONG = 4096
"""Characters from which on the growth of the time is looked at."""
SLOW = 0.004
GROWTH = 2.8
"""Twice the input, so many times the time: 2 is linear, 4 is quadratic."""
ROUNDS = 5


def must(holds: bool, kind: str, told: object) -> None:
    if not holds:
        raise Fault(kind, ascii(told)[:2000])


def same(kind: str, found: object, expected: object) -> None:
    must(found == expected, kind, (found, expected))


@dataclass(frozen=True, slots=True)
class Parser:
    """valid: a text of the grammar. read: the parser, with `LockError` as its only way out. check: what must hold of
    the text and the value. crumbs: pieces to spoil a text with. longest: characters of a pumped text."""

    name: str
    valid: Callable[[Source], str]
    read: Callable[[str], Any]
    check: Callable[[str, Any], None]
    crumbs: tuple[str, ...] = CRUMBS
    longest: int = 20_000
    weight: int = 2

    @property
    def size(self) -> int:
        return 1

    def draw(self, source: Source) -> Case:
        """Three in ten as the grammar has it, six spoilt, one a soup of pieces; a few are pumped up."""
        way = source.below(10)
        if way < 3:
            return self.valid(source)
        if way < 9:
            return mutated(source, self.valid(source), self.crumbs)
        if source.below(20) == 1:
            return pumped(source, self.valid(source), self.crumbs, self.longest)
        return "".join(some(source, 12, self._piece))

    def _piece(self, source: Source) -> str:
        return source.junk() if source.below(6) == 5 else pick(source, self.crumbs)

    def raw(self, data: bytes) -> Case:
        return data.decode("latin-1")

    def load(self, said: Any) -> Case:
        return str(said)

    def play(self, case: Case, watch: Watch) -> None:
        # Imported here so that nothing of locklib is open before an engine may instrument it.
        from locklib.errors import LockError

        try:
            value = watch.timed(self.read, case)
        except LockError as error:
            must(error.status in REFUSED, f"status {error.status}", error)
            must(str(error).isascii() and len(str(error)) < 1000, "an unprintable message", str(error))
        else:
            self.check(case, value)
        if len(case) >= LONG and watch.took[0] > SLOW:
            self._grows_with(case)

    def _grows_with(self, case: str) -> None:
        """A prefix costs no more than its share of the whole."""
        quarter, half, whole = (self._least(case[: len(case) // part // 4 * 4]) for part in (4, 2, 1))
        if whole > SLOW and half > GROWTH * quarter and whole > GROWTH * half:
            times = ", ".join(f"{1000 * each:.1f}" for each in (quarter, half, whole))
            raise Fault("not linear", f"a quarter, a half and the whole of {len(case)} characters: {times} ms")

    def _least(self, text: str) -> float:
        watch = Watch()
        for _ in range(ROUNDS):
            try:
                watch.timed(self.read, text)
            except Exception:
                continue
        return min(watch.took)
