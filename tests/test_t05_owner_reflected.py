"""T5: whatever an owner holds, the answers stay well-formed and text stays text (RFC 4918 sections 4.3, 14.17)."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from html.parser import HTMLParser
from xml.etree import ElementTree as ET

import pytest
from hypothesis import given
from hypothesis import strategies as st

from locklib.core.discovery import escape, prop_lockdiscovery_document
from locklib.core.lockinfo import owner_text, parse_lockinfo
from locklib.core.model import Condition, Details, Held, Lock, Refusal
from locklib.core.page import PAGE_POLICY, STYLE
from locklib.core.refusals import Disclosure, Rendering, render_granted, render_refusal

OPEN = Disclosure(token=True, owner=True, reason=True, contact=True)
LANG = "{http://www.w3.org/XML/1998/namespace}lang"

HOSTILE = {
    "script": "<script>alert(1)</script>",
    "end of CDATA": "]]>",
    "image": '"><img src=x onerror=alert(1)>',
    "end of owner": "</D:owner>",
    "entity": "&lt;script&gt;&#38;",
    "controls": "a\x01\x1f\x7f\ufffe\uffffb",
    "line breaks": "a\r\nb\tc",
    "right to left": "\u202egpj.exe",
    "日本": "日本",
    "astral": "\U0001f512",
    "lone surrogate": "\udc80",
    "8 kB": "x" * 8192,
}


def lockinfo(owner: str, attributes: str = 'xmlns:D="DAV:"') -> bytes:
    return (
        f"<D:lockinfo {attributes}><D:lockscope><D:exclusive/></D:lockscope>"
        f"<D:locktype><D:write/></D:locktype>{owner}</D:lockinfo>"
    ).encode()


def held(**details: object) -> Held:
    creator = details.pop("creator", None)
    return Held(Lock("urn:uuid:1", "/a", creator=creator, details=Details(**details)), 60.0)


def refusal(one: Held) -> Refusal:
    return Refusal(423, "locked", "Locked", "/a is locked", "/a", Condition.LOCK_TOKEN_SUBMITTED, ("/a",), one, (one,))


def tree(element: ET.Element) -> object:
    """The infoset of an element, without its tail and with no text where it is empty."""
    children = [(tree(child), child.tail or "") for child in element]
    return element.tag, sorted(element.attrib.items()), element.text or "", children


def sent_owner(body: bytes) -> object:
    """The owner as it was sent, xml:lang inherited from around it."""
    root = ET.fromstring(body)
    owner = root.find("{DAV:}owner")
    if LANG in root.attrib:
        owner.attrib.setdefault(LANG, root.attrib[LANG])
    return tree(owner)


def answered_owner(document: bytes) -> object:
    return tree(ET.fromstring(document).find(".//{DAV:}activelock/{DAV:}owner"))


# --- DAV:owner comes back as it went in ---

OWNERS = {
    "text": ('xmlns:D="DAV:"', "<D:owner>alice@example.com</D:owner>"),
    "empty": ('xmlns:D="DAV:"', "<D:owner/>"),
    "href": ('xmlns:D="DAV:"', "<D:owner>\n  <D:href>http://example.org/~ejw/contact.html</D:href>\n</D:owner>"),
    "mixed": ('xmlns:D="DAV:"', "<D:owner> a <b>c</b> d <e/> </D:owner>"),
    "attributes": ('xmlns:D="DAV:" xmlns:p="u"', "<D:owner a='1' p:b='&lt;&quot;&apos;&#9;&#10;&#13;'>x</D:owner>"),
    "own language": ('xmlns:D="DAV:"', "<D:owner xml:lang='de'>x</D:owner>"),
    "inherited language": ('xmlns:D="DAV:" xml:lang="fr"', "<D:owner>x</D:owner>"),
    "language against language": ('xmlns:D="DAV:" xml:lang="fr"', "<D:owner xml:lang=''>x</D:owner>"),
    "another attribute of xml": ('xmlns:D="DAV:" xml:lang="fr"', "<D:owner xml:space='preserve'> </D:owner>"),
    "namespace from around": ('xmlns:D="DAV:" xmlns:p="u &amp; &quot;v"', "<D:owner><p:a p:b=''/></D:owner>"),
    "same prefix, foreign": ('xmlns:D="DAV:"', "<D:owner><D:a xmlns:D='urn:x'><D:b/></D:a><D:c/></D:owner>"),
    "prefix D of another namespace": (
        'xmlns:D="DAV:" xmlns:V="DAV:"', "<V:owner xmlns:D='urn:x'><D:a/></V:owner>"
    ),
    "default namespace": ('xmlns:D="DAV:" xmlns="DAV:"', "<owner><href>x</href><a xmlns=''><b/></a></owner>"),
    "default of another": ('xmlns:D="DAV:" xmlns="urn:x"', "<D:owner><a/><b xmlns=''/></D:owner>"),
    "xml declared": ('xmlns:D="DAV:"', "<D:owner xmlns:xml='http://www.w3.org/XML/1998/namespace' xml:lang='a'/>"),
    "CDATA": ('xmlns:D="DAV:"', "<D:owner><![CDATA[</D:owner><script>&amp;]]>]]&gt;</D:owner>"),
    "script": ('xmlns:D="DAV:"', "<D:owner><script>alert(1)</script></D:owner>"),
    "carriage return": ('xmlns:D="DAV:"', "<D:owner>a&#13;&#10;b\r\nc</D:owner>"),
    "astral": ('xmlns:D="DAV:"', "<D:owner>\U0001f512 日本</D:owner>"),
}  # fmt: skip


@pytest.mark.parametrize(("around", "owner"), OWNERS.values(), ids=OWNERS.keys())
def test_the_owner_element_comes_back_as_it_went_in(around, owner):
    body = lockinfo(owner, around)
    info = parse_lockinfo(body, "text/xml")
    assert info.owner_is_xml
    assert tree(ET.fromstring(info.owner_info)) == sent_owner(body)
    one = held(owner_info=info.owner_info, owner_is_xml=True)
    assert answered_owner(prop_lockdiscovery_document([one])) == sent_owner(body)


def test_prefixes_stay_for_names_in_content():
    """A QName in text means something only while its prefix is declared (RFC 4918 section 4.3)."""
    info = parse_lockinfo(lockinfo("<D:owner>p:a</D:owner>", 'xmlns:D="DAV:" xmlns:p="urn:p"'), "text/xml")
    assert info.owner_info == '<D:owner xmlns:D="DAV:" xmlns:p="urn:p">p:a</D:owner>'


def test_comments_and_instructions_are_left_out():
    info = parse_lockinfo(lockinfo("<D:owner>a<!-- b --><?c d?>e</D:owner>"), "text/xml")
    assert info.owner_info == '<D:owner xmlns:D="DAV:">ae</D:owner>'


SPACES = st.sampled_from(["", "urn:x", "DAV:", 'u"<&>', "日本"])
PREFIXES = st.sampled_from(["", "D", "p", "q"])
TEXT = st.text(
    st.characters(exclude_categories=["Cs"], exclude_characters="\x00\ufffe\uffff").filter(
        lambda one: one in "\t\n\r" or ord(one) >= 32
    ),
    max_size=8,
)


@st.composite
def elements(draw: st.DrawFn, depth: int = 3) -> str:
    prefix, space = draw(PREFIXES), draw(SPACES)
    if prefix and not space:
        space = "urn:y"  # a prefix cannot be undeclared
    tag = f"{prefix}:a" if prefix else "a"
    declaration = f'xmlns{":" if prefix else ""}{prefix}="{quoted(space)}"'
    attributes = f'b="{quoted(draw(TEXT))}"' + (f' {prefix}:c="{quoted(draw(TEXT))}"' if prefix else "")
    inner = quoted(draw(TEXT))
    if depth:
        inner += "".join(child + quoted(draw(TEXT)) for child in draw(st.lists(elements(depth - 1), max_size=2)))
    return f"<{tag} {declaration} {attributes}>{inner}</{tag}>"


def quoted(text: str) -> str:
    return "".join(f"&#{ord(one)};" if one in '<>&"\r\n\t' else one for one in text)


@given(
    st.lists(elements(), max_size=3), TEXT, st.sampled_from(['xmlns:D="DAV:"', 'xmlns:D="DAV:" xmlns="u" xmlns:p="v"'])
)
def test_any_owner_element_comes_back_as_it_went_in(children, text, around):
    body = lockinfo(f"<D:owner>{quoted(text)}{''.join(children)}</D:owner>", around)
    info = parse_lockinfo(body, None)
    one = held(owner_info=info.owner_info, owner_is_xml=True)
    assert answered_owner(prop_lockdiscovery_document([one])) == sent_owner(body)
    words = " ".join("".join(ET.fromstring(info.owner_info).itertext()).split())
    assert (owner_text(one.lock) or "").replace(" ", "") == words.replace(" ", "")


# --- plain words in every rendering ---


class Page(HTMLParser):
    """What a browser would see: the tags, and the text."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, list[tuple[str, str | None]]]] = []
        self.text = ""
        self.feed(page)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, attrs))

    def handle_data(self, data):
        self.text += data


