"""What the demo applications answer when they cannot do what was asked.

Knows: status codes and DAV condition names (RFC 4918 section 16). Must not know: how the answer is rendered.
"""

from __future__ import annotations

import errno
from collections.abc import Mapping

__all__ = ["Problem", "problem_of"]


class Problem(Exception):
    """A request that is answered with an error. Raised anywhere below an application, rendered by the application.

    `status` is the HTTP status; `message` says what was wrong and what to do; `condition` is the local name of a
    DAV precondition element (RFC 4918 section 16) or None; `headers` go out with the answer, names in lower case.
    """

    def __init__(
        self, status: int, message: str, *, condition: str | None = None, headers: Mapping[str, str] | None = None
    ) -> None:
        self.status = status
        self.message = message
        self.condition = condition
        self.headers: dict[str, str] = dict(headers or {})
        super().__init__(f"{status} {message}")


# errno -> what it means to a client. Anything else is a fault of ours and stays an exception.
MEANINGS: Mapping[int, tuple[int, str]] = {
    errno.ENOENT: (404, "it is gone meanwhile; look again"),
    errno.EEXIST: (409, "something came to be here meanwhile; look again"),
    errno.ENOTDIR: (409, "a part of its path is a file, not a collection"),
    errno.ENAMETOOLONG: (414, "the name is too long for the file system; choose a shorter one"),
    errno.EACCES: (403, "the server may not do this in its own folder"),
    errno.EPERM: (403, "the server may not do this in its own folder"),
    errno.EROFS: (403, "the folder is read-only"),
    errno.EXDEV: (403, "source and target are on different file systems; copy the members one by one"),
    errno.ENOSPC: (507, "the disk is full; free some space first"),
    errno.EDQUOT: (507, "the quota of the disk is used up; free some space first"),
}


def problem_of(error: OSError) -> Problem | None:
    """The answer for an error of the file system, or None where it is not the client's business."""
    meaning = MEANINGS.get(error.errno or 0)
    return Problem(*meaning) if meaning else None
