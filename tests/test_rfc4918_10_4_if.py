"""RFC 4918 section 10.4: the grammar of the `If` header field, and entity tags in it."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from locklib.core import if_header
from locklib.core.if_header import (
    ConditionList,
    EntityTag,
    IfHeader,
    StateToken,
    Term,
    parse_etag,
    parse_if,
    pristine_if_match,
)
from locklib.errors import BadField

TOKEN = "urn:uuid:181d4fae-7d8c-11d0-a765-00a0c91e6bf2"
OTHER = "urn:uuid:58f202ac-22cf-11d1-b12d-002035b29092"


def token(uri: str, negated: bool = False) -> Term:
    return Term(negated, StateToken(uri))


def etag(opaque: str, weak: bool = False, negated: bool = False) -> Term:
    return Term(negated, EntityTag(opaque, weak))


def untagged(*lists: tuple[Term, ...]) -> IfHeader:
    return IfHeader(tuple(ConditionList(None, terms) for terms in lists))


READ = {
    "one token, the plain case": (f"(<{TOKEN}>)", untagged((token(TOKEN),))),
    "10.4.6 a token and an etag, or another etag": (
        f'(<{TOKEN}> ["I am an ETag"]) (["I am another ETag"])',
        untagged((token(TOKEN), etag("I am an ETag")), (etag("I am another ETag"),)),
    ),
    "10.4.7 Not": (f"(Not <{TOKEN}> <{OTHER}>)", untagged((token(TOKEN, negated=True), token(OTHER)))),
    "10.4.8 the condition that is always true": (
        f"(<{TOKEN}>) (Not <DAV:no-lock>)",
        untagged((token(TOKEN),), (token("DAV:no-lock", negated=True),)),
    ),
    "10.4.9 a tagged list": (
        f'</resource1> (<{TOKEN}> [W/"A weak ETag"]) (["strong ETag"])',
        IfHeader(
            (
                ConditionList("/resource1", (token(TOKEN), etag("A weak ETag", weak=True))),
                ConditionList("/resource1", (etag("strong ETag"),)),
            )
        ),
    ),
    "10.4.10 a tag that is a URI": (
        f"<http://www.example.com/specs/> (<{TOKEN}>)",
        IfHeader((ConditionList("http://www.example.com/specs/", (token(TOKEN),)),)),
    ),
    "10.4.11 a negated etag": (
        '</specs/rfc2518.doc> (Not ["4217"])',
        IfHeader((ConditionList("/specs/rfc2518.doc", (etag("4217", negated=True),)),)),
    ),
    "two tags": (
        f'</a> (<{TOKEN}>) </b?q=1> (<{OTHER}>)(["x"])',
        IfHeader(
            (
                ConditionList("/a", (token(TOKEN),)),
                ConditionList("/b?q=1", (token(OTHER),)),
                ConditionList("/b?q=1", (etag("x"),)),
            )
        ),
    ),
    "white space everywhere": (
        ' \t( Not\t<a:b>\t[ "x"\t] )\t \t( <c:d> ) ',
        untagged((token("a:b", negated=True), etag("x")), (token("c:d"),)),
    ),
    "white space nowhere": (
        '(Not<a:b>[W/"x"])(<c:d>)',
        untagged((token("a:b", True), etag("x", True)), (token("c:d"),)),
    ),
    "white space behind a tag": ("<a:b>\t (<c:d>)", IfHeader((ConditionList("a:b", (token("c:d"),)),))),
    "not in any case": ("(nOT <a:b>)", untagged((token("a:b", negated=True),))),
    "a token needs no uuid": ("(<opaquelocktoken:foo+bar?x=(1)>)", untagged((token("opaquelocktoken:foo+bar?x=(1)"),))),
    "a token may be a scheme alone": ("(<DAV:>)", untagged((token("DAV:"),))),
    "an empty etag": ('([""])', untagged((etag(""),))),
    "brackets, parentheses and latin-1 in an etag": ('(["a)]>(\xe9\\"])', untagged((etag("a)]>(\xe9\\"),))),
    "a tag with characters that ought to be encoded": (
        "</caf\xe9/[x]{y}> (<a:b>)",
        IfHeader((ConditionList("/caf\xe9/[x]{y}", (token("a:b"),)),)),
    ),
    "a long scheme is no plain case": (f"(<{'s' * 200}:x>)", untagged((token("s" * 200 + ":x"),))),
}


@pytest.mark.parametrize(("value", "header"), READ.values(), ids=READ.keys())
def test_reads(value: str, header: IfHeader) -> None:
    assert parse_if(value) == header


REFUSED = {
    "nothing": "",
    "blanks": " \t ",
    "no parentheses": f"<{TOKEN}>",
    "an empty list": "()",
    "a list of blanks": "( )",
    "a second list that is empty": "(<a:b>) ()",
    "an open list": "(<a:b>",
    "an open token": "(<a:b",
    "an open tag": "</a (<a:b>)",
    "an open etag": '(["a)',
    "an open bracket": '(["a")',
    "a closed list too many": "(<a:b>))",
    "a list in a list": "((<a:b>))",
    "a tag without a list": "</a>",
    "two tags before a list": "</a> </b> (<a:b>)",
    "a tag behind its list's end": "</a> (<a:b>) </b>",
    "untagged, then tagged": "(<a:b>) </a> (<a:b>)",
    "a relative tag": "<a> (<a:b>)",
    "a network path as a tag": "<//host/a> (<a:b>)",
    "a tag with a fragment": "</a#b> (<a:b>)",
    "a tag with a blank": "</a b> (<a:b>)",
    "a tag with a line break": "</a\r\n> (<a:b>)",
    "an empty tag": "<> (<a:b>)",
    "a token without a scheme": "(<a>)",
    "a token that is a path": "(</a>)",
    "a token with a digit first": "(<1a:b>)",
    "a token with a fragment": "(<a:b#c>)",
    "a token with a blank inside": "(<a:b c>)",
    "a token with a blank before": "(< a:b>)",
    "a token with a blank behind": "(<a:b >)",
    "a token that is not ASCII": "(<a:\xe9>)",
    "an empty token": "(<>)",
    "a bare token": "(a:b)",
    "not twice": "(Not Not <a:b>)",
    "not alone": "(Not)",
    "not misspelt": "(Nott <a:b>)",
    "not before the list": "Not (<a:b>)",
    "a lower-case weak tag": '([w/"a"])',
    "a weak tag with a gap": '([W/ "a"])',
    "a bare etag": '("a")',
    "an unquoted etag": "([a])",
    "two etags in one bracket": '(["a" "b"])',
    "an etag with a control character": '(["a\x01"])',
    "an etag beyond latin-1": '(["\u65e5"])',
    "a comma between lists": "(<a:b>), (<c:d>)",
    "text behind": "(<a:b>) x",
    "a folded line": "(<a:b>)\r\n (<c:d>)",
    "a line break alone": "(<a:b>)\n(<c:d>)",
    "a form feed": "(<a:b>)\x0c",
    "a NUL": "(<a:b>\x00)",
    "a no-break space": "(<a:b>)\xa0",
}


@pytest.mark.parametrize("value", REFUSED.values(), ids=REFUSED.keys())
def test_refuses(value: str) -> None:
    with pytest.raises(BadField) as refused:
        parse_if(value)
    assert refused.value.field == "If"
    assert refused.value.value == value
    assert refused.value.status == 400
    assert refused.value.expected


def outcome(value: str) -> IfHeader | str:
    try:
        return parse_if(value)
    except BadField as error:
        return str(error)


LISTS = st.sampled_from(
    [*(value for value, _ in READ.values()), *REFUSED.values(), "<a:b> (<c:d>)", '(<c:d>["x"])', '( <c:d> [W/"x"] )\t']
)


@settings(max_examples=300)
@given(st.lists(LISTS, min_size=1, max_size=4).map(" ".join))
def test_the_common_list_read_at_once_is_what_its_productions_read(value: str) -> None:
    at_once = outcome(value)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(if_header, "_common_list", lambda: lambda value, pos: None)
        assert outcome(value) == at_once


def test_the_error_says_where() -> None:
    with pytest.raises(BadField, match=r"a condition.* at character 8$"):
        parse_if("(<a:b> x)")


def test_tokens_are_submitted_wherever_they_stand() -> None:
    header = parse_if('</a> (<t:1> Not <t:2>) (<t:1>) <http://other/b> (Not <t:3> ["x"]) (<t:2>)')
    assert header.tokens == ("t:1", "t:2", "t:3")
    assert header.tokens is header.tokens


def test_tags() -> None:
    tagged = parse_if("</b> (<t:1>) </a> (<t:2>) </b> (<t:3>)")
    assert (tagged.has_tags, tagged.tagged_resources) == (True, ("/b", "/a"))
    plain = parse_if("(<t:1>)")
    assert (plain.has_tags, plain.tagged_resources) == (False, ())


def test_the_plain_case_is_the_same_value_as_any_other() -> None:
    plain, spaced = parse_if("(<t:1>)"), parse_if("( <t:1> )")
    assert plain == spaced
    assert hash(plain) == hash(spaced)
    assert repr(plain) == repr(spaced) != repr(parse_if("(<t:2>)"))
    assert plain.tokens == spaced.tokens == ("t:1",)
    assert plain != parse_if("(<t:2>)")
    assert plain != "(<t:1>)"


def test_a_header_cannot_be_changed() -> None:
    with pytest.raises(AttributeError):
        parse_if("(<t:1>)").lists = ()  # type: ignore[misc]


COMPARED = {
    "strong, same": ('"a"', '"a"', True),
    "strong, other": ('"a"', '"b"', False),
    "opaque is compared with its case": ('"a"', '"A"', False),
    "weak against strong": ('W/"a"', '"a"', False),
    "strong against weak": ('"a"', 'W/"a"', False),
    "identical weak tags": ('W/"a"', 'W/"a"', True),
    "other weak tags": ('W/"a"', 'W/"b"', False),
}


@pytest.mark.parametrize(("ours", "current", "same"), COMPARED.values(), ids=COMPARED.keys())
def test_entity_tags_compared(ours: str, current: str, same: bool) -> None:
    tag = parse_etag(ours)
    assert tag is not None
    assert tag.matches(parse_etag(current)) is same


def test_no_entity_tag_matches_where_there_is_none() -> None:
    assert not EntityTag("a").matches(None)


@pytest.mark.parametrize(
    ("value", "tag"),
    [
        ('"abc"', EntityTag("abc")),
        ('W/"abc"', EntityTag("abc", weak=True)),
        ('\t""  ', EntityTag("")),
        ("abc", None),
        ("", None),
        ('"a', None),
        ('w/"a"', None),
        ('"a" "b"', None),
        ('"a\r\n"', None),
    ],
)
def test_an_applications_etag(value: str, tag: EntityTag | None) -> None:
    assert parse_etag(value) == tag


def test_an_entity_tag_prints_as_it_was_written() -> None:
    assert [str(parse_etag(text)) for text in ('"a b"', 'W/""')] == ['"a b"', 'W/""']


IF_MATCH = {
    "one tag": ('(["a"])', '"a"'),
    "any of two": ('(["a"]) (["b c"])', '"a", "b c"'),
    "both of two": ('(["a"] ["b"])', None),
    "negated": ('(Not ["a"])', None),
    "weak": ('([W/"a"])', None),
    "one of them weak": ('(["a"]) ([W/"b"])', None),
    "tagged": ('</x> (["a"])', None),
    "with a token": ('(["a"] <t:1>)', None),
    "or a token": ('(["a"]) (<t:1>)', None),
    "a token alone": ("(<t:1>)", None),
}


@pytest.mark.parametrize(("value", "if_match"), IF_MATCH.values(), ids=IF_MATCH.keys())
def test_what_can_be_said_as_if_match(value: str, if_match: str | None) -> None:
    assert pristine_if_match(parse_if(value)) == if_match


URIS = st.from_regex(r"[a-zA-Z][a-zA-Z0-9+.\-]{0,8}:[!$-;=?-Z\[\]_a-z~]{0,20}", fullmatch=True)
TAGS = st.from_regex(r"/([a-z0-9%][a-z0-9%/]{0,10})?", fullmatch=True)
OPAQUE = st.text(
    st.characters(codec="latin-1", categories=["L", "N", "P", "S", "Zs"], exclude_characters='"'), max_size=9
)
TERMS = st.builds(Term, st.booleans(), st.builds(StateToken, URIS) | st.builds(EntityTag, OPAQUE, st.booleans()))
GROUPS = st.lists(TERMS, min_size=1, max_size=4).map(tuple)
GAPS = st.text(" \t", max_size=2)


@st.composite
def headers(draw: st.DrawFn) -> tuple[str, IfHeader]:
    """A header field, and the value that it was written from."""
    tags = draw(st.lists(TAGS, min_size=1, max_size=3) | st.just([None]))
    lists: list[ConditionList] = []
    text = draw(GAPS)
    for tag in tags:
        text += f"<{tag}>{draw(GAPS)}" if tag is not None else ""
        for terms in draw(st.lists(GROUPS, min_size=1, max_size=3)):
            lists.append(ConditionList(tag, terms))
            text += "(" + "".join(draw(GAPS) + _written(term, draw) for term in terms) + draw(GAPS) + ")" + draw(GAPS)
    return text, IfHeader(tuple(lists))


def _written(term: Term, draw: st.DrawFn) -> str:
    what = f"<{term.what.uri}>" if isinstance(term.what, StateToken) else f"[{draw(GAPS)}{term.what}{draw(GAPS)}]"
    return draw(st.sampled_from(["Not", "not", "NOT"])) + draw(GAPS) + what if term.negated else what


@settings(deadline=None, max_examples=150)
@given(headers())
def test_whatever_the_grammar_writes_is_read_back(pair: tuple[str, IfHeader]) -> None:
    text, header = pair
    assert parse_if(text) == header


@settings(deadline=None)
@given(st.text(st.sampled_from(list('()<>[]"W/Not \t:ab.,\\\r\n\x00\xe9')), max_size=60))
def test_whatever_comes_is_read_or_refused(text: str) -> None:
    try:
        header = parse_if(text)
    except BadField:
        return
    assert header.lists
    assert all(each.terms for each in header.lists)
