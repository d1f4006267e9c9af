"""Paths and keys: one resource, one key.

Knows: how paths are spelled (RFC 3986 sections 3.3 and 5.2.4) and how applications are known to read them.
Must not know: locks, stores, routes, which path an application really serves.

A middleware cannot see which spellings its application takes for one resource. So the key of a path is the plainest
path that *any* application may read it as: percent-encoding undone to its fixed point, backslashes turned, `;params`
cut, empty and dot segments gone, no trailing slash. A false conflict is a nuisance, a bypass is a hole.

Input is always the *decoded* path, as the server hands it over (one percent-decoding done; bytes that were not UTF-8
stand there as U+FFFD). Output is a key: it starts with `/`, and the root is `/`.

| a path that is read in two ways | its key | the other reading |
|---|---|---|
| `/a%2Fb` | `/a/b` | one segment, a member of `/`: see `parents_of_every_reading` |
| `/c/a\\b/../d` | `/c/a/d` | `/c/d`, where a backslash is a plain character: see `readings`, and `ambiguous` |
| `/a;x%2Fb` | `/a/b` | `/a`, where parameters go first: likewise |
| `/a//..` | `/` | `/a`, where an empty segment counts (RFC 3986): likewise |

The last three kinds cannot share one key with both resources, so they are ambiguous: refused, but only near a lock.
Source: RFC 4918 sections 5.2, 8.3 and 20; threats: CVE-2026-48099, CVE-2026-2880 and their kin.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import NamedTuple

__all__ = [
    "DEFAULT",
    "MAX_PATH",
    "Folding",
    "ambiguous",
    "ancestors",
    "canonical",
    "covers",
    "decode_wsgi_path",
    "full_path",
    "full_path_wsgi",
    "is_below",
    "is_plain",
    "parent",
    "parents_of_every_reading",
    "percent_decode",
    "readings",
    "remove_dot_segments",
    "same_spelling",
    "too_long",
    "unambiguous_part",
    "without_query",
]

MAX_PATH = 4096
"""The longest path that is looked up, in characters; the caller answers 414 beyond it."""

ROUNDS = 3
"""How often an application may be expected to percent-decode again; a path that goes deeper is ambiguous."""

MAX_HIDDEN = 16
"""How many separators that only some applications see are followed in one path; a path with more is ambiguous."""

MAX_TEXTS = 24
"""How many ways to read one path are followed; a path that has more is ambiguous."""

ESCAPE = re.compile(r"%[0-9A-Fa-f]{2}")
ESCAPES = re.compile(r"(?:%[0-9A-Fa-f]{2})+")
# A text, for compiling it takes as long as half of this module, and few paths need it: `re` keeps it then.
UNREADABLE = "[\x00-\x1f\x7f\ufffd\ud800-\udfff]"
# A separator that only some applications see, at any depth of encoding.
HIDDEN = re.compile(r"\\|%(?:25)*(?:2[Ff]|5[Cc])")
PARAMETERS = re.compile(r";[^/]*")
HIDDEN_STRICT = re.compile(r"\\|%(?:25)*5[Cc]")
HEX = {digit: int(chr(digit), 16) for digit in b"0123456789abcdefABCDEF"}
PERCENT, SLASH = b"%/"


class Folding(NamedTuple):
    """Which further spellings share a key. All off by default, for most applications tell them apart.

    case: `/A` and `/a` (a file system that ignores case). unicode: composed and decomposed letters (NFC and NFD).
    windows: dots and blanks at the end of a segment. strict_slash: `%2F` in the decoded path is part of a segment's
    name, not a separator (this one *parts* spellings; only for an application that is known to do so).
    """

    case: bool = False
    unicode: bool = False
    windows: bool = False
    strict_slash: bool = False

    @property
    def plain(self) -> bool:
        """Whether a path of plain segments is its own key."""
        return not (self.case or self.unicode or self.windows)


DEFAULT = Folding()


def canonical(path: str, fold: Folding = DEFAULT) -> str:
    """The key of a decoded path.

    Never raises, whatever `path` holds; linear in its length; a key is its own key; and a path that is its own key is
    handed back as the same object. Source: RFC 3986 sections 5.2.4 and 6.2.2.
    """
    if (fold is DEFAULT or fold.plain) and _is_key(path):
        return path
    return "/" + "/".join(_resolved(_names(_unfolded(path, fold), fold)))


def _is_key(path: str) -> bool:
    """Whether `path` is spelled as a key is. A chain of `in` takes half the time of one pattern."""
    if "%" in path or ";" in path or "\\" in path or "//" in path or "/." in path:
        return False
    return path[:1] == "/" and (path[-1] != "/" or path == "/")


def is_plain(path: str) -> bool:
    """Whether `path` reads in one way only, and is its own key where nothing is folded: the short way's question."""
    return _is_key(path) and _unreadable(path) is None


