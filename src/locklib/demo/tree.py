"""The directory behind the folder: addresses, what stands there, and changes that are whole or not at all.

Knows: paths, files, entity tags (RFC 9110 section 8.8.3). Must not know: properties, XML, the protocol of a server.

Law: one file, one address. A path is taken as it stands: no empty, `.` or `..` segment, no symbolic link is followed
(one inside the root would be a second name for a file, one out of it an escape), the root's own hidden directory is
reserved. A file system that folds case or Unicode forms gives second names all the same: serve from one that does not.

Everything new is made in the hidden directory first and renamed into place, everything old is renamed out of sight
before it is deleted; so no request, however it ends, leaves half a file or half a tree at an address. Nothing is
fsynced: this is a demonstration, not an archive.
"""

from __future__ import annotations

import errno
import mimetypes
import os
import secrets
import shutil
import stat as modes
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import quote

from locklib.demo.problem import Problem

__all__ = ["HIDDEN", "Address", "Entry", "Tree", "address_of"]

HIDDEN = ".locklib-demo"


@dataclass(frozen=True, slots=True)
class Address:
    """A path inside the folder: its decoded segments (none for the root), and whether it ended with a slash."""

    names: tuple[str, ...]
    slash: bool = False

    @property
    def key(self) -> str:
        return "/".join(self.names)

    @property
    def parent(self) -> Address:
        return Address(self.names[:-1])

    def is_under(self, other: Address) -> bool:
        """Whether this address is below `other`, and not `other` itself."""
        return len(self.names) > len(other.names) and self.names[: len(other.names)] == other.names


def address_of(path: str) -> Address:
    """The address that a decoded path names, the mount taken off. Raises `Problem` 400, 403 or 404."""
    if path in ("", "/"):
        return Address((), slash=True)
    if not path.startswith("/"):
        raise Problem(404, "the path does not begin with a slash")
    names = tuple(path[1:].removesuffix("/").split("/"))
    if any(name in ("", ".", "..") for name in names):
        raise Problem(404, "a segment of the path is empty, '.' or '..'; nothing has such a name here")
    if any(_is_unusable(name) for name in names):
        raise Problem(400, "a segment of the path holds a character that no file name can have")
    if names[0].casefold() == HIDDEN:
        raise Problem(403, f"{HIDDEN} is where the server keeps its own things; choose another name")
    return Address(names, slash=path.endswith("/"))


def _is_unusable(name: str) -> bool:
    separators = {os.sep, os.altsep, "\0"} - {None}
    try:
        name.encode()
    except UnicodeEncodeError:
        return True
    return any(separator in name for separator in separators if separator)


@dataclass(frozen=True, slots=True)
class Entry:
    """What stands at an address: a file or a collection, as it was when it was looked at."""

    address: Address
    place: Path
    stat: os.stat_result

    @property
    def is_collection(self) -> bool:
        return modes.S_ISDIR(self.stat.st_mode)

    @property
    def name(self) -> str:
        return self.address.names[-1] if self.address.names else ""

    @property
    def etag(self) -> str | None:
        """The opaque part of the strong entity tag; a collection has none.

        Strong, since each write makes a new file whose time is set to the nanosecond: the kernel's own clock ticks
        too slowly to tell two writes apart, and the number of a file is used again.
        """
        if self.is_collection:
            return None
        return f"{self.stat.st_mtime_ns:x}-{self.stat.st_size:x}-{self.stat.st_ino:x}"

    @property
    def modified(self) -> datetime:
        return datetime.fromtimestamp(int(self.stat.st_mtime), UTC)

    @property
    def media_type(self) -> str:
        if self.is_collection:
            return "text/html; charset=utf-8"
        guess, encoding = mimetypes.guess_type(self.name)
        return guess if guess and not encoding else "application/octet-stream"

    @property
    def path(self) -> str:
        """The address as a percent-encoded path; a collection's ends with a slash (RFC 4918 section 5.2)."""
        return "/" + quote(self.address.key) + ("/" if self.is_collection and self.address.names else "")


