"""A segment: a mapped file of slots, each with the text of one permit, written by one process and read by all.

Knows: the layout of a file, mmap, flock, rename, a directory of segments, how a `Permit` is told in bytes.
Must not know: which slots are taken or by whom (the board), whether a permit and a lock conflict, SQL, a request.

**Who is alive.** A file is made under a temporary name, flocked, and only then given its name. Its owner keeps the
flock until it dies, however it dies; a stopped process keeps it too, for it may still write. So a segment whose flock
can be had belongs to nobody: it is ignored and removed. Names are never used twice. Who looks keeps a segment that it
knows as long as its owner is alive, whether its file is there or not. Not covered: a file cut short under its readers.

**A slot** has a sequence word (odd: published, even: free), a deadline, and length, crc32 and text of the permit. The
owner writes the text first and the word last; the crc takes the word in. A reader takes the word, copies the text and
takes the word again: if it has changed, that permit has ended, and what stands there now was published after the look
began. A text that cannot be read though the word stands is shown as a permit that reaches everything.
"""

from __future__ import annotations

import json
import mmap
import os
import sys
import time
from collections.abc import Callable, Collection, Iterator
from contextlib import suppress
from struct import Struct
from threading import RLock
from typing import TypeAlias
from zlib import crc32

from locklib.core.model import Permit
from locklib.core.paths import parent
from locklib.errors import ConfigurationError
from locklib.stores.sqlite.place import give_away

try:
    import fcntl
except ImportError:  # pragma: no cover - where there is no fcntl; the tests put None in its place
    fcntl = None  # type: ignore[assignment]

__all__ = [
    "ROOM",
    "SMALL",
    "WORD",
    "Others",
    "Segment",
    "Spot",
    "drained",
    "make",
    "making",
    "permit_of",
    "renamed",
    "size_for",
    "text_of",
]

Spot: TypeAlias = "tuple[Segment, int, int]"
"""A slot of ours: segment, number, where it begins in the map."""

SUFFIX = ".permits"
TEMPORARY = ".making"
MAGIC, VERSION = b"locklib\x00", 1
HEADER = Struct("=8sIII")
HEADER_SPACE = 64
FRAME = 8
"""Bytes in a slot before its text: length and crc32."""

SMALL = 256
ROOM = SMALL - FRAME
SEGMENT = 262_144
"""Bytes of slots in a segment; a segment has at least one slot, whatever its size."""

WORD = 0xFFFFFFFF
READINGS = 8
"""How often an unreadable text is read again before it counts as a permit for everything."""

TRIES = 100
"""How often a segment is made anew when its temporary file is swept away, or its directory, in the making."""

ODD = bytes(value & 1 for value in range(256))
LOW_BYTE = 0 if sys.byteorder == "little" else 7

making: RLock = RLock()
"""Held while a segment is made and during a fork, so that no child inherits a flock unknowingly."""


# ---- a segment --------------------------------------------------------------------------------------------------


class Segment:
    """The mapped file of slots at `path`. `descriptor` is the open file: with its owner the one that has the flock."""

    __slots__ = (
        "base",
        "count",
        "deadlines",
        "descriptor",
        "free",
        "gone",
        "memory",
        "name",
        "pack",
        "path",
        "size",
        "words",
    )

    def __init__(self, path: str, name: str, descriptor: int, memory: mmap.mmap) -> None:
        self.size: int
        self.count: int
        magic, version, self.size, self.count = HEADER.unpack_from(memory)
        if (magic, version) != (MAGIC, VERSION) or len(memory) < _length(self.size, self.count):
            raise _unreadable(name)
        self.path: str = path
        self.name: str = name
        self.descriptor: int = descriptor
        self.memory: mmap.mmap = memory
        self.base: int = HEADER_SPACE + 16 * self.count
        view = memoryview(memory)
        self.words: memoryview[int] = view[HEADER_SPACE : HEADER_SPACE + 8 * self.count].cast("Q")
        self.deadlines: memoryview[float] = view[HEADER_SPACE + 8 * self.count : self.base].cast("d")
        self.pack: Callable[..., None] = Struct(f"=II{self.size - FRAME}s").pack_into
        self.free: list[Spot] = []
        self.gone: bool = False

    def published(self) -> Iterator[int]:
        """The slots whose word is odd, all found at one moment."""
        odd = self.words.tobytes()[LOW_BYTE::8].translate(ODD)
        slot = odd.find(1)
        while slot >= 0:
            yield slot
            slot = odd.find(1, slot + 1)

    def read(self, slot: int, sequence: int) -> bytes | None:
        """The text that was published under `sequence`; None if it has ended, empty if it cannot be read."""
        start = self.base + slot * self.size
        for _ in range(READINGS):
            length = int.from_bytes(self.memory[start : start + 4], sys.byteorder)
            crc = int.from_bytes(self.memory[start + 4 : start + FRAME], sys.byteorder)
            text = self.memory[start + FRAME : start + FRAME + min(length, self.size - FRAME)]
            if self.words[slot] != sequence or not sequence & 1:
                return None
            if len(text) == length and crc32(text, sequence & WORD) == crc:
                return text
            time.sleep(0)
        return b""

    def fill(self, spot: Spot, text: bytes, deadline: float) -> None:
        """Publish `text`: the word goes last."""
        _, slot, start = spot
        sequence = self.words[slot] + 1
        self.deadlines[slot] = deadline
        self.pack(self.memory, start, len(text), crc32(text, sequence & WORD), text)
        self.words[slot] = sequence

    def spots(self) -> list[Spot]:
        """All slots, so that the first is taken first from the end."""
        return [(self, slot, self.base + slot * self.size) for slot in reversed(range(self.count))]

    def excludes(self) -> bool:
        """Whether the flock on this file, which is ours, keeps others out."""
        descriptor = os.open(self.path, os.O_RDONLY)
        try:
            return not _ownerless(descriptor)
        finally:
            os.close(descriptor)

    def is_there(self) -> bool:
        """Whether the file at `path` is still this one."""
        try:
            return os.path.samestat(os.fstat(self.descriptor), os.stat(self.path))
        except FileNotFoundError:
            return False

    def remove(self) -> None:
        """Remove the file and let go of it."""
        with suppress(OSError):
            os.unlink(self.path)
        self.leave()

    def leave(self) -> None:
        """Let go of it: the flock with the file, the map when nobody refers to it any more."""
        self.gone = True
        self.free = []  # else the segment and its free spots would keep each other
        with suppress(OSError):
            os.close(self.descriptor)


