"""The errors of locklib: one tree, each with the HTTP status it becomes.

Knows: status codes, DAV precondition codes and the evidence of what went wrong.
Must not know: how an answer is rendered, how a store or a framework works.

The core answers an ordinary refusal (423, 412 ...) with a *value* (`locklib.core.model.Refusal`); exceptions are for
input that cannot be read, for settings that cannot be used, for stores that cannot answer, and for code outside HTTP.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

if TYPE_CHECKING:
    from locklib.core.model import Refusal

__all__ = [
    "BadField",
    "BadLockInfo",
    "BodyTooLarge",
    "ConfigurationError",
    "LockError",
    "LockRefused",
    "StoreUnavailable",
    "UnsupportedBody",
    "UnusableLockInfo",
]

SHOWN = 80


def shown(value: object) -> str:
    """`value` as a short printable piece for a message: escaped, and cut after 80 characters."""
    text = ascii(value)
    return text if len(text) <= SHOWN else text[:SHOWN] + "..."


class LockError(Exception):
    """Any error of locklib. `status` is the HTTP status that it becomes when it reaches a client."""

    status: ClassVar[int] = 500
    slug: ClassVar[str] = "error"


class ConfigurationError(LockError):
    """A setting, or a combination of settings, that cannot work. Raised at start, or at the first use that shows it."""

    slug = "configuration"


class BadField(LockError):
    """A header field that is not what its grammar says (RFC 4918 section 10). Becomes 400 and changes nothing.

    `field` is the header's name, `value` what came (kept as evidence), `expected` what the grammar wants there.
    """

    status = 400
    slug = "bad-field"

    def __init__(self, field: str, value: object, expected: str) -> None:
        self.field = field
        self.value = value
        self.expected = expected
        super().__init__(f"{field}: {shown(value)} is malformed; expected {expected}")


class BadLockInfo(LockError):
    """A LOCK or PROPFIND body that is not well-formed, or is hostile in shape (RFC 4918 section 20). Becomes 400."""

    status = 400
    slug = "bad-body"


class BodyTooLarge(LockError):
    """A request body over its limit. Becomes 413."""

    status = 413
    slug = "body-too-large"

    def __init__(self, limit: int) -> None:
        self.limit = limit
        super().__init__(f"the request body is larger than {limit} bytes, the limit for a lock request")


class UnsupportedBody(LockError):
    """A body in a media type that this method does not take. Becomes 415 (RFC 4918 section 8.4)."""

    status = 415
    slug = "unsupported-body"


class UnusableLockInfo(LockError):
    """A readable body that asks for a lock that does not exist (scope, type, root element). Becomes 422."""

    status = 422
    slug = "unusable-lockinfo"


class StoreUnavailable(LockError):
    """The store did not answer in time or cannot answer at all. Becomes 503 with `Retry-After`."""

    status = 503
    slug = "store-unavailable"


class LockRefused(LockError):
    """A lock rule said no to code outside HTTP. `refusal` is the value that a client would have been answered with."""

    slug = "refused"

    def __init__(self, refusal: Refusal) -> None:
        self.refusal = refusal
        super().__init__(f"{refusal.status} {refusal.message}")