def visible(words: str) -> str:
    """`words` as XML and HTML can show them."""
    return re.sub("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]", "\ufffd", words)


HARMLESS = Page(
    render_refusal(refusal(held(owner_info="a", reason="b", contact="c")), Rendering.HTML, OPEN).body.decode()
)


@pytest.mark.parametrize("words", HOSTILE.values(), ids=HOSTILE.keys())
def test_in_xml_they_are_the_text_of_owner(words):
    one = held(owner_info=words)
    assert answered_owner(prop_lockdiscovery_document([one])) == ("{DAV:}owner", [], visible(words), [])
    granted = render_granted(one, Rendering.XML, status=200, refreshed=False, discovery=(one,))
    assert answered_owner(granted.body) == ("{DAV:}owner", [], visible(words), [])


@pytest.mark.parametrize("rendering", [Rendering.JSON, Rendering.PROBLEM])
@pytest.mark.parametrize("words", HOSTILE.values(), ids=HOSTILE.keys())
def test_in_json_they_are_a_string_and_no_tag_opens(words, rendering):
    rendered = render_refusal(refusal(held(creator=words, reason=words, contact=words)), rendering, OPEN)
    lock = json.loads(rendered.body)["lock"]
    assert (lock["owner"], lock["reason"], lock["contact"]) == (words, words, words)
    assert b"<" not in rendered.body
    assert rendered.body.isascii()