def drained(free: list[Spot]) -> list[Spot]:
    """All that can be had of `free`, taken one by one, for others take and give at the same time."""
    spots: list[Spot] = []
    with suppress(IndexError):
        while True:
            spots.append(free.pop())
    return spots


def _unreadable(name: str) -> OSError:
    return OSError(None, f"{name} has an owner, but it is not a file of permits of version {VERSION}")


def _length(size: int, count: int) -> int:
    return HEADER_SPACE + (16 + size) * count


def size_for(length: int) -> int:
    """The slot size for a text of `length` bytes: a power of two."""
    return max(SMALL, 1 << (length + FRAME - 1).bit_length())


# ---- how one is made ----------------------------------------------------------------------------------------------


def make(directory: str, name: str, size: int) -> Segment:
    """A new segment `name` of ours with slots of `size` bytes; `directory` is made with mode 0700 when needed.

    Raises `ConfigurationError` on a system without flock, `OSError` if there can be no such file.
    """
    if fcntl is None:
        raise ConfigurationError(
            "this system has no flock, by which processes see who is at work: use the SQLite store on a POSIX "
            "system, or a memory store in one process"
        )
    for _ in range(TRIES):
        with suppress(FileNotFoundError, BlockingIOError), making:
            with suppress(FileExistsError):
                os.mkdir(directory, 0o700)
                give_away(directory, directory)
            return _made(_path(directory, name), name, size)
    raise OSError(None, "no file can be made in it, or it is removed again at once")


def _path(directory: str, name: str) -> str:
    return os.path.join(directory, name + SUFFIX)