def _unreadable(text: str) -> re.Match[str] | None:
    """The first character that no application can be trusted to read as others do."""
    return None if text.isascii() and text.isprintable() else re.search(UNREADABLE, text)


def _names(text: str, fold: Folding) -> Iterator[str]:
    """The segments of an unfolded text as names: parameters cut, and what Windows ignores."""
    for segment in text.replace("\\", "/").split("/"):
        name = segment.partition(";")[0]
        yield _windows_name(name) if fold.windows else name


def _windows_name(name: str) -> str:
    bare = name.rstrip(" ")
    return bare if bare in (".", "..") else bare.rstrip(" .")


# remove_dot_segments (RFC 3986 section 5.2.4), and empty segments with them; "above the root" is the root
def _resolved(names: Iterable[str]) -> list[str]:
    kept: list[str] = []
    for name in names:
        if name == "..":
            del kept[-1:]
        elif name not in ("", "."):
            kept.append(name)
    return kept


def _unfolded(path: str, fold: Folding) -> str:
    """`path` percent-decoded to the fixed point and folded; again if folding makes an escape (`%` and a ligature)."""
    text = _folded(_fixed_point(path, fold.strict_slash), fold)
    while not fold.plain and (again := _folded(_fixed_point(text, fold.strict_slash), fold)) != text:
        text = again
    return text


def _folded(text: str, fold: Folding) -> str:
    if fold.unicode:
        from unicodedata import normalize  # noqa: PLC0415 - a shared library that most applications never need

        text = normalize("NFD", text).casefold() if fold.case else text
        return normalize("NFC", text)
    return text.casefold() if fold.case else text


# pct-encoded = "%" HEXDIG HEXDIG      (RFC 3986 section 2.1)
def _fixed_point(text: str, strict_slash: bool) -> str:
    """`text` percent-decoded until nothing is left to decode, in one pass.

    Two escapes never overlap (`%` is no hex digit), so the order of decoding does not matter: each byte goes on a
    stack, and an escape that becomes complete on top of it is replaced at once, however deep it was nested. With
    `strict_slash` an encoded slash stays, as `%2F`.
    """
    if ESCAPE.search(text) is None:
        return text
    out = bytearray()
    for byte in text.encode("utf-8", "surrogatepass"):
        out.append(byte)
        while len(out) > 2 and out[-3] == PERCENT and out[-1] in HEX and out[-2] in HEX:
            value = HEX[out[-2]] * 16 + HEX[out[-1]]
            if strict_slash and value == SLASH:
                out[-1:] = b"F"
                break
            out[-3:] = (value,)
    return out.decode("utf-8", "replace")


def percent_decode(text: str) -> str:
    """`text` percent-decoded once, its bytes read as UTF-8; what is not UTF-8 becomes U+FFFD. Never raises.

    Source: RFC 3986 section 2.1.
    """
    return ESCAPES.sub(_run_decoded, text) if "%" in text else text


def _run_decoded(run: re.Match[str]) -> str:
    return bytes.fromhex(run[0].replace("%", "")).decode("utf-8", "replace")


def decode_wsgi_path(path_info: str) -> str:
    """PATH_INFO or SCRIPT_NAME as the text it stands for: WSGI hands bytes over as latin-1 (PEP 3333).

    Never raises: a value that is no latin-1 was decoded by the server already and is taken as it is.
    """
    if path_info.isascii():
        return path_info
    try:
        return path_info.encode("latin-1").decode("utf-8", "replace")
    except UnicodeEncodeError:
        return path_info


def too_long(path: str) -> bool:
    """Whether `path` is longer than any that is looked up; then the answer is 414."""
    return len(path) > MAX_PATH


# remove_dot_segments (RFC 3986 section 5.2.4)
def remove_dot_segments(path: str) -> str:
    """A decoded path as a client that follows RFC 3986 would send it: `.` and `..` gone, all else as it was.

    Empty segments count as segments, and a dot segment at the end leaves a slash. A path that does not start with `/`
    comes back unchanged.
    """
    if "/." not in path or path[0] != "/":
        return path
    *inner, last = path.split("/")[1:]
    kept: list[str] = []
    for segment in inner if last not in (".", "..") else (*inner, last):
        if segment == "..":
            del kept[-1:]
        elif segment != ".":
            kept.append(segment)
    return "/".join(("", *kept, "" if last in (".", "..") else last))


