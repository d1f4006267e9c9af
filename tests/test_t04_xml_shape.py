"""T4: a body of hostile shape is a 400 (or the 413, 415, 422 that it deserves) and never another exception."""

from __future__ import annotations

import codecs
import time
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from locklib.core.lockinfo import owner_text, parse_lockinfo, parse_propfind, parse_proppatch
from locklib.core.model import Details, Lock
from locklib.errors import BadLockInfo, BodyTooLarge, UnsupportedBody, UnusableLockInfo

SCOPE = "<D:lockscope><D:exclusive/></D:lockscope><D:locktype><D:write/></D:locktype>"


def lockinfo(inner: str = "", declaration: str = "", attributes: str = "") -> str:
    return f'{declaration}<D:lockinfo xmlns:D="DAV:"{attributes}>{SCOPE}{inner}</D:lockinfo>'


def declared(encoding: str) -> str:
    return lockinfo("<D:owner>é</D:owner>", f'<?xml version="1.0" encoding="{encoding}"?>')


HOSTILE = {
    "10^4 nested": lockinfo("<a>" * 6_000).encode(),
    "33 deep": lockinfo("<a>" * 32 + "</a>" * 32).encode(),
    "5 000 attributes": lockinfo("<a " + " ".join(f"a{n}=''" for n in range(5_000)) + "/>").encode(),
    "65 attributes": lockinfo("<a " + " ".join(f"a{n}=''" for n in range(65)) + "/>").encode(),
    "3 000 xmlns": lockinfo("<a " + " ".join(f"xmlns:a{n}='u'" for n in range(3_000)) + "/>").encode(),
    "65 xmlns on 65 elements": lockinfo("<a xmlns:b='u'/>" * 65).encode(),
    "12 000 elements": lockinfo("<a/>" * 12_000).encode(),
    "the same attribute twice": lockinfo("<a b='' b=''/>").encode(),
    "the same attribute by two prefixes": lockinfo("<a xmlns:p='u' xmlns:q='u' p:b='' q:b=''/>").encode(),
    "unbound prefix": lockinfo("<p:a/>").encode(),
    "separator forged into a namespace": lockinfo("<a xmlns:p='DAV:&#1;owner'/>").encode(),
    "utf-7": codecs.encode(lockinfo("<D:owner>é</D:owner>", '<?xml version="1.0" encoding="utf-7"?>'), "utf-7"),
    "latin-1": declared("iso-8859-1").encode("latin-1"),
    "utf-16 declared, utf-8 sent": declared("utf-16").encode(),
    "utf-8 declared, utf-16 sent": declared("utf-8").encode("utf-16"),
    "ascii declared, utf-8 sent": declared("us-ascii").encode(),
    "unknown encoding": declared("x-user-defined").encode(),
    "utf-32": lockinfo().encode("utf-32"),
    "bad utf-8": lockinfo().encode() + b"\xff",
    "overlong utf-8": lockinfo("<D:owner>X</D:owner>").encode().replace(b"X", b"\xc0\xaf"),
    "lone surrogate in utf-8": lockinfo("<D:owner>X</D:owner>").encode().replace(b"X", b"\xed\xa0\x80"),
    "lone surrogate in utf-16": lockinfo("<D:owner>\ud800</D:owner>").encode("utf-16", "surrogatepass"),
    "half a character of utf-16": lockinfo().encode("utf-16") + b"\x00",
    "surrogate by reference": lockinfo("<D:owner>&#xD800;</D:owner>").encode(),
    "NUL": lockinfo("<D:owner>\x00</D:owner>").encode(),
    "NUL by reference": lockinfo("<D:owner>&#0;</D:owner>").encode(),
    "NUL in utf-16": lockinfo("<D:owner>\x00</D:owner>").encode("utf-16"),
    "U+FFFE": lockinfo("<D:owner>\ufffe</D:owner>").encode(),
    "unclosed": lockinfo()[:-3].encode(),
    "two roots": (lockinfo() + lockinfo()).encode(),
    "nothing": b"",
    "space": b" \n",
    "text": b"lock it",
    "only a declaration": b'<?xml version="1.0"?>',
}


@pytest.mark.parametrize("body", HOSTILE.values(), ids=HOSTILE.keys())
def test_is_a_400(body):
    with pytest.raises(BadLockInfo) as caught:
        parse_lockinfo(body, "application/xml")
    assert caught.value.status == 400
    assert len(str(caught.value)) < 400


@pytest.mark.parametrize("charset", ["utf-16", "iso-8859-1", "us-ascii", ""])
def test_a_charset_that_is_not_the_bodys_is_a_400(charset):
    with pytest.raises(BadLockInfo, match="Content-Type"):
        parse_lockinfo(lockinfo("<D:owner>é</D:owner>").encode(), f"text/xml; charset={charset}")


ENCODED = {
    "utf-8": lockinfo("<D:owner>日本</D:owner>").encode(),
    "utf-8 with mark": lockinfo("<D:owner>日本</D:owner>").encode("utf-8-sig"),
    "utf-8 declared": lockinfo("<D:owner>日本</D:owner>", '<?xml version="1.0" encoding="UTF-8"?>').encode(),
    "declared without encoding": lockinfo("<D:owner>日本</D:owner>", '<?xml version="1.0"?>').encode(),
    "utf-16 with mark": lockinfo("<D:owner>日本</D:owner>").encode("utf-16"),
    "utf-16 declared": lockinfo("<D:owner>日本</D:owner>", '<?xml version="1.0" encoding="UTF-16"?>').encode("utf-16"),
    "utf-16 big end first": codecs.BOM_UTF16_BE + lockinfo("<D:owner>日本</D:owner>").encode("utf-16-be"),
    "utf-16le without mark": lockinfo("<D:owner>日本</D:owner>").encode("utf-16-le"),
    "utf-16be without mark": lockinfo("<D:owner>日本</D:owner>").encode("utf-16-be"),
}


