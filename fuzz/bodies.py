"""Targets: the bodies of LOCK (XML and JSON), PROPPATCH and PROPFIND (RFC 4918 sections 9.1, 9.2, 9.10).

A case is text in which every character up to U+00FF stands for a byte, so that any body can be said. The owner's words
are compared with what the standard library's ElementTree finds in the same body.
"""

from __future__ import annotations

import json
import math
import xml.etree.ElementTree as ET
from collections.abc import Callable
from typing import Any
from xml.sax.saxutils import quoteattr

from fuzz.parser import Parser, must, same
from fuzz.source import CRUMBS, Source, often, pick, some
from fuzz.watch import Fault
from locklib.core.lockinfo import (
    Change,
    LockInfo,
    Propfind,
    owner_text,
    parse_lockinfo,
    parse_propfind,
    parse_proppatch,
)
from locklib.core.model import Details, Lock
from locklib.errors import BadLockInfo, BodyTooLarge

__all__ = ["BODIES", "lockinfo_json", "lockinfo_xml", "propfind", "proppatch"]

Value = Any

NAMESPACES = ("", ' xmlns="DAV:"', ' xmlns:D="DAV:"', ' xmlns:x="urn:x"', ' xmlns=""', ' xmlns:x="a&amp;&quot;b"')
ATTRIBUTES = ("", "", ' a="b"', ' x:a="&lt;&#10;"', ' xml:lang="de"', ' xml:lang=""', " a='\t&gt;'")
TEXTS = (
    "anna",
    "",
    " ",
    "&lt;b&gt;",
    "\u65e5\u672c".encode().decode("latin-1"),
    "<![CDATA[<x>]]>",
    "&#13;\n",
    "]]&gt;",
)
EXTRA = ("<!-- c -->", "<?pi x?>", "\n", "<x:y xmlns:x='urn:x'/>")
ENCODINGS = ("utf-16", "utf-16-le", "utf-16-be", "utf-8-sig", "utf-7", "latin-1")
DECLARATIONS = (
    "",
    '<?xml version="1.0" encoding="utf-8"?>',
    "<?xml version='1.0'?>\n",
    '<?xml version="1.0" encoding="',
)

XML_CRUMBS = (
    *CRUMBS,
    *('<D:owner xmlns:D="DAV:">', "</D:owner>", "<D:href>", "<a>", "</a>", '<a b="', "xmlns:q='q'", "&x;", "&#x1F;"),
    *("&#0;", "<![CDATA[", "\xef\xbb\xbf", "\xff\xfe", "\xed\xa0\x80", '<!ENTITY x "y">', "<D:shared/>", "xmlns:"),
)
JSON_CRUMBS = (*CRUMBS, '"owner":', "null", "true", "\\ud800", "\\u0000", "[[[[", '{"a":', "1e400", "-0", '"infinity"')


def element(source: Source, deep: int = 0) -> str:
    name = pick(source, ("a", "D:href", "x:b", "owner"))
    inside = [pick(source, TEXTS)]
    if deep < 4 and source.below(2):
        inside += some(source, 2, lambda source: element(source, deep + 1))
    inside.append(pick(source, TEXTS if often(source, 4) else EXTRA))
    return f"<{name}{pick(source, NAMESPACES)}{pick(source, ATTRIBUTES)}>{''.join(inside)}</{name}>"


def in_some_encoding(source: Source, text: str) -> str:
    """`text` as it stands, nearly always; else in another encoding, or with a declaration that may not be true."""
    if often(source, 8):
        return text
    said = pick(source, DECLARATIONS)
    said = said + pick(source, ("utf-16", "ascii", "iso-8859-1")) + '"?>' if said.endswith('"') else said
    plain = (said + text).encode("latin-1", "replace").decode("utf-8", "replace")
    return plain.encode(pick(source, ENCODINGS), "replace").decode("latin-1")


def lockinfo_xml(source: Source) -> str:
    """<!ELEMENT lockinfo (lockscope, locktype, owner?) >   (RFC 4918 section 14.11)."""
    parts = [
        f"<D:lockscope><D:{pick(source, ('exclusive', 'shared'))}/></D:lockscope>",
        "<D:locktype><D:write/></D:locktype>",
    ]
    if source.below(4):
        owner = "".join(pick(source, TEXTS) + element(source) for _ in range(source.below(3)))
        parts.append(f"<D:owner{pick(source, ATTRIBUTES[:2])}>{owner}{pick(source, TEXTS)}</D:owner>")
    if source.below(6) == 5:
        parts.insert(source.below(3), pick(source, EXTRA))
    return in_some_encoding(source, f'<D:lockinfo xmlns:D="DAV:" xmlns:x="urn:x">{"".join(parts)}</D:lockinfo>')


