"""XML bodies in: a small, namespace-aware reader on expat that refuses what no lock request needs.

Knows: encodings, the tree of an XML text, and how a subtree is written so that it stands on its own (RFC 4918
sections 4.3, 8.2, 17 and 20.6).
Must not know: what any element means.

Every way to be hostile ends in `BadLockInfo` (400): a DOCTYPE at its token, before any entity is declared; depth,
attributes and namespaces over their limits; bytes that are not what the document says they are.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from locklib.errors import BadLockInfo, BodyTooLarge, shown

__all__ = ["BODY_LIMIT", "DAV", "Element", "decoded", "read_xml", "standalone"]

DAV = "DAV:"
XML_NAMESPACE = "http://www.w3.org/XML/1998/namespace"

BODY_LIMIT = 64 * 1024
"""Bytes."""
DEPTH_LIMIT = 32
ATTRIBUTE_LIMIT = 64
"""On one element; its namespace declarations are counted beside it."""
NAMESPACE_LIMIT = 64
"""Declarations in one body."""
ELEMENT_LIMIT = 4096
"""Elements that are kept of one body; a lockinfo has five and its owner."""

# No URI reference holds a brace (RFC 3986 section 2). Readers on expat part the names of elements by a character of
# their choice, ElementTree by a brace, and refuse a document with it in a namespace.
NO_URI = re.compile(r"[{}]")

# Between the parts of a name. It cannot occur in XML 1.0, not even as a character reference, so no namespace forges it.
SEPARATOR = "\x01"

BYTE_ORDER_MARKS = {b"\xef\xbb\xbf": "utf-8", b"\xff\xfe": "utf-16-le", b"\xfe\xff": "utf-16-be"}
FIRST_TWO = {b"<\x00": "utf-16-le", b"\x00<": "utf-16-be"}
NAMES_OF = {
    "utf-8": frozenset({"utf-8", "utf8", "us-ascii", "ascii"}),
    "utf-16-le": frozenset({"utf-16", "utf16", "utf-16le"}),
    "utf-16-be": frozenset({"utf-16", "utf16", "utf-16be"}),
}
ASCII_NAMES = frozenset({"us-ascii", "ascii"})


class Element:
    """An element as it stood in the body. `name` and the attribute names are (namespace, local name, prefix)."""

    __slots__ = ("attributes", "children", "declared", "name")

    def __init__(
        self,
        name: tuple[str, str, str | None],
        attributes: list[tuple[tuple[str, str, str | None], str]],
        declared: list[tuple[str | None, str]],
    ) -> None:
        self.name: tuple[str, str, str | None] = name
        self.attributes: list[tuple[tuple[str, str, str | None], str]] = attributes
        self.declared: list[tuple[str | None, str]] = declared
        self.children: list[Element | str] = []

    def is_dav(self, local: str) -> bool:
        return self.name[0] == DAV and self.name[1] == local

    def elements(self) -> Iterator[Element]:
        """The child elements; what stands between them has no meaning in DAV (RFC 4918 section 17)."""
        for child in self.children:
            if isinstance(child, Element):
                yield child

    def dav(self, local: str) -> list[Element]:
        """The child elements DAV:`local`; all others count as absent (RFC 4918 section 17)."""
        return [child for child in self.elements() if child.is_dav(local)]


def decoded(body: bytes, charset: str | None = None) -> tuple[str, str]:
    """The text of `body` and the encoding that its first bytes show (XML 1.0 appendix F): UTF-8 or UTF-16.

    charset: what the Content-Type says; it must agree. Raises BadLockInfo for bytes that are not in that encoding,
    lone surrogates among them.
    """
    encoding, start = _encoding(body)
    try:
        text = body[start:].decode(encoding)
    except UnicodeDecodeError as error:
        raise BadLockInfo(
            f"the body is not {encoding} at byte {start + error.start} ({error.reason}); send it in UTF-8 or UTF-16"
        ) from error
    if charset is not None:
        _agree("the Content-Type", charset, encoding, text)
    return text, encoding


def _encoding(body: bytes) -> tuple[str, int]:
    for mark, encoding in BYTE_ORDER_MARKS.items():
        if body.startswith(mark):
            return encoding, len(mark)
    return FIRST_TWO.get(body[:2], "utf-8"), 0


def _agree(who: str, declared: str, encoding: str, text: str) -> None:
    name = declared.lower()
    if name not in NAMES_OF[encoding] or (name in ASCII_NAMES and not text.isascii()):
        raise BadLockInfo(f"{who} says {shown(declared)} but the body is {encoding}; send UTF-8 and say so")


class _Reader:
    """The tree as it grows, with the limits. Its methods are expat's handlers."""

    def __init__(self, text: str, encoding: str, deep: int) -> None:
        self.text = text
        self.encoding = encoding
        self.deep = deep
        self.root: Element | None = None
        self.open: list[Element] = []
        self.depth = 0
        self.kept = 0
        self.namespaces = 0
        self.declared: list[tuple[str | None, str]] = []

    def declaration(self, _version: str, encoding: str | None, _standalone: int) -> None:
        if encoding is not None:
            _agree("the XML declaration", encoding, self.encoding, self.text)

    def doctype(self, *_: object) -> None:
        raise BadLockInfo("the XML body has a DOCTYPE; no lock request needs one and none is read: leave it out")

    def namespace(self, prefix: str | None, uri: str | None) -> None:
        self.namespaces += 1
        if self.namespaces > NAMESPACE_LIMIT:
            raise BadLockInfo(f"the XML body declares more than {NAMESPACE_LIMIT} namespaces; send fewer")
        if uri and NO_URI.search(uri):
            raise BadLockInfo(f"the namespace name {shown(uri)} is no URI; percent-encode braces")
        self.declared.append((prefix, uri or ""))

    def start(self, name: str, attributes: list[str]) -> None:
        self.depth += 1
        if self.depth > DEPTH_LIMIT:
            raise BadLockInfo(f"the XML body is nested deeper than {DEPTH_LIMIT} elements; send a flatter one")
        if len(attributes) > 2 * ATTRIBUTE_LIMIT:
            raise BadLockInfo(f"an XML element has more than {ATTRIBUTE_LIMIT} attributes; send fewer")
        declared, self.declared = self.declared, []
        if self.depth <= self.deep:
            self._keep(Element(_name(name), _pairs(attributes) if attributes else [], declared))

    def _keep(self, element: Element) -> None:
        self.kept += 1
        if self.kept > ELEMENT_LIMIT:
            raise BadLockInfo(f"the XML body has more than {ELEMENT_LIMIT} elements; send fewer")
        if self.open:
            self.open[-1].children.append(element)
        else:
            self.root = element
        self.open.append(element)

    def end(self, _name: str) -> None:
        if self.depth <= self.deep:
            self.open.pop()
        self.depth -= 1

    def characters(self, data: str) -> None:
        if self.depth <= self.deep:
            self.open[-1].children.append(data)


