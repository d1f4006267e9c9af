"""Where the choices come from, and how a text is spoilt.

A grammar is a plain function that asks a `Source` for numbers below a bound and for odd text. So the same grammars
serve a random generator, hypothesis, and the bytes that a coverage-guided engine makes up. The first choice of each
alternative is the plainest one: a source that has run dry answers 0.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from random import Random
from typing import Protocol, TypeVar

__all__ = ["CRUMBS", "Bytes", "Plain", "Source", "mutated", "often", "pick", "pumped", "some"]

T = TypeVar("T")

CRUMBS = (
    *"<>()[]{}\"'\\/%;:,=-_*?#&@ \t0aZ\xe9\xff\x00\x7f\x80\r\n",
    *("<>", "()", "[]", "//", "..", "/../", "/./", "%00", "%2F", "%5C", "%25", "%252F", "%ff", "%", "\xc3\xa9", "\xb2"),
    *("-1", "0", "1_0", "9" * 11, "9" * 400, "4294967295", "4294967296", "1e999", "NaN", "+5"),
    *(
        "Not",
        "W/",
        "DAV:",
        "urn:",
        "http://",
        "Infinite",
        "Second-",
        "infinity",
        "<!--",
        "]]>",
        "&amp;",
        "<!DOCTYPE x>",
    ),
)


class Source(Protocol):
    """The choices of one input. `long`: how many requests a sequence may have."""

    long: int

    def below(self, n: int) -> int:
        """A number from 0 to n - 1."""

    def junk(self) -> str:
        """A short text that no grammar has in mind, in characters up to U+00FF."""


class Plain:
    """Choices of a random generator."""

    long = 24

    def __init__(self, seed: str) -> None:
        self.random = Random(seed).random

    def below(self, n: int) -> int:
        return int(self.random() * n)

    def junk(self) -> str:
        return "".join(chr(self.below(256)) for _ in range(self.below(24)))


class Bytes:
    """Choices read off a byte string, one or two bytes each, so that a small change of it is a small change here."""

    long = 8

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.pos = 0

    def below(self, n: int) -> int:
        width = 1 if n <= 256 else 2
        piece = self.data[self.pos : self.pos + width]
        self.pos += width
        return int.from_bytes(piece, "big") % n

    def junk(self) -> str:
        size = self.below(24)
        piece = self.data[self.pos : self.pos + size]
        self.pos += size
        return piece.decode("latin-1")


def pick(source: Source, choices: Sequence[T]) -> T:
    return choices[source.below(len(choices))]


def often(source: Source, of: int) -> bool:
    """True but once in `of` times."""
    return source.below(of) != of - 1


def some(source: Source, most: int, make: Callable[[Source], T]) -> list[T]:
    return [make(source) for _ in range(source.below(most + 1))]


# --- mutation ---------------------------------------------------------------------------------------------------------


def _span(source: Source, text: str) -> tuple[int, int]:
    start = source.below(len(text) + 1)
    return start, min(len(text), start + 1 + source.below(12))


def _dropped(source: Source, text: str, crumbs: Sequence[str]) -> str:
    start, end = _span(source, text)
    return text[:start] + text[end:]


def _doubled(source: Source, text: str, crumbs: Sequence[str]) -> str:
    start, end = _span(source, text)
    return text[:end] + text[start:end] * (1 + source.below(3)) + text[end:]


def _swapped(source: Source, text: str, crumbs: Sequence[str]) -> str:
    start, end = _span(source, text)
    later, last = _span(source, text[end:])
    return text[:start] + text[end:][later:last] + text[end:][:later] + text[start:end] + text[end:][last:]


def _inserted(source: Source, text: str, crumbs: Sequence[str]) -> str:
    at = source.below(len(text) + 1)
    return text[:at] + pick(source, crumbs) + text[at:]


def _replaced(source: Source, text: str, crumbs: Sequence[str]) -> str:
    start, end = _span(source, text)
    return text[:start] + pick(source, crumbs) + text[end:]


def _odd_character(source: Source, text: str, crumbs: Sequence[str]) -> str:
    at = source.below(len(text) + 1)
    return text[:at] + chr(source.below(256)) + text[at + 1 :]


def _cut(source: Source, text: str, crumbs: Sequence[str]) -> str:
    return text[: source.below(len(text) + 1)]


def _junked(source: Source, text: str, crumbs: Sequence[str]) -> str:
    at = source.below(len(text) + 1)
    return text[:at] + source.junk() + text[at:]


def _other_case(source: Source, text: str, crumbs: Sequence[str]) -> str:
    start, end = _span(source, text)
    return text[:start] + text[start:end].swapcase() + text[end:]


def _escaped(source: Source, text: str, crumbs: Sequence[str]) -> str:
    at = source.below(len(text) + 1)
    return text[:at] + "".join(f"%{ord(each) & 255:02x}" for each in text[at : at + 1]) + text[at + 1 :]


def _many(source: Source, text: str, crumbs: Sequence[str]) -> str:
    start, end = _span(source, text)
    return text[:start] + text[start:end] * (2 << source.below(7)) + text[end:]


WAYS = (
    *(_dropped, _doubled, _swapped, _inserted, _inserted, _replaced, _replaced),
    *(_odd_character, _cut, _junked, _other_case, _escaped, _many),
)


def mutated(source: Source, text: str, crumbs: Sequence[str] = CRUMBS) -> str:
    """`text`, spoilt in one to four places."""
    for _ in range(1 + source.below(4)):
        text = pick(source, WAYS)(source, text, crumbs if source.below(2) else CRUMBS)
    return text


def pumped(source: Source, text: str, crumbs: Sequence[str], longest: int) -> str:
    """`text` with one piece of it, or a crumb, repeated until it is some kilobytes long."""
    start, end = _span(source, text)
    piece = text[start:end] if source.below(2) else pick(source, crumbs)
    times = (longest >> source.below(4)) // max(1, len(piece))
    return text[:start] + piece * times + text[end:]