def _made(path: str, name: str, size: int) -> Segment:
    """A new segment with slots of `size` bytes at `path`, flocked before it can be found there."""
    temporary, count = path + TEMPORARY, max(1, SEGMENT // size)
    descriptor = os.open(temporary, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        give_away(descriptor, path)
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        _reserve(descriptor, _length(size, count))
        os.pwrite(descriptor, HEADER.pack(MAGIC, VERSION, size, count), 0)
        # A map keeps a descriptor of its own; one from the same opening would keep the flock as well.
        memory = _mapped(temporary, os.O_RDWR, mmap.PROT_READ | mmap.PROT_WRITE)
        os.rename(temporary, path)
        return Segment(path, name, descriptor, memory)
    except BaseException:
        with suppress(OSError):
            os.unlink(temporary)
        os.close(descriptor)
        raise


def _reserve(descriptor: int, length: int) -> None:
    """Take the space now: a full disk must show here, not as a SIGBUS when a slot is written."""
    if hasattr(os, "posix_fallocate"):
        os.posix_fallocate(descriptor, 0, length)
        return
    for start in range(0, length, SEGMENT):
        os.pwrite(descriptor, bytes(min(SEGMENT, length - start)), start)


def _mapped(path: str, flags: int, protection: int) -> mmap.mmap:
    descriptor = os.open(path, flags)
    try:
        return mmap.mmap(descriptor, 0, mmap.MAP_SHARED, protection)
    finally:
        os.close(descriptor)


def _ownerless(descriptor: int) -> bool:
    """Whether nobody holds the flock. Asked with a shared one: two who ask must not take each other for the owner."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


# ---- those of others ----------------------------------------------------------------------------------------------


class Others:
    """The live segments in `directory` that are not ours (whose names begin with `mark`). One looks at a time."""

    __slots__ = ("_directory", "_known", "_mark")

    def __init__(self, directory: str, mark: str) -> None:
        self._directory, self._mark = directory, mark
        self._known: dict[str, Segment] = {}

    def look(self) -> list[Segment]:
        """Every live one there is. Raises `OSError`, also for one that has an owner and cannot be read.

        The dead among the known are dropped before the directory is listed: an owner that moved has made its new file
        before it let the old one go. For the same reason the list is made again when a new one turned out dead.
        """
        self._drop_dead()
        dead: set[str] = set()
        while fresh := self._unknown(dead):
            for name in fresh:
                segment = _meet(_path(self._directory, name), name)
                if segment is None:
                    dead.add(name)
                else:
                    self._known[name] = segment
        return list(self._known.values())

    def leave(self) -> None:
        """Let go of all that are known, which are known no more."""
        for segment in self._known.values():
            segment.leave()
        self._known = {}

    def _drop_dead(self) -> None:
        for name, segment in list(self._known.items()):
            if _ownerless(segment.descriptor):
                self._known.pop(name).remove()

    def _unknown(self, dead: Collection[str]) -> list[str]:
        """The names in the directory that are neither ours nor known nor found `dead`."""
        found = []
        with suppress(FileNotFoundError):
            for entry in os.listdir(self._directory):
                if entry.startswith(self._mark):
                    continue
                if entry.endswith(SUFFIX):
                    found.append(entry.removesuffix(SUFFIX))
                elif entry.endswith(SUFFIX + TEMPORARY):
                    _sweep(os.path.join(self._directory, entry))
        return [name for name in found if name not in self._known and name not in dead]


def _meet(path: str, name: str) -> Segment | None:
    """The segment of somebody else at `path`; None, and the file is removed, if its owner is dead."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW)
    except FileNotFoundError:
        return None
    try:
        if not _ownerless(descriptor):
            return _to_read(path, name, descriptor)
        with suppress(OSError):
            os.unlink(path)
    except BaseException:
        os.close(descriptor)
        raise
    os.close(descriptor)
    return None


def _to_read(path: str, name: str, descriptor: int) -> Segment:
    if os.fstat(descriptor).st_size < HEADER_SPACE:
        raise _unreadable(name)
    return Segment(path, name, descriptor, mmap.mmap(descriptor, 0, mmap.MAP_SHARED, mmap.PROT_READ))


def _sweep(path: str) -> None:
    """Remove a temporary file that nobody holds. If that was just being made, its maker notices and starts again."""
    with suppress(OSError):
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            os.unlink(path)
        finally:
            os.close(descriptor)


# ---- the text in a slot -------------------------------------------------------------------------------------------
# P or T (of a tree), the length of the namespace, a blank, namespace and key: a plain write, named by its slot.
# J or N, then a JSON array: a permit with a deadline, or a plain write that has moved and keeps its name.
# E, then a name: what could not be read when it was to move. It reaches everything, as what cannot be read does.

UNREADABLE = (ValueError, TypeError, IndexError)


def text_of(permit: Permit, kind: str = "J") -> bytes:
    """What a slot says of `permit`. kind: N for a plain write that has moved."""
    fields = (
        permit.id,
        permit.namespace,
        permit.keys,
        permit.trees,
        permit.memberships,
        permit.tokens,
        permit.creator,
        permit.lasts,
    )
    return (kind + json.dumps(fields, ensure_ascii=False)).encode("utf-8", "surrogatepass")


def permit_of(text: bytes, name: str, namespace: str) -> tuple[Permit, bool]:
    """The permit that `text` tells of, and whether it has a deadline. name: of a plain write.

    What cannot be read is taken for a permit of `namespace` that reaches everything.
    """
    try:
        return _as_told(text, name, namespace)
    except UNREADABLE:
        return Permit(name, namespace, trees=("/",)), False


def _as_told(text: bytes, name: str, namespace: str) -> tuple[Permit, bool]:
    told = text.decode("utf-8", "surrogatepass")
    kind = told[0]
    if kind in "JN":
        identity, of, keys, trees, memberships, tokens, creator, lasts = json.loads(told[1:])
        known = Permit(identity, of, tuple(keys), tuple(trees), tuple(memberships), tuple(tokens), creator, lasts)
        return known, kind == "J"
    if kind == "E":
        return Permit(told[1:], namespace, trees=("/",)), False
    length, _, rest = told[1:].partition(" ")
    return _plain(name, rest[: int(length)], rest[int(length) :], kind == "T"), False


def renamed(text: bytes, name: str) -> bytes:
    """`text` as it goes to another slot, where a plain write has to say its name."""
    try:
        permit, bounded = _as_told(text, name, "")
    except UNREADABLE:
        return b"E" + name.encode()
    return text_of(permit, "J" if bounded else "N") if text[:1] != b"E" else text


def _plain(name: str, namespace: str, key: str, tree: bool) -> Permit:
    above = parent(key)
    return Permit(
        name,
        namespace,
        keys=(key,),
        trees=(key,) if tree else (),
        memberships=() if above is None else (above,),
    )