MEMBERS: dict[str, tuple[tuple[Value, ...], tuple[Value, ...]]] = {
    "scope": (("exclusive", "shared"), ("other", None, 1)),
    "depth": (("0", "infinity", 0), (1, False, None, "INFINITY")),
    "timeout": ((900, "infinite", 0, 1.5), (-1, 10**400, 1e308, None, True, "9")),
    "owner": (("anna", "", "\u65e5\u672c", "<b>&", "\r\nx: y"), ("\x00", "\ud800", None, {})),
    "more": ((0.1, None), ([[[[]]]], {"a": {"b": None}})),
}
"""Of each member what is read, and what may not be."""


def lockinfo_json(source: Source) -> str:
    members: dict[str, Value] = {}
    for name, (plain, odd) in MEMBERS.items():
        if source.below(2):
            members[name] = pick(source, plain if often(source, 8) else odd)
    said = json.dumps(members, ensure_ascii=source.below(4) == 3)
    return in_some_encoding(source, said.encode("utf-8", "surrogatepass").decode("latin-1"))


def names(source: Source) -> str:
    return "".join(
        f"<{name}{pick(source, NAMESPACES)}{pick(source, ATTRIBUTES)}/>" if source.below(2) else element(source, 3)
        for name in some(source, 3, lambda source: pick(source, ("D:lockdiscovery", "x:a", "a", "D:getetag")))
    )


def proppatch(source: Source) -> str:
    """<!ELEMENT propertyupdate (remove | set)+ >   (RFC 4918 section 14.19)."""
    updates = [
        f"<D:{kind}><D:prop>{names(source)}</D:prop></D:{kind}>"
        for kind in some(source, 3, lambda source: pick(source, ("set", "remove")))
    ]
    whole = f'<D:propertyupdate xmlns:D="DAV:" xmlns:x="urn:x">{"".join(updates)}</D:propertyupdate>'
    return in_some_encoding(source, whole)


def propfind(source: Source) -> str:
    """<!ELEMENT propfind ( propname | (allprop, include?) | prop ) >   (RFC 4918 section 14.20)."""
    include = f"<D:include>{names(source)}</D:include>"
    asked = ("<D:allprop/>", f"<D:prop>{names(source)}</D:prop>", "<D:propname/>", f"<D:allprop/>{include}", "")
    whole = f'<D:propfind xmlns:D="DAV:" xmlns:x="urn:x">{pick(source, asked)}</D:propfind>'
    return in_some_encoding(source, whole)


# --- what must hold ---------------------------------------------------------------------------------------------------


def in_bytes(case: str) -> bytes:
    """Characters beyond U+00FF, which only a shrinking hand would bring in, become a question mark."""
    return case.encode("latin-1", "replace")


def read_as(media_type: str | None) -> Callable[[str], LockInfo]:
    return lambda case: parse_lockinfo(in_bytes(case), media_type)


def written_xml(info: LockInfo) -> bytes:
    said = f"<D:lockscope><D:{info.scope}/></D:lockscope><D:locktype><D:write/></D:locktype>{info.owner_info or ''}"
    return f'<D:lockinfo xmlns:D="DAV:">{said}</D:lockinfo>'.encode()


def check_xml(case: str, info: LockInfo) -> None:
    must(info.depth is None and info.timeout is None, "lockinfo, XML says neither depth nor timeout", info)
    try:
        again = parse_lockinfo(written_xml(info), "application/xml")
    except (BodyTooLarge, BadLockInfo) as error:  # references are longer than what they stand for
        if not isinstance(error, BodyTooLarge) and "namespaces" not in str(error):
            raise
        return
    same("lockinfo, written and read again: scope", again.scope, info.scope)
    same("lockinfo, written and read again: owner", bare(again.owner_info), bare(info.owner_info))
    if info.owner_info is not None:
        check_owner(case, info)