# --- more than one reading --------------------------------------------------------------------------------------------


def readings(path: str, fold: Folding = DEFAULT) -> tuple[str, ...]:
    """Every key that an application may read `path` as, `canonical(path)` first; nearly always that one alone.

    There are more where the order of the steps decides: a `..` or a `;` beside a separator that only some applications
    see, a `..` behind a segment that only some of them count. Source: threat T15.
    """
    return tuple(dict.fromkeys(canonical(text, fold) for text in _texts(path, fold)))


def ambiguous(path: str, fold: Folding = DEFAULT) -> bool:
    """Whether nobody can say which resource `path` is: then a request near a lock gets 400, elsewhere it passes.

    True for NUL, for bytes that are not UTF-8 (overlong forms and U+FFFD with them) at any depth of encoding, for lone
    surrogates, for more layers of encoding than applications undo, and where `readings` has more than one answer.
    """
    if _unreadable(path) is not None:
        return True
    if _is_key(path):
        return False
    if _unreadable(_fixed_point(path, fold.strict_slash)) is not None or _is_deep(path):
        return True
    texts = _texts(path, fold)
    return len(texts) == MAX_TEXTS or len({canonical(text, fold) for text in texts}) > 1


def unambiguous_part(path: str, fold: Folding = DEFAULT) -> str:
    """The deepest key that every reading of `path` is at or below: where to look for locks near an ambiguous path.

    A segment with bytes that cannot be read may be any of its siblings, or end where they begin, so the part ends above
    it; the root stands for a path with more layers than are followed.
    """
    texts = _texts(path, fold)
    if len(texts) == MAX_TEXTS or _is_deep(path):
        return "/"
    deep = _fixed_point(path, fold.strict_slash)
    bad = _unreadable(deep)
    keys = [canonical(text, fold) for text in texts]
    if bad is not None:
        keys.append(canonical(deep[: bad.start()].rpartition("/")[0], fold))
    part = keys[0]
    for key in keys:
        bad = _unreadable(key)
        part = _shared(part, key if bad is None else key[: bad.start()].rpartition("/")[0] or "/")
    return part


def _shared(key: str, other: str) -> str:
    while not covers(key, other):
        key = parent(key) or "/"
    return key


def without_query(path: str) -> str:
    """`path` up to a `?` or `#` that was percent-encoded: some applications decode before they look for a query."""
    return path.partition("?")[0].partition("#")[0]


def _is_deep(path: str) -> bool:
    if len(HIDDEN.findall(path)) > MAX_HIDDEN:
        return True
    for _ in range(ROUNDS):
        path = percent_decode(path)
    return ESCAPE.search(path) is not None


def _texts(path: str, fold: Folding) -> list[str]:
    """`path`, and what an application may make of it by any of the steps in any order, nearest first.

    Only where the order matters; else every way ends at the same key, and `path` alone is enough.
    """
    texts = [path]
    if not _order_matters(path):
        return texts
    steps = STEPS[:-1] if fold.strict_slash else STEPS
    for text in texts:  # it grows while it is read
        for step in steps:
            if len(texts) < MAX_TEXTS and (further := step(text)) not in texts:
                texts.append(further)
    return texts


def _order_matters(path: str) -> bool:
    deep = _fixed_point(path, False)
    if "\\" in path or deep != path:
        return ".." in deep or ";" in deep
    return ".." in path and (";" in path or "//" in path)


def _dotless(text: str) -> str:
    return "/" + "/".join(_resolved(text.split("/")))


def _cut(text: str) -> str:
    return PARAMETERS.sub("", text)


def _turned(text: str) -> str:
    return text.replace("\\", "/")


STEPS = (_dotless, remove_dot_segments, _cut, _turned, percent_decode)


def parents_of_every_reading(path: str, fold: Folding = DEFAULT) -> tuple[str, ...]:
    """The keys of every collection that `path` may be a member of, each once; empty for the root.

    `/c/a%2Fb`, with the `%2F` still to be seen in the decoded path, is a member of `/c` (one segment) and of `/c/a`.
    A superset is allowed: a collection too many costs a needless refusal at worst. Source: RFC 4918 section 7.5.
    """
    key = canonical(path, fold)
    if key == path:
        above = parent(key)
        return () if above is None else (above,)
    if _is_deep(path):  # ambiguous: the root stands for all that it may be, see `unambiguous_part`
        return tuple(dict.fromkeys((parent(key) or "/", "/"))) if key != "/" else ("/",)
    found = dict.fromkeys(above for each in readings(path, fold) if (above := parent(each)) is not None)
    for text in _texts(path, fold):
        for raw in (_members(text, fold), _resolved(text.split("/"))):
            found.update(dict.fromkeys(_parents_of(raw, fold)))
    found.pop(key, None)
    return tuple(found)


