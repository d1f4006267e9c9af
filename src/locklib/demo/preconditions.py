"""If-Match, If-None-Match and their dates, evaluated against one resource (RFC 9110 section 13).

Knows: request fields, one entity tag, one date. Must not know: WebDAV's `If`, files, frameworks.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime

from werkzeug.http import parse_date, parse_etags

from locklib.demo.problem import Problem

__all__ = ["NotModified", "check"]

SAFE = frozenset({"GET", "HEAD"})


class NotModified(Exception):
    """The client's copy is good: answer 304 (RFC 9110 section 15.4.5)."""


def check(
    method: str, fields: Mapping[str, str], *, exists: bool, etag: str | None = None, modified: datetime | None = None
) -> None:
    """Raise what the conditions of a request call for, in the order of RFC 9110 section 13.2.2.

    `fields` has lower-case names, repeated lines joined by a comma. `etag` is the opaque part of a strong entity tag,
    without its quotes; `modified` is aware and in whole seconds. A resource may exist and have neither (a collection).
    Raises `Problem` 412, or `NotModified` for GET and HEAD.
    """
    _must_match(fields, exists, etag, modified)
    if not _is_news(method, fields, exists, etag, modified):
        if method in SAFE:
            raise NotModified
        raise Problem(412, "If-None-Match names what is there; read it before you write over it")


def _must_match(fields: Mapping[str, str], exists: bool, etag: str | None, modified: datetime | None) -> None:
    wanted = fields.get("if-match")
    if wanted is not None:
        tags = parse_etags(wanted)
        if not (exists if tags.star_tag else etag is not None and tags.is_strong(etag)):
            raise Problem(412, "If-Match names another version than the one that is there; read it again")
        return
    since = parse_date(fields.get("if-unmodified-since"))
    if since and modified and modified > since:
        raise Problem(412, "it was changed after the date in If-Unmodified-Since; read it again")


def _is_news(method: str, fields: Mapping[str, str], exists: bool, etag: str | None, modified: datetime | None) -> bool:
    unwanted = fields.get("if-none-match")
    if unwanted is not None:
        tags = parse_etags(unwanted)
        return not (exists if tags.star_tag else etag is not None and tags.contains_weak(etag))
    since = parse_date(fields.get("if-modified-since")) if method in SAFE else None
    return not (since and modified and modified <= since)
