"""Target: paths and their keys (threat T15). A case is a decoded path, any text at all."""

from __future__ import annotations

from dataclasses import dataclass
from zlib import crc32

from fuzz.fields import path as wire_path
from fuzz.parser import Parser, must, same
from fuzz.source import CRUMBS, Source, pick
from locklib.core import paths
from locklib.core.fields import http_quote
from locklib.core.paths import Folding

__all__ = ["PATHS"]

FOLDINGS = (
    Folding(),
    Folding(case=True),
    Folding(unicode=True),
    Folding(windows=True),
    Folding(strict_slash=True),
    Folding(case=True, unicode=True, windows=True, strict_slash=True),
)
SEGMENTS = (
    *("a", "b", "A", "..", ".", "", "a;x=1", ";", "a\\b", "..\\", "\\..", "%2e%2e", "%252e", "%2F", "%5C", "%00", "%"),
    *("a.", "a ", "e\u0301", "\xe9", "\ufb01", "\u0130", "\u212a", "\ufffd", "\ud800", "\x00", "\x7f", "?", "#", "%3F"),
    *("..;", "..;/", "%2e;", "%c3%a9", "%ff", "%25" * 4, "\u2025", "\uff0e\uff0e", "\uff0f", "%2525252e", "\U0001f600"),
)
MOUNTS = ("", "/m", "/m/n", "/a", "/%41")


def decoded_path(source: Source) -> str:
    segments = [pick(source, SEGMENTS) for _ in range(source.below(6))]
    return "/" + "/".join(segments) if source.below(8) else wire_path(source)


@dataclass(frozen=True, slots=True)
class Read:
    """All that a request asks about its path."""

    fold: Folding
    key: str
    readings: tuple[str, ...] = ()
    ambiguous: bool = False
    part: str = "/"
    parents: tuple[str, ...] = ()


def read(case: str) -> Read:
    """By one of the foldings, chosen by the case itself. A path that is too long has a key and nothing else."""
    fold = FOLDINGS[crc32(case.encode("utf-8", "surrogatepass")) % len(FOLDINGS)]
    key = paths.canonical(case, fold)
    if paths.too_long(case):
        return Read(fold, key)
    return Read(
        fold,
        key,
        paths.readings(case, fold),
        paths.ambiguous(case, fold),
        paths.unambiguous_part(case, fold),
        paths.parents_of_every_reading(case, fold),
    )


def check(case: str, found: Read) -> None:
    is_key(found.key, found.fold)
    if not paths.too_long(case):
        check_readings(case, found)
        for mount in MOUNTS:
            check_mount(mount, case)
    once = paths.remove_dot_segments(case)
    same("path, dot segments gone twice", paths.remove_dot_segments(once), once)
    wire = case.encode("utf-8", "replace").decode("utf-8")
    same("path, encoded and decoded", paths.percent_decode(http_quote(wire)), wire)


def is_key(key: str, fold: Folding) -> None:
    same("path, the key of a key", paths.canonical(key, fold), key)
    must(key == "/" or (key[0] == "/" and key[-1] != "/" and "//" not in key), "path, no key", key)
    must(not {".", ".."} & set(key.split("/")), "path, dots in a key", key)
    for above in paths.ancestors(key)[-3:]:
        must(paths.is_below(key, above) and paths.covers(above, key), "path, an ancestor that does not cover", key)


def check_readings(path: str, found: Read) -> None:
    same("path, the first reading", found.readings[0], found.key)
    for reading in found.readings:
        is_key(reading, found.fold)
        must(paths.covers(found.part, reading), "path, a reading outside of the clear part", (path, found))
    must(len(found.readings) == 1 or found.ambiguous, "path, several readings and clear", (path, found))
    above = paths.parent(found.key)
    must(above is None or above in found.parents, "path, a parent that is left out", (path, found))
    must(not paths.is_plain(path) or not found.ambiguous, "path, plain and ambiguous", (path, found))


def check_mount(mount: str, path: str) -> None:
    """Whatever is below a mount stays below it."""
    if path[:1] not in ("", "/"):
        return
    for full in (paths.full_path(mount, mount + path), paths.full_path_wsgi(mount, path)):
        base, key = paths.canonical(mount or "/"), paths.canonical(full)
        must(paths.covers(base, key), "path, out of its mount", (mount, path, full))


PATHS = (Parser("path", decoded_path, read, check, (*CRUMBS, *SEGMENTS, "/"), 32_768),)