class Tree:
    """The files under one directory. Methods block; those that change expect the caller to let one in at a time."""

    def __init__(self, root: Path) -> None:
        self.root: Path = root.resolve()
        if not self.root.is_dir():
            raise NotADirectoryError(f"{root} is not a directory; make it before it is served")
        self.hidden: Path = self.root / HIDDEN
        self._work = self.hidden / "work"
        self._work.mkdir(parents=True, exist_ok=True)

    def look(self, address: Address) -> Entry | None:
        """What stands at `address`, or None. A file is not found by a path with a slash at its end.

        Raises `Problem` 403 where the way leads over a symbolic link, a device, a socket.
        """
        place, stat = self.root, os.lstat(self.root)
        for name in address.names:
            if not modes.S_ISDIR(stat.st_mode):
                return None
            place = place / name
            try:
                stat = os.lstat(place)
            except (FileNotFoundError, NotADirectoryError):
                return None
            if not _is_served(stat):
                raise Problem(403, f"{name!a} is a link or a device; only files and directories are served")
        if address.slash and not modes.S_ISDIR(stat.st_mode):
            return None
        return Entry(address, place, stat)

    def need(self, address: Address) -> Entry:
        """As `look`, but raises `Problem` 404 where nothing is."""
        entry = self.look(address)
        if entry is None:
            raise Problem(404, "there is nothing here")
        return entry

    def need_parent(self, address: Address) -> Path:
        """Where a new member called `address` goes. Raises `Problem` 409 where there is no collection to put it in."""
        parent = self.look(address.parent)
        if parent is None or not parent.is_collection:
            raise Problem(409, "there is no collection to put it in; make that first, with MKCOL")
        return parent.place / address.names[-1]

    def members(self, entry: Entry) -> list[Entry]:
        """The files and collections directly in a collection, by name."""
        found = []
        with os.scandir(entry.place) as listing:
            for item in listing:
                with suppress(Problem, FileNotFoundError):
                    address = address_of("/" + "/".join((*entry.address.names, item.name)))
                    found.append(Entry(address, Path(item.path), item.stat(follow_symlinks=False)))
        return sorted((member for member in found if _is_served(member.stat)), key=lambda member: member.name)

    # --- changes ---

    def staged(self) -> Path:
        """A new name out of sight, on the same file system, for something not yet in place."""
        return self._work / secrets.token_hex(16)

    def put_in_place(self, staged: Path, target: Path) -> None:
        """Rename `staged` to `target`, in the stead of whatever is there: all of it, or, on an error, none."""
        if not target.is_dir() and not staged.is_dir():
            staged.replace(target)
            return
        away = self._set_aside(target)
        try:
            staged.rename(target)
        except OSError:
            if away:
                away.rename(target)
            raise
        if away:
            burn(away)

    def make_collection(self, address: Address) -> None:
        """Make what is not there yet. Raises `Problem` 409 without a parent (RFC 4918 section 9.3.1)."""
        self.need_parent(address).mkdir()

    def delete(self, entry: Entry) -> None:
        """Take a file or a whole tree away, at one stroke as seen from outside."""
        away = self._set_aside(entry.place)
        if away:
            burn(away)

    def copy(self, source: Entry, target: Path, *, deep: bool) -> None:
        """Put a copy in the stead of what is at `target`; a collection without its members if not `deep`."""
        staged = self.staged()
        try:
            self._copy(source, staged, deep=deep)
            self.put_in_place(staged, target)
        finally:
            burn(staged)

    def _copy(self, source: Entry, staged: Path, *, deep: bool) -> None:
        if not source.is_collection:
            _copy_file(source.place, staged)
            return
        staged.mkdir()
        for item in below(source.place) if deep else ():
            twin = staged / Path(item.path).relative_to(source.place)
            if item.is_dir(follow_symlinks=False):
                twin.mkdir()
            elif item.is_file(follow_symlinks=False):
                _copy_file(Path(item.path), twin)

    def _set_aside(self, place: Path) -> Path | None:
        away = self.staged()
        try:
            place.rename(away)
        except FileNotFoundError:
            return None
        return away


def _is_served(stat: os.stat_result) -> bool:
    return modes.S_ISDIR(stat.st_mode) or modes.S_ISREG(stat.st_mode)


def _copy_file(source: Path, target: Path) -> None:
    shutil.copyfile(source, target, follow_symlinks=False)
    stamp(target)


def stamp(file: Path) -> None:
    """Set the time of a new file to now, to the nanosecond, so that its entity tag is its own."""
    now = time.time_ns()
    os.utime(file, ns=(now, now))


def below(top: Path) -> Iterator[os.DirEntry[str]]:
    """Everything under a directory, each directory before what is in it. No recursion: a tree may be very deep."""
    waiting = [str(top)]
    while waiting:
        with os.scandir(waiting.pop()) as listing:
            for item in listing:
                yield item
                if item.is_dir(follow_symlinks=False):
                    waiting.append(item.path)


def burn(away: Path) -> None:
    """Delete what is out of sight already, as far as the file system lets us; the rest stays out of sight."""
    with suppress(OSError):
        if not away.is_dir():
            away.unlink(missing_ok=True)
            return
        for item in reversed(list(below(away))):
            place = Path(item.path)
            place.rmdir() if item.is_dir(follow_symlinks=False) else place.unlink()
        away.rmdir()


def open_served(entry: Entry) -> int:
    """A file descriptor on the file of `entry`, for reading. Raises `Problem` 404 where it is a link by now."""
    try:
        return os.open(entry.place, os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_BINARY", 0))
    except OSError as error:
        if error.errno in (errno.ELOOP, errno.ENOENT):
            raise Problem(404, "it is gone meanwhile; look again") from None
        raise
