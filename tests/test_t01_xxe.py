"""T1: no entity of a request body reaches a file or the network (RFC 4918 section 20.6)."""

from __future__ import annotations

import socket

import pytest

from locklib.core.lockinfo import parse_lockinfo, parse_propfind, parse_proppatch
from locklib.errors import BadLockInfo

LOCKINFO = (
    '<D:lockinfo xmlns:D="DAV:"><D:lockscope><D:exclusive/></D:lockscope><D:locktype><D:write/></D:locktype>'
    "<D:owner>{owner}</D:owner></D:lockinfo>"
)

DOCTYPES = {
    "file": '<!DOCTYPE l [<!ENTITY e SYSTEM "file:///etc/hostname">]>',
    "http": '<!DOCTYPE l [<!ENTITY e SYSTEM "http://127.0.0.1:{port}/e">]>',
    "parameter entity": '<!DOCTYPE l [<!ENTITY % p SYSTEM "http://127.0.0.1:{port}/p"> %p; ]>',
    "external DTD": '<!DOCTYPE l SYSTEM "http://127.0.0.1:{port}/l.dtd">',
    "public DTD": '<!DOCTYPE l PUBLIC "-//l//l" "http://127.0.0.1:{port}/l.dtd">',
    "bare": "<!DOCTYPE l>",
    "after a comment": '<!-- x --><!DOCTYPE l [<!ENTITY e SYSTEM "file:///etc/hostname">]>',
}


@pytest.fixture
def listener():
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(0.05)
        yield server


@pytest.mark.parametrize("parse", [lambda body: parse_lockinfo(body, "text/xml"), parse_propfind, parse_proppatch])
@pytest.mark.parametrize("doctype", DOCTYPES.values(), ids=DOCTYPES.keys())
def test_a_doctype_is_refused_and_nothing_is_fetched(doctype, parse, listener):
    port = listener.getsockname()[1]
    body = (doctype.replace("{port}", str(port)) + LOCKINFO.format(owner="&e;")).encode()
    with pytest.raises(BadLockInfo, match="DOCTYPE") as caught:
        parse(body)
    assert caught.value.status == 400
    with pytest.raises(TimeoutError):
        listener.accept()


def test_an_entity_that_nobody_declared_is_refused():
    with pytest.raises(BadLockInfo, match="undefined entity"):
        parse_lockinfo(LOCKINFO.format(owner="&e;").encode(), "text/xml")


@pytest.mark.parametrize("owner", ["<![CDATA[<!DOCTYPE l>]]>", "<!-- <!DOCTYPE l> -->", "&lt;!DOCTYPE l>"])
def test_the_word_doctype_in_the_owner_is_only_a_word(owner):
    assert parse_lockinfo(LOCKINFO.format(owner=owner).encode(), "text/xml").owner_is_xml
