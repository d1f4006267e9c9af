"""The XML of PROPFIND, PROPPATCH and their answers, and of DAV:error (RFC 4918 sections 4.3, 14, 17 and 20.6).

Knows: elements, names, prefixes, escaping. Must not know: files, stores, HTTP beyond the words of a status line.

A body is read with expat directly: any DOCTYPE is refused at its first token, so there are no entities to expand, and
depth and number of attributes are bounded. A property's value is kept as it came in: prefixes, attributes,
xml:lang and mixed content; comments and processing instructions are dropped.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import NoReturn
from xml.parsers import expat

from locklib.demo.problem import Problem
from locklib.demo.propstore import Name

__all__ = [
    "DAV",
    "LARGEST_BODY",
    "Element",
    "Instruction",
    "PropFind",
    "PropStat",
    "empty",
    "error_document",
    "escape",
    "instructions_of",
    "multistatus",
    "parse",
    "propfind_of",
    "response",
]

DAV = "DAV:"
XML = "http://www.w3.org/XML/1998/namespace"
LARGEST_BODY = 64 * 1024  # bytes
DEEPEST = 32
MOST_ATTRIBUTES = 64  # namespace declarations count too
SEPARATOR = "\x1f"  # no XML document can hold this character, so no namespace name can forge a boundary
DECLARATION = '<?xml version="1.0" encoding="utf-8"?>\n'
PREFIX_IN_CONTENT = re.compile(r"([\w.\-]+):")


@dataclass(frozen=True, slots=True)
class Element:
    """One element as it was written. Text between elements stands among the children as `str`."""

    name: Name
    prefix: str
    declared: Mapping[str, str]  # prefix -> namespace name; "" is the default namespace
    attributes: Sequence[tuple[str, str]]  # name as written, prefix and all, and value
    children: list[Element | str] = field(default_factory=list)

    @property
    def elements(self) -> Iterator[Element]:
        return (child for child in self.children if isinstance(child, Element))

    def find(self, local: str) -> list[Element]:
        """The children DAV:`local`; others are ignored, as RFC 4918 section 17 asks."""
        return [child for child in self.elements if child.name == (DAV, local)]

    @property
    def lang(self) -> str | None:
        return dict(self.attributes).get("xml:lang")


# --- reading ---------------------------------------------------------------------------------------------------------


def parse(body: bytes) -> Element:
    """The root element of a request body of at most `LARGEST_BODY` bytes, which its reader sees to.

    Raises `Problem` 400 for what is malformed, has a DOCTYPE, is too deep or too wide (RFC 4918 sections 8.2, 20.6).
    """
    try:
        return _Reader().read(body)
    except expat.ExpatError as error:
        raise Problem(400, f"the body is not well-formed XML: {error}") from None
    except (LookupError, ValueError):  # raised by codecs for an encoding that is unknown or not of single bytes
        raise Problem(400, "the XML body is in an encoding that is not read here; send UTF-8") from None


class _Reader:
    """expat's handlers, building `Element`s."""

    def __init__(self) -> None:
        self._open: list[Element] = []
        self._declared: dict[str, str] = {}
        self._root: Element | None = None
        parser = self._parser = expat.ParserCreate(namespace_separator=SEPARATOR)
        parser.namespace_prefixes = True
        parser.buffer_text = True
        parser.ordered_attributes = True
        parser.StartDoctypeDeclHandler = self._doctype
        parser.StartNamespaceDeclHandler = self._namespace
        parser.StartElementHandler = self._start
        parser.EndElementHandler = self._end
        parser.CharacterDataHandler = self._text

    def read(self, body: bytes) -> Element:
        self._parser.Parse(body, True)
        assert self._root is not None  # noqa: S101 - expat has raised for a document without a root
        return self._root

    def _doctype(self, *_: object) -> NoReturn:
        raise Problem(400, "the XML body has a DOCTYPE, which is never needed here; leave it out")

    def _namespace(self, prefix: str | None, uri: str | None) -> None:
        self._declared[prefix or ""] = uri or ""

    def _start(self, raw: str, flat: list[str]) -> None:
        declared, self._declared = self._declared, {}
        if len(self._open) >= DEEPEST or len(flat) // 2 + len(declared) > MOST_ATTRIBUTES:
            raise Problem(400, f"the XML body is over {DEEPEST} elements deep or {MOST_ATTRIBUTES} attributes wide")
        name, prefix = _split(raw)
        attributes = [(_as_written(key), value) for key, value in zip(flat[::2], flat[1::2], strict=True)]
        element = Element(name, prefix, declared, attributes)
        if self._open:
            self._open[-1].children.append(element)
        self._open.append(element)

    def _end(self, _: str) -> None:
        self._root = self._open.pop()

    def _text(self, text: str) -> None:
        self._open[-1].children.append(text)


def _split(raw: str) -> tuple[Name, str]:
    """expat's `uri SEP local SEP prefix`, whose last and first part may be absent."""
    parts = raw.split(SEPARATOR)
    if len(parts) == 1:
        return Name("", raw), ""
    return Name(parts[0], parts[1]), parts[2] if len(parts) > 2 else ""


def _as_written(raw: str) -> str:
    name, prefix = _split(raw)
    return f"{prefix}:{name.local}" if prefix else name.local


@dataclass(frozen=True, slots=True)
class PropFind:
    """What a PROPFIND asks for: `kind` is allprop, propname or prop; `names` are those of prop or of include."""

    kind: str
    names: tuple[Name, ...] = ()


