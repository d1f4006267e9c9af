"""Where the file may lie: its names, the file systems that can be relied on, what is no file for locks.

Knows: URLs, paths, links, the kernel's table of mounts.
Must not know: SQL, a connection, a lock of ours.
"""

from __future__ import annotations

import os
import re
from urllib.parse import parse_qsl, quote, unquote_to_bytes

from locklib.errors import ConfigurationError

__all__ = ["check_place", "file_system_of", "give_away", "is_mounted_alone", "path_of_url", "resolved", "url_of_path"]

NETWORKED = frozenset(
    {
        *("9p", "afs", "beegfs", "ceph", "cifs", "coda", "davfs", "gfs2", "gpfs", "lustre", "ncpfs", "nfs", "nfs4"),
        *("ocfs2", "orangefs", "prl_fs", "smb3", "smbfs", "vboxsf", "virtiofs"),
        *("fuse.ceph", "fuse.davfs2", "fuse.gcsfuse", "fuse.glusterfs", "fuse.juicefs", "fuse.rclone", "fuse.s3fs"),
        *("fuse.sshfs", "fuse.vmhgfs-fuse"),
    }
)
"""File systems that more than one host may have mounted: SQLite's WAL and `flock` hold on one host only."""


# ---- names -----------------------------------------------------------------------------------------------------------


def url_of_path(path: str | os.PathLike[str]) -> str:
    """The URL of the store at `path`, which is made absolute."""
    return "sqlite:///" + quote(os.fsencode(os.path.abspath(path)))


def path_of_url(url: str) -> tuple[str, float | None]:
    """The path that `sqlite:///relative` or `sqlite:////absolute` names, and its `?timeout=` in seconds, if any.

    Raises `ConfigurationError` for anything else.
    """
    scheme, _, rest = url.partition("://")
    place, _, options = rest.partition("?")
    if scheme != "sqlite" or not place.startswith("/") or place == "/":
        raise ConfigurationError(
            f"store={url!r} names no file; say sqlite:///locks.db (in the working directory) or "
            "sqlite:////var/lib/app/locks.db (an absolute path)"
        )
    timeout = None
    for name, value in parse_qsl(options, keep_blank_values=True):
        if name != "timeout":
            raise ConfigurationError(f"store={url!r}: {name!r} is no option of it; there is ?timeout=SECONDS")
        timeout = _seconds(value)
    return os.fsdecode(unquote_to_bytes(place[1:])), timeout


def _seconds(value: str) -> float:
    try:
        return float(value)
    except ValueError:
        raise ConfigurationError(f"timeout={value!r} is not a number of seconds") from None


def resolved(path: str) -> str:
    """`path` made absolute, and not a link: what lies beside the file (-wal, -permits) has to be one for all names."""
    if path in ("", ":memory:") or "\0" in path:
        raise ConfigurationError(
            f"{path!r} names no file; for locks that last as long as the process, use memory:// (MemoryLockStore)"
        )
    path = os.path.abspath(path)
    return os.path.realpath(path) if os.path.islink(path) else path


# ---- mounts ----------------------------------------------------------------------------------------------------------


def file_system_of(path: str, mounts: str = "/proc/self/mountinfo") -> str | None:
    """The type of the file system that `path` lies on, as the kernel calls it; None where it does not say."""
    return _mount_of(path, mounts)[1]


def _mount_of(path: str, mounts: str) -> tuple[str, str | None]:
    """Where the file system that `path` lies on is mounted, and its type. The last of several mounts counts."""
    try:
        with open(mounts, "rb") as table:
            lines = table.read().splitlines()
    except OSError:
        return "", None
    real, best, found = os.path.realpath(path), "", None
    for line in lines:
        left, _, right = line.partition(b" - ")
        fields = left.split(b" ")
        if len(fields) < 5:
            continue
        point = os.fsdecode(re.sub(rb"\\([0-7]{3})", lambda code: bytes([int(code[1], 8) & 255]), fields[4]))
        inside = real == point or real.startswith(point.rstrip("/") + "/")
        if inside and len(point) >= len(best):
            best, found = point, os.fsdecode(right.split(b" ")[0])
    return best, found


def is_mounted_alone(path: str, mounts: str = "/proc/self/mountinfo") -> bool:
    """Whether the file at `path` is a mount of its own, as containers have it: others then know another directory."""
    return _mount_of(path, mounts)[0] == os.path.realpath(path)


# ---- whose it is ----------------------------------------------------------------------------------------------


def give_away(made: int | str, path: str) -> None:
    """What root makes at `path` belongs to the owner of the directory, as SQLite has it with its log.

    made: a descriptor of it, or its path. Else a job that is run as root once would shut the server out for good.
    """
    if os.geteuid() == 0:
        owner = os.stat(os.path.dirname(os.path.abspath(path)))
        os.chown(made, owner.st_uid, owner.st_gid)


# ---- what is refused ----------------------------------------------------------------------------------------------


def check_place(path: str) -> None:
    """Refuse a place that cannot be relied on. Raises `ConfigurationError` that says what is wrong with it."""
    directory = os.path.dirname(path)
    if not os.path.isdir(directory):
        raise ConfigurationError(f"the lock file {path} cannot be made: there is no directory {directory}")
    if not os.access(directory, os.W_OK | os.X_OK):
        raise ConfigurationError(
            f"the lock file {path} cannot be used: make its directory writable for this process, for other "
            "files come beside it"
        )
    if os.path.exists(path):
        _check_file(path)
    kind = file_system_of(directory)
    if kind in NETWORKED:
        raise ConfigurationError(
            f"the lock file {path} lies on a network file system ({kind}), where locks between processes "
            "cannot be relied on; use a disk of this host, or a store on a server for several hosts"
        )


def _check_file(path: str) -> None:
    """Refuse what is no file, and a file that others may know by another name, with another log beside it."""
    if os.path.isdir(path):
        raise ConfigurationError(f"{path} is a directory; name the file that shall hold the locks")
    if not os.path.isfile(path):
        raise ConfigurationError(f"{path} is not an ordinary file; name another one")
    if not os.access(path, os.R_OK | os.W_OK):  # SQLite would open it to read only
        raise ConfigurationError(f"{path} cannot be used: make it readable and writable for this process")
    if os.stat(path).st_nlink > 1:
        raise ConfigurationError(f"{path} has a second name (a hard link); remove that, or name another file")
    if is_mounted_alone(path):
        raise ConfigurationError(f"{path} is mounted by itself; mount the directory that it lies in")