@pytest.mark.parametrize("content_type", ["text/xml", None])
@pytest.mark.parametrize("body", ENCODED.values(), ids=ENCODED.keys())
def test_utf_8_and_utf_16_are_read(body, content_type):
    info = parse_lockinfo(body, content_type)
    assert (
        owner_text(Lock("t", "/", details=Details(owner_info=info.owner_info, owner_is_xml=info.owner_is_xml)))
        == "日本"
    )


def test_ascii_is_utf_8():
    declaration = '<?xml version="1.0" encoding="us-ascii"?>'
    assert parse_lockinfo(lockinfo("<D:owner>a</D:owner>", declaration).encode(), 'text/xml; a=b; charset="US-ASCII"')


def test_at_the_limits_it_is_read():
    attributes = " ".join(f"a{n}=''" for n in range(64))
    namespaces = " ".join(f"xmlns:n{n}='u{n}'" for n in range(63))
    body = lockinfo(f"<D:owner {attributes}>{'<a>' * 30}{'</a>' * 30}</D:owner><b {namespaces}/>")
    assert parse_lockinfo(body.encode(), "text/xml").owner_is_xml


@pytest.mark.parametrize("content_type", ["text/xml", "application/json", "image/png", None])
def test_over_64_kib_is_a_413_before_anything_is_read(content_type):
    with pytest.raises(BodyTooLarge):
        parse_lockinfo(b"<" * (64 * 1024 + 1), content_type)
    with pytest.raises(BodyTooLarge):
        parse_propfind(b"<" * 101, limit=100)
    with pytest.raises(BodyTooLarge):
        parse_proppatch(b"<" * 101, limit=100)


def test_what_lies_deeper_than_needed_is_checked_and_not_kept():
    inner = "<v>text" + "<w/>" * 5_000 + "</v>"
    body = f"<propertyupdate xmlns='DAV:'><set><prop xmlns:p='u'><p:a>{inner}</p:a></prop></set></propertyupdate>"
    assert parse_proppatch(body.encode()) == (("set", "u", "a"),)
    with pytest.raises(BadLockInfo, match="mismatched"):
        parse_proppatch(body.replace("</v>", "</w>").encode())


def test_the_time_grows_with_the_size_and_no_faster():
    """Eight times the attributes or elements cost about eight times; a squared cost would be sixty-four times."""

    def seconds(body: bytes) -> float:
        times = []
        for _ in range(15):
            start = time.perf_counter()
            with suppress(BadLockInfo):
                parse_lockinfo(body, "text/xml")
            times.append(time.perf_counter() - start)
        return min(times)

    for piece in ("<a/>", "<D:owner/>", "<a>b</a>", "&lt;"):
        small, large = (lockinfo(f"<b>{piece * count}</b>").encode() for count in (450, 3_600))
        assert seconds(large) < 40 * seconds(small)
    small, large = (lockinfo("<a " + " ".join(f"a{n}=''" for n in range(n)) + "/>").encode() for n in (700, 5_600))
    assert seconds(large) < 40 * seconds(small)


REFUSED = (BadLockInfo, BodyTooLarge, UnsupportedBody, UnusableLockInfo)  # 400, 413, 415, 422
ANY_TYPE = st.sampled_from([None, "", "text/xml", "application/json", "text/plain", "a/b+xml; charset=utf-16", ";"])
PIECES = [
    "<D:lockinfo xmlns:D='DAV:'>", "</D:lockinfo>", "<D:owner>", "</D:owner>", SCOPE, "<!DOCTYPE", "<?xml", "?>", "]]>",
    "<![CDATA[", "&#0;", "&amp;", "<!--", "-->", "\x00", "\ud800", "<", ">", "xmlns=''", "{", "}", '"owner":', "1e999",
    '"timeout":', "[", "NaN", '"', ",", "\\ud800", "9" * 5_000,
]  # fmt: skip


@given(st.lists(st.sampled_from(PIECES) | st.text(max_size=3), max_size=12).map("".join), ANY_TYPE)
def test_no_text_raises_anything_else(text, content_type):
    body = text.encode("utf-8", "surrogatepass")
    for parse in (lambda body: parse_lockinfo(body, content_type), parse_propfind, parse_proppatch):
        with suppress(*REFUSED):
            parse(body)


@given(st.binary(max_size=200), ANY_TYPE)
def test_no_bytes_raise_anything_else(body, content_type):
    with suppress(*REFUSED):
        parse_lockinfo(body, content_type)


NESTED = {
    "arrays": b"[" * 60_000,
    "objects": b'{"a":' * 12_000,
    "arrays in the owner": b'{"owner":' + b"[" * 900 + b"]" * 900 + b"}",
    "arrays in the scope": b'{"scope":' + b"[" * 30_000 + b"]" * 30_000 + b"}",
    "arrays alone": b"[" * 900 + b"]" * 900,
}


@pytest.mark.parametrize("body", NESTED.values(), ids=NESTED.keys())
def test_nested_json_is_a_400(body):
    with pytest.raises(BadLockInfo):
        parse_lockinfo(body, "application/json")