@given(st.sampled_from(list(HOSTILE.values())) | st.text(max_size=30).filter(str.strip))
def test_on_the_page_they_are_text(words):
    rendered = render_refusal(refusal(held(creator=words, reason=words, contact=words)), Rendering.HTML, OPEN)
    page = Page(rendered.body.decode())
    assert page.tags == HARMLESS.tags
    shown = visible(words)
    assert shown in page.text


def test_the_page_loads_and_runs_nothing():
    style = base64.b64encode(hashlib.sha256(STYLE.encode()).digest()).decode()
    assert f"style-src 'sha256-{style}'" in PAGE_POLICY
    assert "default-src 'none'" in PAGE_POLICY
    assert "unsafe" not in PAGE_POLICY
    rendered = render_refusal(refusal(held()), Rendering.HTML, OPEN)
    assert ("Content-Security-Policy", PAGE_POLICY) in rendered.headers
    assert {"script", "link", "img", "iframe", "form"}.isdisjoint(tag for tag, _ in HARMLESS.tags)
    assert not {name for _, attributes in HARMLESS.tags for name, _ in attributes} & {"style", "onclick", "src", "href"}


@pytest.mark.parametrize("rendering", Rendering)
@pytest.mark.parametrize("words", HOSTILE.values(), ids=HOSTILE.keys())
def test_messages_and_paths_are_text_too(words, rendering):
    asked = Refusal(423, "locked", "Locked", words, "/" + words, Condition.LOCK_TOKEN_SUBMITTED, ("/" + words,))
    rendered = render_refusal(asked, rendering, OPEN)
    assert ("X-Content-Type-Options", "nosniff") in rendered.headers
    if rendering is Rendering.XML:
        error = ET.fromstring(rendered.body)
        assert [child.tag for child in error] == ["{DAV:}lock-token-submitted", "{urn:problem:locklib}message"]
        assert error[1].text == visible(words)
        assert error[0][0].text.isascii()
        assert len(error[0]) == 1
    elif rendering is Rendering.HTML:
        assert visible(words) in Page(rendered.body.decode()).text
        assert "<script" not in rendered.body.decode()
    else:
        assert json.loads(rendered.body)["message"] == words


@given(st.text())
def test_escaped_text_reads_back_as_it_was(text):
    assert ET.fromstring(f"<a>{escape(text)}</a>").text == (visible(text) or None)
    assert ET.fromstring(f'<a b="{escape(text)}"/>').attrib["b"] == visible(text)


# --- the words in words ---

WORDS = {
    "none": (None, False, None),
    "plain": (" alice \n of  IT ", False, "alice of IT"),
    "blank": (" \n", False, None),
    "element": ('<D:owner xmlns:D="DAV:">\n <D:href>mailto:a&amp;lt;b</D:href>\n</D:owner>', True, "mailto:a&lt;b"),
    "empty element": ('<D:owner xmlns:D="DAV:"></D:owner>', True, None),
    "elements are apart": ('<D:owner xmlns:D="DAV:"><a>b</a><c>d</c></D:owner>', True, "b d"),
    "references": ("<o>&lt;b&gt;&quot;&#13;&#9;&#10;&amp;</o>", True, '<b>" &'),
    "a bad record": ("<<<&; <", True, "<<<&; <"),
}


@pytest.mark.parametrize(("words", "is_xml", "text"), WORDS.values(), ids=WORDS.keys())
def test_owner_text(words, is_xml, text):
    assert owner_text(Lock("t", "/", details=Details(owner_info=words, owner_is_xml=is_xml))) == text
