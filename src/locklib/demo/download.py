"""GET of a file: the whole, a part, or nothing because the client has it (RFC 9110 sections 13 and 14).

Knows: an open file, conditions, ranges. Must not know: how the file was found, WebDAV.
"""

from __future__ import annotations

from typing import BinaryIO

from werkzeug.http import http_date, parse_date, parse_etags, parse_range_header

from locklib.demo import preconditions
from locklib.demo.message import CHUNK, Answer, Request
from locklib.demo.problem import Problem
from locklib.demo.tree import Entry

__all__ = ["file_answer"]


def file_answer(request: Request, entry: Entry, file: BinaryIO) -> Answer:
    """The file, a part of it, or 304 (RFC 9110 sections 13 and 14)."""
    fields = {
        "content-type": entry.media_type,
        "etag": f'"{entry.etag}"',
        "last-modified": http_date(entry.modified),
        "accept-ranges": "bytes",
        "x-content-type-options": "nosniff",
    }
    try:
        preconditions.check(request.method, request.fields, exists=True, etag=entry.etag, modified=entry.modified)
    except preconditions.NotModified:
        file.close()
        return Answer(304, {"etag": fields["etag"], "last-modified": fields["last-modified"]})
    size = entry.stat.st_size
    part = _asked_part(request, entry)
    start, end = part or (0, size)
    if part:
        fields["content-range"] = f"bytes {start}-{end - 1}/{size}"
        file.seek(start)
    first = file.read(min(CHUNK, end - start))
    return Answer(206 if part else 200, fields, first, file, end - start - len(first))


def _asked_part(request: Request, entry: Entry) -> tuple[int, int] | None:
    """First byte and the one after the last, or None for the whole. Raises `Problem` 416.

    Several ranges at once are answered with the whole file, as RFC 9110 section 14.2 lets a server do.
    """
    if request.method != "GET" or not _if_range(request.fields.get("if-range"), entry):
        return None
    asked = parse_range_header(request.fields.get("range"))
    if asked is None or asked.units != "bytes" or len(asked.ranges) != 1:
        return None
    size = entry.stat.st_size
    part = asked.range_for_length(size)
    if part is None:
        headers = {"content-range": f"bytes */{size}"}
        raise Problem(416, f"the range is outside of the file, which has {size} bytes", headers=headers)
    return part


def _if_range(value: str | None, entry: Entry) -> bool:
    if value is None:
        return True
    if value.startswith('"'):
        return entry.etag is not None and parse_etags(value).is_strong(entry.etag)
    return parse_date(value) == entry.modified