def _name(name: str) -> tuple[str, str, str | None]:
    """expat's triplet: `local`, `namespace local` or `namespace local prefix`."""
    parts = name.split(SEPARATOR)
    if len(parts) == 1:
        return "", name, None
    return parts[0], parts[1], parts[2] if len(parts) > 2 else None


def _pairs(attributes: list[str]) -> list[tuple[tuple[str, str, str | None], str]]:
    names = iter(attributes)
    return [(_name(name), value) for name, value in zip(names, names, strict=True)]


def read_xml(body: bytes, *, charset: str | None = None, limit: int = BODY_LIMIT, deep: int = DEPTH_LIMIT) -> Element:
    """The root element of an XML `body`.

    charset: the Content-Type's, if it has one. limit: bytes. deep: what lies deeper than so many elements is checked
    but not kept. Raises BodyTooLarge, and BadLockInfo for all that is not well-formed or over a limit (RFC 4918
    sections 8.2 and 20.6).
    """
    if len(body) > limit:
        raise BodyTooLarge(limit)
    text, encoding = decoded(body, charset)
    reader = _Reader(text, encoding, deep)
    _feed(reader, text)
    assert reader.root is not None  # noqa: S101 - expat refuses a document without a root element
    return reader.root


def _feed(reader: _Reader, text: str) -> None:
    from xml.parsers import expat  # noqa: PLC0415 - `import locklib` is not to pay for it

    parser = expat.ParserCreate(None, SEPARATOR)
    parser.namespace_prefixes = True
    parser.ordered_attributes = True
    parser.buffer_text = True
    parser.XmlDeclHandler = reader.declaration
    parser.StartDoctypeDeclHandler = reader.doctype
    parser.StartNamespaceDeclHandler = reader.namespace
    parser.StartElementHandler = reader.start
    parser.EndElementHandler = reader.end
    parser.CharacterDataHandler = reader.characters
    try:
        # A str is read as UTF-8 whatever the document declares; `declaration` has compared the two.
        parser.Parse(text, True)
    except expat.ExpatError as error:
        raise BadLockInfo(f"the XML body is not well-formed: {error}; correct it and send it again") from error


# --- an element that stands on its own ---

IN_TEXT = {ord("&"): "&amp;", ord("<"): "&lt;", ord(">"): "&gt;", ord("\r"): "&#13;"}
# Written as a reference, white space in an attribute outlives the normalisation of XML 1.0 section 3.3.3.
IN_ATTRIBUTE = IN_TEXT | {ord('"'): "&quot;", ord("\t"): "&#9;", ord("\n"): "&#10;"}


def standalone(ancestors: list[Element], element: Element) -> str:
    """`element` as XML text that reads the same anywhere: with the namespaces and the xml:lang of its `ancestors`.

    ancestors: outermost first. Names, prefixes, attributes, text and white space stay as they were, as RFC 4918
    section 4.3 asks of a property's value; comments and processing instructions are left out.
    """
    scope: dict[str | None, str] = {}
    language: str | None = None
    for one in (*ancestors, element):
        scope.update(one.declared)
        language = _language(one, language)
    out: list[str] = []
    inherited = language if _language(element, None) is None else None
    _write(element, [(prefix, uri) for prefix, uri in scope.items() if prefix is not None or uri], inherited, out)
    return "".join(out)


def _language(element: Element, inherited: str | None) -> str | None:
    for (namespace, local, _), value in element.attributes:
        if local == "lang" and namespace == XML_NAMESPACE:
            return value
    return inherited


def _write(element: Element, declared: list[tuple[str | None, str]], language: str | None, out: list[str]) -> None:
    tag = _qualified(element.name)
    out.append(f"<{tag}")
    for prefix, uri in declared:
        out.append(f' {f"xmlns:{prefix}" if prefix else "xmlns"}="{uri.translate(IN_ATTRIBUTE)}"')
    if language is not None:
        out.append(f' xml:lang="{language.translate(IN_ATTRIBUTE)}"')
    for name, value in element.attributes:
        out.append(f' {_qualified(name)}="{value.translate(IN_ATTRIBUTE)}"')
    out.append(">")
    for child in element.children:
        if isinstance(child, str):
            out.append(child.translate(IN_TEXT))
        else:
            _write(child, child.declared, None, out)
    out.append(f"</{tag}>")


def _qualified(name: tuple[str, str, str | None]) -> str:
    return name[1] if name[2] is None else f"{name[2]}:{name[1]}"