def check_owner(case: str, info: LockInfo) -> None:
    """The owner is the element that another reader of XML finds, and nobody's words become tags."""
    try:
        root = ET.fromstring(in_bytes(case))
    except (ET.ParseError, ValueError, LookupError):  # an encoding that it reads in another way
        root = None
    owner = None if root is None else root.find("{DAV:}owner")
    if owner is not None:
        same("lockinfo, the owner as another reader has it", bare(info.owner_info), tree(owner))
    text = owner_text(Lock("urn:x:y", "/", details=Details(owner_info=info.owner_info, owner_is_xml=True)))
    words = " ".join("".join(each + " " for each in read_elsewhere(info.owner_info or "").itertext()).split())
    same("lockinfo, the owner's words", (text or "").replace(" ", ""), words.replace(" ", ""))


def bare(xml: str | None) -> Value:
    return None if xml is None else tree(read_elsewhere(xml))


def read_elsewhere(xml: str) -> ET.Element:
    """What one client wrote all others have to read, with whatever they read XML with."""
    try:
        return ET.fromstring(xml)
    except ET.ParseError as error:
        raise Fault("T5, an owner that another reader cannot read", f"{error}: {xml!a}") from error


LANGUAGE = "{http://www.w3.org/XML/1998/namespace}lang"


def tree(element: ET.Element, inherited: bool = True) -> Value:
    """An element as values; at the top without xml:lang, which may have been inherited."""
    attributes = {name: value for name, value in element.attrib.items() if not inherited or name != LANGUAGE}
    children = [(tree(child, False), child.tail or "") for child in element]
    return element.tag, attributes, element.text or "", children


def check_json(case: str, info: LockInfo) -> None:
    must(info.timeout is None or info.timeout >= 0, "lockinfo, a timeout below 0", info)
    members: dict[str, Value] = {"scope": str(info.scope), "owner": info.owner_info}
    members["depth"] = None if info.depth is None else str(info.depth)
    members["timeout"] = "infinite" if info.timeout == math.inf else info.timeout
    again = parse_lockinfo(json.dumps(members).encode(), "application/json")
    same("lockinfo, written and read again", again, info)


def read_proppatch(case: str) -> tuple[Change, ...]:
    return parse_proppatch(in_bytes(case))


def check_proppatch(case: str, changes: tuple[Change, ...]) -> None:
    updates = [f"<D:{kind}><D:prop>{empty(space, local)}</D:prop></D:{kind}>" for kind, space, local in changes]
    written = f'<D:propertyupdate xmlns:D="DAV:">{"".join(updates)}</D:propertyupdate>'.encode()
    if len(changes) < 60:
        same("PROPPATCH, written and read again", parse_proppatch(written), changes)


def empty(space: str, local: str) -> str:
    return f"<q:{local} xmlns:q={quoted(space)}/>" if space else f"<{local}/>"


def quoted(space: str) -> str:
    return quoteattr(space, {"\n": "&#10;", "\r": "&#13;", "\t": "&#9;"})


def read_propfind(case: str) -> Propfind:
    return parse_propfind(in_bytes(case))


def check_propfind(case: str, asked: Propfind) -> None:
    must(asked.kind in ("allprop", "propname", "prop"), "PROPFIND, an unknown kind", asked)
    inside = "".join(empty(*name) for name in sorted(asked.names)) if asked.kind == "prop" else ""
    include = "".join(empty(*name) for name in sorted(asked.include))
    said = f"<D:{asked.kind}>{inside}</D:{asked.kind}><D:include>{include}</D:include>"
    if len(asked.names) + len(asked.include) < 60:
        again = parse_propfind(f'<D:propfind xmlns:D="DAV:">{said}</D:propfind>'.encode())
        same("PROPFIND, written and read again", (again.kind, again.include), (asked.kind, asked.include))
        must(asked.kind != "prop" or again.names == asked.names, "PROPFIND, other names", (again, asked))


BODIES = (
    Parser("lockinfo-xml", lockinfo_xml, read_as("application/xml"), check_xml, XML_CRUMBS, 66_000),
    Parser("lockinfo-json", lockinfo_json, read_as("application/json"), check_json, JSON_CRUMBS, 66_000),
    Parser("proppatch", proppatch, read_proppatch, check_proppatch, XML_CRUMBS, 66_000, 1),
    Parser("propfind", propfind, read_propfind, check_propfind, XML_CRUMBS, 66_000, 1),
)