def _members(text: str, fold: Folding) -> list[str]:
    """The raw segments that are left of `text` when each that reads as a dot segment has had its effect."""
    kept: list[str] = []
    for segment in text.split("/"):
        name = _fixed_point(segment, fold.strict_slash).partition(";")[0]
        if name == "..":
            del kept[-1:]
        elif name not in ("", "."):
            kept.append(segment)
    return kept


def _parents_of(raw: list[str], fold: Folding) -> Iterator[str]:
    """The parent of the last raw segment, and what becomes the parent each time a hidden separator in it counts."""
    if not raw:
        return
    base = canonical("/" + "/".join(raw[:-1]), fold)
    keys = ["", *ancestors(base)[1:], base] if base != "/" else [""]
    for piece in (HIDDEN_STRICT if fold.strict_slash else HIDDEN).split(raw[-1]):
        yield keys[-1] or "/"
        for name in _names(_unfolded(piece, fold), fold):
            if name == "..":
                keys = keys[:-1] or keys
            elif name not in ("", "."):
                keys.append(f"{keys[-1]}/{name}")


# --- keys among each other --------------------------------------------------------------------------------------------


def parent(key: str) -> str | None:
    """The key of the collection that holds `key`; None for the root, and for an application's own id."""
    cut = key.rfind("/")
    if cut > 0:
        return key[:cut]
    return "/" if cut == 0 and key != "/" else None


def ancestors(key: str) -> tuple[str, ...]:
    """Every proper ancestor of `key`, from the root down; none for the root."""
    found = ["/"] if key[:1] == "/" and key != "/" else []
    cut = key.find("/", 1)
    while cut > 0:
        found.append(key[:cut])
        cut = key.find("/", cut + 1)
    return tuple(found)


def is_below(key: str, root: str) -> bool:
    """Whether `key` is a descendant of `root`, not `root` itself."""
    return key.startswith(root if root == "/" else root + "/") and key != root


def covers(root: str, key: str) -> bool:
    """Whether `key` is `root` or below it: what a lock of depth infinity on `root` covers (RFC 4918 section 6.1)."""
    return root == key or is_below(key, root)


# --- spellings and mounts ---------------------------------------------------------------------------------------------


def same_spelling(path: str, other: str) -> bool:
    """Whether two decoded paths are one by RFC 3986 itself, or but for one slash at the end.

    Narrower than an equal key, for it decides which locks a DELETE or MOVE *ends*: `//`, `;x`, a backslash, a second
    encoding are other spellings here, and so is anything with U+FFFD in it, which may stand for any byte.
    """
    return "\ufffd" not in path and _spelling(path) == _spelling(other)


def _spelling(path: str) -> str:
    return remove_dot_segments(path).removesuffix("/")


def full_path(mount: str, path: str, fold: Folding = DEFAULT) -> str:
    """The path as the client addressed it, for ASGI: `root_path` and `scope["path"]`, both decoded.

    Servers differ: `path` may hold the mount already or not; it does when it begins with it, segment by segment.
    """
    prefix = mount.rstrip("/")
    if not prefix:
        return path or "/"
    if path == prefix or path.startswith(prefix + "/"):
        path = path[len(prefix) :]
    return _mounted(prefix, path, fold)


def full_path_wsgi(mount: str, path: str, fold: Folding = DEFAULT) -> str:
    """The path as the client addressed it, for WSGI: SCRIPT_NAME and then PATH_INFO, both decoded."""
    prefix = mount.rstrip("/")
    return _mounted(prefix, path, fold) if prefix else path or "/"


def _mounted(prefix: str, path: str, fold: Folding) -> str:
    """`prefix` and `path`; a path that climbs is clamped at the mount, for the application under it cannot leave it."""
    if ".." in path or "%" in path:
        clamped = canonical(path, fold)
        if canonical(f"{prefix}/{path}", fold) != canonical(prefix + clamped, fold):
            path = clamped
    return prefix + path if path[:1] in ("", "/") else f"{prefix}/{path}"
