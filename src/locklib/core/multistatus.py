"""A multistatus cut open while it streams by: properties of ours go in, what the application says of them goes out.

Knows: the shape of DAV:multistatus (RFC 4918 sections 13 and 14.16), and byte offsets in it; nothing is written anew,
all that is passed on is the application's own bytes.
Must not know: locks, the values that go in, who asks.

    multistatus > response > href
                           > propstat > prop > (a property)
                           > propstat > status

One response at a time is held back, up to `RESPONSE_LIMIT` bytes; a larger one passes as it is. A document that is not
such a tree, has a DOCTYPE, is in an encoding wider than a byte, or turns out not to be well-formed passes untouched
from there on: it is the application's, and not ours to mend.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection
from typing import TYPE_CHECKING, NamedTuple, NoReturn, TypeAlias

if TYPE_CHECKING:
    from xml.parsers.expat import XMLParserType

__all__ = ["RESPONSE_LIMIT", "Gap", "Part", "Splitter", "is_utf8", "readable"]

RESPONSE_LIMIT = 1024 * 1024
"""Bytes of one DAV:response that are held back until it is whole; and as many of a token that has not ended."""

# Cannot occur in XML 1.0, so no namespace forges it.
SEPARATOR = "\x01"
DAV = "DAV:" + SEPARATOR
MULTISTATUS, RESPONSE, HREF, PROPSTAT, PROP, STATUS = (
    DAV + name for name in ("multistatus", "response", "href", "propstat", "prop", "status")
)
ROOT_LEVEL, RESPONSE_LEVEL, PART_LEVEL, PROP_LEVEL, PROPERTY_LEVEL = range(1, 6)

# Each of them has ASCII in its lower half, so markup can be found, and cut, byte by byte.
ONE_BYTE = re.compile(r"utf-?8|(us-)?ascii|iso-8859-[0-9]{1,2}|latin-?1|windows-125[0-9]", re.IGNORECASE)
UTF_8 = re.compile(r"utf-?8", re.IGNORECASE)

# EmptyElemTag = "<" Name (S Attribute)* S? "/>"; in an attribute's value > may stand, its own quote may not
START_TAG = re.compile(rb"""<[^>"']*(?:"[^"]*"[^>"']*|'[^']*'[^>"']*)*>""")

# Status-Line = HTTP-Version SP Status-Code SP Reason-Phrase   (section 14.28)
STATUS_LINE = re.compile(r"\s*HTTP/[0-9.]+\s+([0-9]{3})\b")
FORBIDDEN = (401, 403)


def readable(encoding: str) -> bool:
    """Whether documents in `encoding` are cut open here."""
    return ONE_BYTE.fullmatch(encoding) is not None


def is_utf8(encoding: str | None) -> bool:
    """Whether `encoding` can hold every character. None, nothing declared, is UTF-8 (XML 1.0 section 4.3.3)."""
    return encoding is None or UTF_8.fullmatch(encoding) is not None


class Gap(NamedTuple):
    """A place for a DAV:propstat: in the response for the resource `key`, with the properties `names` (local names)."""

    key: str
    names: frozenset[str]


Part: TypeAlias = bytes | Gap


class _Foreign(Exception):
    """The document is not one that is cut open."""


class _Property:
    """A property of ours as the application tells it: expat's name, and the bytes from `start` to `end` (0: open)."""

    __slots__ = ("end", "name", "start")

    def __init__(self, name: str, start: int) -> None:
        self.name = name
        self.start = start
        self.end = 0


class _Propstat:
    __slots__ = ("code", "ours", "properties", "start")

    def __init__(self, start: int) -> None:
        self.start = start
        self.properties = 0
        self.ours: list[_Property] = []
        self.code = 0


class _Response:
    """A response under way. cuts: what goes out; place: where ours go in (0: nowhere); kept: names not to touch."""

    __slots__ = ("cuts", "hrefs", "in_prop", "kept", "part", "place", "propstat", "satisfied", "start")

    def __init__(self, start: int) -> None:
        self.start = start
        self.hrefs: list[str] = []
        self.cuts: list[tuple[int, int]] = []
        self.place = 0
        self.kept: set[str] = set()
        self.propstat: _Propstat | None = None
        self.in_prop = False
        self.part = 0
        self.satisfied: tuple[int, int] | None = None


class Splitter:
    """Takes the chunks of a multistatus and gives back pieces: bytes to pass on, and gaps to fill.

    names: local names of the DAV properties to be replaced. key_of: the key of an href (as text) in the answer, or None
    for one that is left alone. charset: of the Content-Type, None if it has none; it outranks the document's own word.
    """

    def __init__(self, names: Collection[str], key_of: Callable[[str], str | None], charset: str | None = None) -> None:
        self.utf8: bool = is_utf8(charset)
        self._names = frozenset(DAV + name for name in names)
        self._key_of = key_of
        self._charset = charset
        self._buffer = bytearray()
        self._base = 0  # the offset of the buffer's first byte in the document
        self._sent = 0  # what stands before this offset is passed on or cut
        self._read = 0  # what stands before this offset has been understood
        self._depth = 0
        self._response: _Response | None = None
        self._text: list[str] | None = None
        self._out: list[Part] = []
        self._parser: XMLParserType | None = self._new_parser()

    def _new_parser(self) -> XMLParserType:
        from xml.parsers import expat  # noqa: PLC0415 - only a PROPFIND pays for it

        charset = "UTF-8" if self._charset is not None and self.utf8 else self._charset
        parser = expat.ParserCreate(charset, SEPARATOR)
        parser.XmlDeclHandler = self._declared
        parser.StartDoctypeDeclHandler = self._doctype
        parser.StartElementHandler = self._started
        parser.EndElementHandler = self._ended
        return parser

    # ---- bytes -------------------------------------------------------------------------------------------------------

    def feed(self, chunk: bytes, more: bool) -> list[Part]:
        """The pieces that `chunk` completes. more: whether another chunk will come. Never raises for what is in it."""
        from xml.parsers.expat import ExpatError  # noqa: PLC0415 - only a PROPFIND pays for it

        parser = self._parser
        if parser is None:
            return [chunk] if chunk else []
        self._buffer += chunk
        try:
            parser.Parse(chunk, not more)
        except (ExpatError, LookupError, _Foreign):  # LookupError: an encoding that nobody knows
            return self._leave()
        if not more:
            return self._leave()
        # -1 where expat has not looked at the chunk yet: it may wait until a token is longer before it tries again.
        self._read = max(self._read, parser.CurrentByteIndex)
        self._pass_on_what_was_read()
        if len(self._buffer) > 2 * RESPONSE_LIMIT:
            return self._leave()
        return self._taken()

    def _pass_on_what_was_read(self) -> None:
        response = self._response
        if response is not None and self._read - response.start > RESPONSE_LIMIT:
            self._response = response = None
            self._heard()
        self._emit(self._read if response is None else response.start)
        del self._buffer[: self._sent - self._base]
        self._base = self._sent

    def _leave(self) -> list[Part]:
        """All that is held back goes out as it is; so does what comes later."""
        self._emit(self._base + len(self._buffer))
        self._buffer.clear()
        self._parser = None
        return self._taken()

    def _taken(self) -> list[Part]:
        out, self._out = self._out, []
        return out

    def _emit(self, end: int) -> None:
        if end > self._sent:
            with memoryview(self._buffer) as view:
                self._out.append(bytes(view[self._sent - self._base : end - self._base]))
            self._sent = end

    # ---- where things are --------------------------------------------------------------------------------------------

    @property
    def _at(self) -> int:
        assert self._parser is not None  # noqa: S101 - only its handlers ask
        return self._parser.CurrentByteIndex

    # element = EmptyElemTag | STag content ETag
    # ETag = "</" Name S? ">"
    def _end_of(self, start: int) -> int:
        """Where the element that started at `start`, and has just ended, ends: after its >."""
        tag = START_TAG.match(self._buffer, start - self._base)
        assert tag is not None  # noqa: S101 - expat has read it
        if tag[0].endswith(b"/>"):
            return tag.end() + self._base
        return self._buffer.index(b">", self._at - self._base) + 1 + self._base

    # ---- expat's handlers --------------------------------------------------------------------------------------------

    def _declared(self, _version: str, encoding: str | None, _standalone: int) -> None:
        if self._charset is None and encoding is not None:
            if not readable(encoding):
                raise _Foreign
            self.utf8 = is_utf8(encoding)

    def _doctype(self, *_: object) -> NoReturn:
        raise _Foreign

    def _started(self, name: str, _attributes: object) -> None:
        self._depth += 1
        if self._depth > PROPERTY_LEVEL:
            return
        if self._depth == ROOT_LEVEL:
            self._root(name)
        elif self._depth == RESPONSE_LEVEL:
            self._response = _Response(self._at) if name == RESPONSE else None
        elif self._response is not None:
            self._inside(self._response, name)

    def _root(self, name: str) -> None:
        start = self._at - self._base
        wide = self._buffer[start : start + 1] != b"<" or self._buffer[start + 1] == 0  # UTF-16
        if name != MULTISTATUS or wide:
            raise _Foreign

    def _inside(self, response: _Response, name: str) -> None:
        if self._depth == PART_LEVEL:
            response.part = self._at
            response.propstat = _Propstat(response.part) if name == PROPSTAT else None
            if name in (HREF, STATUS):
                self._listen()
        elif response.propstat is not None:
            self._inside_propstat(response, response.propstat, name)

    def _inside_propstat(self, response: _Response, propstat: _Propstat, name: str) -> None:
        if self._depth == PROP_LEVEL:
            response.in_prop = name == PROP
            if name == STATUS:
                self._listen()
        elif response.in_prop:
            propstat.properties += 1
            if name in self._names:
                propstat.ours.append(_Property(name, self._at))

    def _listen(self) -> None:
        assert self._parser is not None  # noqa: S101 - only its handlers ask
        self._text = []
        self._parser.CharacterDataHandler = self._text.append

    def _heard(self) -> str:
        assert self._parser is not None  # noqa: S101 - only its handlers ask
        self._parser.CharacterDataHandler = None
        text, self._text = "".join(self._text or ()), None
        return text

    def _ended(self, name: str) -> None:
        depth = self._depth
        self._depth -= 1
        response = self._response
        if response is None or depth > PROPERTY_LEVEL:
            return
        if depth == RESPONSE_LEVEL:
            self._response = None
            if self._at - response.start <= RESPONSE_LIMIT:
                self._complete(response)
        elif depth == PART_LEVEL:
            self._part_ended(response, name)
        elif response.propstat is not None:
            self._end_in_propstat(response.propstat, name, depth)

    def _part_ended(self, response: _Response, name: str) -> None:
        if response.propstat is not None:
            self._propstat_ended(response, response.propstat)
        elif name == HREF:
            response.hrefs.append(self._heard().strip())
        elif name == STATUS and 200 <= _code(self._heard()) < 300:
            response.satisfied = response.part, self._end_of(response.part)

    def _end_in_propstat(self, propstat: _Propstat, name: str, depth: int) -> None:
        if depth == PROP_LEVEL:
            if name == STATUS:
                propstat.code = _code(self._heard())
        elif propstat.ours and not propstat.ours[-1].end:
            propstat.ours[-1].end = self._end_of(propstat.ours[-1].start)

    def _propstat_ended(self, response: _Response, propstat: _Propstat) -> None:
        end = response.place = self._end_of(propstat.start)
        response.propstat, response.in_prop = None, False
        if propstat.code in FORBIDDEN:  # what the application forbids to see is not shown by us
            response.kept.update(one.name for one in propstat.ours)
        elif propstat.ours and len(propstat.ours) == propstat.properties:
            response.cuts.append((propstat.start, end))
        else:
            response.cuts += [(one.start, one.end) for one in propstat.ours]

    # ---- a whole response --------------------------------------------------------------------------------------------

    def _complete(self, response: _Response) -> None:
        """Cut the response open if it is one resource's and ours; else it passes as it is."""
        if not response.place and response.satisfied is not None:
            # Nothing found, and nothing is what was asked for: `Prefer: return=minimal` (RFC 8144 section 2.1).
            response.cuts, response.place = [response.satisfied], response.satisfied[1]
        names = self._names - response.kept
        if not response.place or not names or len(response.hrefs) != 1:
            return
        key = self._key_of(response.hrefs[0])
        if key is None:
            return
        for start, end in response.cuts:
            self._emit(start)
            self._sent = end
        self._emit(response.place)
        self._out.append(Gap(key, frozenset(name.removeprefix(DAV) for name in names)))


def _code(status: str) -> int:
    line = STATUS_LINE.match(status)
    return int(line[1]) if line else 0