# <!ELEMENT propfind ( propname | (allprop, include?) | prop ) >      RFC 4918 section 14.20
def propfind_of(body: bytes) -> PropFind:
    """The question in a PROPFIND body; none at all is allprop (RFC 4918 section 9.1). Raises `Problem` 400."""
    if not body:
        return PropFind("allprop")
    root = parse(body)
    asked = [kind for kind in ("allprop", "propname", "prop") for _ in root.find(kind)]
    if root.name != (DAV, "propfind") or len(asked) != 1:
        raise Problem(400, "expected a DAV:propfind element with one of propname, allprop and prop in it")
    lists = root.find("prop" if asked == ["prop"] else "include")
    names = dict.fromkeys(child.name for listed in lists for child in listed.elements)
    return PropFind(asked[0], tuple(names))


@dataclass(frozen=True, slots=True)
class Instruction:
    """One step of a PROPPATCH: set the property to `xml`, or remove it where `xml` is None."""

    name: Name
    xml: str | None


# <!ELEMENT propertyupdate (remove | set)+ >      RFC 4918 section 14.19
def instructions_of(body: bytes) -> Iterator[Instruction]:
    """The steps of a PROPPATCH body in document order (RFC 4918 section 9.2). Raises `Problem` 400."""
    root = parse(body)
    steps = [child for child in root.elements if child.name in {(DAV, "set"), (DAV, "remove")}]
    if root.name != (DAV, "propertyupdate") or not any(step.find("prop") for step in steps):
        raise Problem(400, "expected a DAV:propertyupdate element with a set or a remove of a prop in it")
    for step in steps:
        for prop in step.find("prop"):
            around = (root, step, prop)
            for element in prop.elements:
                xml = _self_contained(element, around) if step.name.local == "set" else None
                yield Instruction(element.name, xml)


# --- writing ---------------------------------------------------------------------------------------------------------


def escape(text: str) -> str:
    """`text` for the content of an element or a quoted attribute."""
    for character, reference in {"&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;", "\r": "&#13;"}.items():
        text = text.replace(character, reference)
    return text


def _attribute(name: str, value: str) -> str:
    return f' {name}="{escape(value).replace(chr(9), "&#9;").replace(chr(10), "&#10;")}"'


def _self_contained(element: Element, around: Sequence[Element]) -> str:
    """`element` as text that means the same anywhere: with the xml:lang and the declarations it stood under.

    Of the declarations around it, those come along whose prefix occurs, be it only in content (a QName in a value).
    """
    scope: dict[str, str] = {}
    for outer in around:
        scope.update(outer.declared)
    occurring = _prefixes(element)
    declared = {prefix: uri for prefix, uri in scope.items() if prefix in occurring} | dict(element.declared)
    language = next((outer.lang for outer in (element, *reversed(around)) if outer.lang is not None), None)
    extra = [("xml:lang", language)] if language is not None and element.lang is None else []
    whole = Element(element.name, element.prefix, declared, [*element.attributes, *extra], element.children)
    return _write(whole)


def _prefixes(element: Element) -> set[str]:
    found = {element.prefix}
    for name, value in element.attributes:
        found.update(PREFIX_IN_CONTENT.findall(f"{name} {value}"))
    for child in element.children:
        found.update(PREFIX_IN_CONTENT.findall(child) if isinstance(child, str) else _prefixes(child))
    return found


def _write(element: Element) -> str:
    tag = f"{element.prefix}:{element.name.local}" if element.prefix else element.name.local
    head = "".join(
        [_attribute(f"xmlns:{prefix}" if prefix else "xmlns", uri) for prefix, uri in element.declared.items()]
        + [_attribute(name, value) for name, value in element.attributes]
    )
    inner = "".join(escape(child) if isinstance(child, str) else _write(child) for child in element.children)
    return f"<{tag}{head}>{inner}</{tag}>" if inner else f"<{tag}{head}/>"


def empty(name: Name) -> str:
    """An element without content: a property that is only named (RFC 4918 section 9.1.4)."""
    if name.namespace == DAV:
        return f"<D:{name.local}/>"
    return f"<{name.local}{_attribute('xmlns', name.namespace)}/>" if name.namespace else f"<{name.local}/>"


@dataclass(frozen=True, slots=True)
class PropStat:
    """Properties, as XML texts, that share one status (RFC 4918 section 14.22), and a condition for all of them."""

    status: int
    properties: Sequence[str]
    condition: str | None = None


def _status(status: int) -> str:
    return f"<D:status>HTTP/1.1 {status} {HTTPStatus(status).phrase}</D:status>"


def _propstat(stat: PropStat) -> str:
    error = f"<D:error><D:{stat.condition}/></D:error>" if stat.condition else ""
    return f"<D:propstat><D:prop>{''.join(stat.properties)}</D:prop>{_status(stat.status)}{error}</D:propstat>"


def response(href: str, stats: Iterable[PropStat]) -> str:
    """One DAV:response (RFC 4918 section 14.24) about the resource at `href`."""
    return f"<D:response><D:href>{escape(href)}</D:href>{''.join(map(_propstat, stats))}</D:response>\n"


def multistatus(responses: Iterable[str]) -> bytes:
    """The body of a 207 (RFC 4918 section 13)."""
    return f'{DECLARATION}<D:multistatus xmlns:D="DAV:">\n{"".join(responses)}</D:multistatus>\n'.encode()


def error_document(condition: str) -> bytes:
    """A DAV:error that names one condition (RFC 4918 section 14.5)."""
    return f'{DECLARATION}<D:error xmlns:D="DAV:"><D:{condition}/></D:error>\n'.encode()
