"""The demo folder is a correct WebDAV server of class 1 (RFC 4918 section 18.1), and knows nothing of locks."""

from __future__ import annotations

import ast
import asyncio
import os
import re
import shutil
import socket
import sqlite3
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote, unquote
from xml.etree import ElementTree as ET

import pytest
from starlette.applications import Starlette
from starlette.routing import Mount

from locklib.demo.folder import Folder
from locklib.demo.problem import Problem
from locklib.demo.tree import HIDDEN, Tree, address_of, open_served

SET = "<s:set><s:prop>{}</s:prop></s:set>"
SOURCES = Path(__file__).parents[1] / "src" / "locklib" / "demo"


# --- a client that sends what it is told to, dot segments and all ---


@dataclass(frozen=True)
class Reply:
    status: int
    fields: dict[str, str]
    body: bytes

    @property
    def multistatus(self) -> dict[str, dict[int, dict[str, ET.Element]]]:
        """href -> status -> property name -> element."""
        told: dict[str, dict[int, dict[str, ET.Element]]] = {}
        for response in ET.fromstring(self.body).findall("{DAV:}response"):
            stats = told.setdefault(response.findtext("{DAV:}href", ""), {})
            for stat in response.findall("{DAV:}propstat"):
                status = int(stat.findtext("{DAV:}status", "").split()[1])
                stats[status] = {element.tag: element for element in stat.find("{DAV:}prop")}
        return told


async def exchange(app, method, target, fields=None, body=b"", *, pieces=None, cut=False, **scope) -> Reply | None:
    """Send one request. `pieces` are body chunks; with `cut` the client hangs up after them."""
    raw = target.encode("latin-1")
    waiting = list([body] if pieces is None else pieces)
    sent = []

    async def receive():
        if waiting:
            chunk = waiting.pop(0)
            return {"type": "http.request", "body": chunk, "more_body": bool(waiting) or cut}
        return {"type": "http.disconnect"}

    async def send(message):
        sent.append(message)

    headers = [(b"host", b"folder.example")]
    headers += [(name.lower().encode(), value.encode("latin-1")) for name, value in (fields or {}).items()]
    path = unquote(target, errors="replace")
    whole = {"type": "http", "method": method, "path": path, "raw_path": raw, "root_path": "", "headers": headers}
    await app({**whole, "query_string": b"", **scope}, receive, send)
    if not sent:
        return None
    assert [message["type"] for message in sent] == ["http.response.start"] + ["http.response.body"] * (len(sent) - 1)
    assert not sent[-1].get("more_body", False)
    told = {name.decode(): value.decode("latin-1") for name, value in sent[0]["headers"]}
    return Reply(sent[0]["status"], told, b"".join(message["body"] for message in sent[1:]))


class Client:
    def __init__(self, root: Path, **settings) -> None:
        self.root = root
        self.app = Folder(root, **settings)

    def __call__(self, method, target, fields=None, body=b"", **more) -> Reply:
        return asyncio.run(exchange(self.app, method, target, fields, body, **more))

    def names(self) -> set[str]:
        """Every served path on disk, relative to the root."""
        found = {path.relative_to(self.root).as_posix() for path in self.root.rglob("*")}
        return {name for name in found if not name.startswith(HIDDEN)}

    def leftovers(self) -> list[Path]:
        return list((self.root / HIDDEN / "work").iterdir())

    def props(self, target, *names, depth="0"):
        wanted = "".join(f'<p:{name} xmlns:p="urn:p"/>' for name in names)
        body = f'<propfind xmlns="DAV:"><prop>{wanted}</prop></propfind>' if names else ""
        return self("PROPFIND", target, {"Depth": depth}, body.encode()).multistatus

    def colour(self, target) -> str | None:
        ((_, stats),) = self.props(target, "colour").items()
        return stats[200]["{urn:p}colour"].text if 200 in stats else None

    def paint(self, target, colour) -> Reply:
        return self("PROPPATCH", target, body=update(SET.format(f'<colour xmlns="urn:p">{colour}</colour>')))


def update(steps: str) -> bytes:
    return f'<s:propertyupdate xmlns:s="DAV:">{steps}</s:propertyupdate>'.encode()


def content(element: ET.Element) -> tuple:
    """An element as a value that can be compared, whatever its prefixes."""
    inner = [(content(child), child.tail) for child in element]
    return element.tag, element.attrib, element.text, inner


@pytest.fixture
def client(tmp_path: Path) -> Client:
    root = tmp_path / "served"
    root.mkdir()
    return Client(root)


@pytest.fixture
def filled(client: Client) -> Client:
    """/f (red), /c/ (green) with /c/g and /c/d/h (blue)."""
    for target in ("/c", "/c/d"):
        assert client("MKCOL", target).status == 201
    for target in ("/f", "/c/g", "/c/d/h"):
        assert client("PUT", target, body=target.encode()).status == 201
    for target, colour in (("/f", "red"), ("/c", "green"), ("/c/d/h", "blue")):
        assert client.paint(target, colour).status == 207
    return client


# --- OPTIONS, GET, HEAD ---


@pytest.mark.parametrize(
    ("target", "allowed"),
    [
        ("/", "OPTIONS GET HEAD COPY PROPFIND PROPPATCH"),
        ("/c", "OPTIONS GET HEAD COPY PROPFIND PROPPATCH DELETE MOVE"),
        ("/c/", "OPTIONS GET HEAD COPY PROPFIND PROPPATCH DELETE MOVE"),
        ("/f", "OPTIONS GET HEAD COPY PROPFIND PROPPATCH DELETE MOVE PUT"),
        ("/new", "OPTIONS PUT MKCOL"),
        ("/new/", "OPTIONS MKCOL"),
        ("*", "OPTIONS GET HEAD COPY PROPFIND PROPPATCH DELETE MOVE PUT"),
    ],
)
def test_options_tells_class_1_and_what_is_allowed(filled, target, allowed):
    reply = filled("OPTIONS", target)
    assert reply.status == 200
    assert reply.fields["dav"] == "1"
    assert reply.fields["allow"].split(", ") == allowed.split()


@pytest.mark.parametrize("target", ["/f", "/c", "/new", "/"])
@pytest.mark.parametrize("method", ["POST", "PATCH", "LOCK", "UNLOCK", "FROB"])
def test_other_methods_are_405_with_allow(filled, method, target):
    reply = filled(method, target)
    assert reply.status == 405
    assert reply.fields["allow"] == filled("OPTIONS", target).fields["allow"]


def test_get_gives_what_was_put(client):
    put = client("PUT", "/a%20b.txt", body=b"words")
    reply = client("GET", "/a%20b.txt")
    assert (put.status, reply.status, reply.body) == (201, 200, b"words")
    assert reply.fields["etag"] == put.fields["etag"]
    assert re.fullmatch(r'"[^"]+"', reply.fields["etag"])
    assert reply.fields["content-type"] == "text/plain"
    assert reply.fields["content-length"] == "5"
    assert reply.fields["last-modified"].endswith("GMT")


@pytest.mark.parametrize("size", [0, 1, 256 * 1024, 256 * 1024 + 1, 1_500_000])
def test_any_size_comes_back_whole(client, size):
    body = os.urandom(size)
    pieces = [body[at : at + 65_000] for at in range(0, size, 65_000)] or [b""]
    assert client("PUT", "/f", pieces=pieces).status == 201
    reply = client("GET", "/f")
    assert reply.body == body
    assert reply.fields["content-length"] == str(size)
    assert client.leftovers() == []


@pytest.mark.parametrize("target", ["/f", "/c", "/none", "/f/"])
def test_head_is_get_without_a_body(filled, target):
    head, get = filled("HEAD", target), filled("GET", target)
    assert (head.status, head.fields, head.body) == (get.status, get.fields, b"")


@pytest.mark.parametrize(
    ("asked", "status", "body"),
    [
        ("bytes=0-3", 206, b"0123"),
        ("bytes=4-", 206, b"456789"),
        ("bytes=-2", 206, b"89"),
        ("bytes=8-100", 206, b"89"),
        ("bytes=10-", 416, None),
        ("bytes=0-1,4-5", 200, b"0123456789"),
        ("lines=0-1", 200, b"0123456789"),
        ("bytes=x", 200, b"0123456789"),
    ],
)
def test_range(client, asked, status, body):
    client("PUT", "/f", body=b"0123456789")
    reply = client("GET", "/f", {"Range": asked})
    assert reply.status == status
    if body is not None:
        assert reply.body == body
        assert reply.fields["content-length"] == str(len(body))
    assert reply.fields.get("content-range", "").endswith("/10") is (status != 200)


@pytest.mark.parametrize(("tag", "status"), [("same", 206), ('"other"', 200), ('W/"same"', 200)])
def test_if_range_decides_between_part_and_whole(client, tag, status):
    same = client("PUT", "/f", body=b"0123456789").fields["etag"]
    assert client("GET", "/f", {"Range": "bytes=0-1", "If-Range": tag.replace("same", same)}).status == status


def test_a_collection_lists_its_members_escaped_and_hides_the_servers_own(client):
    client("PUT", "/" + quote('<b>&"x'), body=b"")
    client("MKCOL", "/sub")
    page = client("GET", "/").body.decode()
    assert "&lt;b&gt;&amp;&quot;x" in page
    assert 'href="/sub/"' in page
    assert "<b>" not in page
    assert HIDDEN not in page


@pytest.mark.parametrize(
    ("field", "value", "status"),
    [
        ("If-None-Match", "same", 304),
        ("If-None-Match", "W/same", 304),
        ("If-None-Match", "*", 304),
        ("If-None-Match", '"other"', 200),
        ("If-Match", "same", 200),
        ("If-Match", '"other", same', 200),
        ("If-Match", "*", 200),
        ("If-Match", "W/same", 412),
        ("If-Match", '"other"', 412),
        ("If-Modified-Since", "date", 304),
        ("If-Modified-Since", "Mon, 01 Jan 2001 00:00:00 GMT", 200),
        ("If-Unmodified-Since", "date", 200),
        ("If-Unmodified-Since", "Mon, 01 Jan 2001 00:00:00 GMT", 412),
    ],
)
def test_conditional_get(client, field, value, status):
    client("PUT", "/f", body=b"x")
    now = client("HEAD", "/f").fields
    reply = client("GET", "/f", {field: value.replace("same", now["etag"]).replace("date", now["last-modified"])})
    assert reply.status == status
    assert (reply.body == b"x") is (status == 200)


def test_a_collection_has_no_etag_but_it_exists(filled):
    statuses = [filled("GET", "/c", fields).status for fields in ({}, {"If-None-Match": "*"}, {"If-Match": '"x"'})]
    assert statuses == [200, 304, 412]
    assert "etag" not in filled("GET", "/c").fields


# --- PUT ---


def test_put_says_whether_it_made_something(client):
    first, second = client("PUT", "/f", body=b"1"), client("PUT", "/f", body=b"2")
    assert (first.status, second.status) == (201, 204)
    assert first.fields["etag"] != second.fields["etag"]


def test_each_of_many_quick_writes_has_its_own_etag(client):
    tags = {client("PUT", "/f", body=b"same size").fields["etag"] for _ in range(50)}
    assert len(tags) == 50


@pytest.mark.parametrize(
    ("target", "fields", "status"),
    [
        ("/c", {}, 405),
        ("/c/", {}, 405),
        ("/new/", {}, 405),
        ("/", {}, 405),
        ("/no/parent", {}, 409),
        ("/f/under-a-file", {}, 409),
        ("/f", {"Content-Range": "bytes 0-0/9"}, 400),
        ("/f", {"If-None-Match": "*"}, 412),
        ("/new", {"If-None-Match": "*"}, 201),
        ("/f", {"If-Match": "*"}, 204),
        ("/new", {"If-Match": "*"}, 412),
        ("/f", {"If-Match": '"other"'}, 412),
        ("/f", {"If-None-Match": '"other"'}, 204),
    ],
)
def test_put_refuses_and_then_changes_nothing(filled, target, fields, status):
    before = filled.names()
    reply = filled("PUT", target, fields, b"new")
    assert reply.status == status
    if status >= 400:
        assert filled.names() == before
        assert filled("GET", "/f").body == b"/f"
    assert filled.leftovers() == []


def test_put_with_the_right_etag_passes_once(client):
    tag = client("PUT", "/f", body=b"1").fields["etag"]
    assert [client("PUT", "/f", {"If-Match": tag}, b"2").status for _ in range(2)] == [204, 412]


def test_of_many_that_create_at_once_one_does(client):
    """If-None-Match is looked at again at the moment of the change, not only before the body."""

    async def all_at_once():
        start = {"If-None-Match": "*"}
        asked = [exchange(client.app, "PUT", "/f", start, str(n).encode() * 9) for n in range(20)]
        return [reply.status for reply in await asyncio.gather(*asked)]

    statuses = asyncio.run(all_at_once())
    assert sorted(statuses) == [201] + [412] * 19


@pytest.mark.parametrize("size", [10, 600_000])
@pytest.mark.parametrize("there", [b"old", None])
def test_a_client_that_hangs_up_leaves_nothing_behind(client, size, there):
    if there:
        client("PUT", "/f", body=there)
    assert client("PUT", "/f", pieces=[b"x" * size], cut=True) is None
    assert client("GET", "/f").status == (200 if there else 404)
    assert client("GET", "/f").body == (there or client("GET", "/f").body)
    assert client.leftovers() == []


def test_a_cancelled_upload_leaves_nothing_behind(client):
    async def cancelled():
        asked = asyncio.Event()

        async def receive():
            asked.set()
            await asyncio.sleep(60)

        scope = {"type": "http", "method": "PUT", "path": "/f", "root_path": "", "headers": []}
        task = asyncio.create_task(client.app(scope, receive, None))
        await asyncio.wait_for(asked.wait(), 10)
        assert client.leftovers()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(cancelled())
    assert client.names() == set()
    assert client.leftovers() == []


# --- MKCOL, DELETE ---


@pytest.mark.parametrize(
    ("target", "body", "status"),
    [
        ("/new", b"", 201),
        ("/new/", b"", 201),
        ("/c", b"", 405),
        ("/c/", b"", 405),
        ("/f", b"", 405),
        ("/f/", b"", 405),
        ("/", b"", 405),
        ("/no/parent", b"", 409),
        ("/f/sub", b"", 409),
        ("/new", b"<mkcol/>", 415),
    ],
)
def test_mkcol(filled, target, body, status):
    reply = filled("MKCOL", target, body=body)
    assert reply.status == status
    assert (status == 405) is ("allow" in reply.fields)
    assert ("new" in filled.names()) is (status == 201)


@pytest.mark.parametrize(
    ("target", "fields", "status", "left"),
    [
        ("/f", {}, 204, {"c", "c/g", "c/d", "c/d/h"}),
        ("/c", {}, 204, {"f"}),
        ("/c/", {"Depth": "infinity"}, 204, {"f"}),
        ("/c/d", {}, 204, {"f", "c", "c/g"}),
        ("/c", {"Depth": "0"}, 400, None),
        ("/f", {"If-Match": '"other"'}, 412, None),
        ("/f/", {}, 404, None),
        ("/none", {}, 404, None),
        ("/", {}, 403, None),
    ],
)
def test_delete(filled, target, fields, status, left):
    before = filled.names()
    assert filled("DELETE", target, fields).status == status
    assert filled.names() == (before if left is None else left)
    assert filled.leftovers() == []


def test_delete_takes_the_properties_along(filled):
    filled("DELETE", "/c")
    filled("MKCOL", "/c")
    filled("MKCOL", "/c/d")
    filled("PUT", "/c/d/h", body=b"again")
    assert [filled.colour(target) for target in ("/c/", "/c/d/h")] == [None, None]


# --- COPY, MOVE ---


def test_copy_of_a_tree(filled):
    assert filled("COPY", "/c", {"Destination": "http://folder.example/k/"}).status == 201
    assert filled.names() == {"f", "c", "c/g", "c/d", "c/d/h", "k", "k/g", "k/d", "k/d/h"}
    assert filled("GET", "/k/d/h").body == b"/c/d/h"
    assert [filled.colour(t) for t in ("/k", "/k/d/h", "/c", "/c/d/h")] == ["green", "blue", "green", "blue"]


def test_copy_of_depth_0_leaves_the_members(filled):
    assert filled("COPY", "/c", {"Destination": "/k", "Depth": "0"}).status == 201
    assert filled.names() == {"f", "c", "c/g", "c/d", "c/d/h", "k"}
    assert filled.colour("/k") == "green"


def test_move_of_a_tree(filled):
    assert filled("MOVE", "/c/", {"Destination": "/k"}).status == 201
    assert filled.names() == {"f", "k", "k/g", "k/d", "k/d/h"}
    assert [filled.colour(target) for target in ("/k", "/k/d/h", "/f")] == ["green", "blue", "red"]


def test_move_keeps_the_etag(filled):
    before = filled("HEAD", "/f").fields["etag"]
    filled("MOVE", "/f", {"Destination": "/e"})
    assert filled("HEAD", "/e").fields["etag"] == before


@pytest.mark.parametrize("method", ["COPY", "MOVE"])
@pytest.mark.parametrize(
    ("source", "target", "names"),
    [
        ("/f", "/c/g", {"c", "c/g", "c/d", "c/d/h"}),
        ("/f", "/c", {"c"}),
        ("/f", "/c/", {"c"}),
        ("/c/d", "/f", {"c", "c/g", "f", "f/h"}),
    ],
)
def test_overwriting_replaces_all_that_was_there(filled, method, source, target, names):
    body, colour = filled("GET", source).body, filled.colour(source)
    assert filled(method, source, {"Destination": target}).status == 204
    moved = {source[1:], "c/d/h"} if source == "/c/d" else {source[1:]}
    assert filled.names() == (names if method == "MOVE" else names | moved)
    assert filled.colour(target.rstrip("/")) == colour
    if source == "/f":
        assert filled("GET", target.rstrip("/")).body == body
    assert filled.leftovers() == []


@pytest.mark.parametrize("method", ["COPY", "MOVE"])
@pytest.mark.parametrize(
    ("source", "fields", "status"),
    [
        ("/f", {}, 400),
        ("/f", {"Destination": "relative"}, 400),
        ("/f", {"Destination": "//folder.example/x"}, 400),
        ("/f", {"Destination": "http:///x"}, 400),
        ("/f", {"Destination": "/x y"}, 400),
        ("/f", {"Destination": "/x#y"}, 400),
        ("/f", {"Destination": "/x%2Fy"}, 400),
        ("/f", {"Destination": "/x%00"}, 400),
        ("/f", {"Destination": "/%ff"}, 400),
        ("/f", {"Destination": "http://[/x"}, 400),
        ("/f", {"Destination": "/c/../x"}, 404),
        ("/f", {"Destination": f"/{HIDDEN}/x"}, 403),
        ("/f", {"Destination": "http://other.example/x"}, 502),
        ("/f", {"Destination": "http://folder.example:8080/x"}, 502),
        ("/f", {"Destination": "ftp://folder.example/x"}, 502),
        ("/f", {"Destination": "/f"}, 403),
        ("/f", {"Destination": "/x", "Overwrite": "maybe"}, 400),
        ("/f", {"Destination": "/x", "If-Match": '"other"'}, 412),
        ("/f", {"Destination": "/c", "Overwrite": "F"}, 412),
        ("/f", {"Destination": "/no/parent"}, 409),
        ("/f", {"Destination": "/f/x"}, 409),
        ("/f", {"Destination": "/new/"}, 409),
        ("/none", {"Destination": "/x"}, 404),
        ("/f/", {"Destination": "/x"}, 404),
        ("/c", {"Destination": "/c/"}, 403),
        ("/c", {"Destination": "/c/d/inside"}, 403),
        ("/c/d", {"Destination": "/c"}, 403),
        ("/c", {"Destination": "/x", "Depth": "1"}, 400),
        ("/", {"Destination": "/c/x"}, 403),
        ("/f", {"Destination": "/"}, 403),
    ],
    ids=str,
)
def test_copy_and_move_refuse_and_then_change_nothing(filled, method, source, fields, status):
    before = filled.names()
    assert filled(method, source, fields).status == status
    assert filled.names() == before
    assert filled.colour("/f") == "red"
    assert filled.leftovers() == []


def test_move_of_a_collection_is_never_shallow(filled):
    assert filled("MOVE", "/c", {"Destination": "/x", "Depth": "0"}).status == 400


@pytest.mark.parametrize(
    "destination", ["/x", "https://FOLDER.example:443/x", "http://me@folder.example/x", "http://folder.example/x?y"]
)
def test_spellings_of_this_server_in_destination(filled, destination):
    assert filled("COPY", "/f", {"Destination": destination, "Overwrite": "F"}).status == 201
    assert filled("GET", "/x").body == b"/f"


# --- PROPFIND ---


def test_propfind_tells_live_and_dead_properties(filled):
    ((href, stats),) = filled.props("/f").items()
    told = stats[200]
    head = filled("HEAD", "/f").fields
    assert href == "/f"
    assert set(stats) == {200}
    assert told["{urn:p}colour"].text == "red"
    assert told["{DAV:}getetag"].text == head["etag"]
    assert told["{DAV:}getlastmodified"].text == head["last-modified"]
    assert told["{DAV:}getcontentlength"].text == "2"
    assert told["{DAV:}getcontenttype"].text == head["content-type"]
    assert len(told["{DAV:}resourcetype"]) == 0


@pytest.mark.parametrize(
    ("target", "depth", "hrefs"),
    [
        ("/", "0", {"/"}),
        ("/", "1", {"/", "/c/", "/f"}),
        ("/c", "1", {"/c/", "/c/g", "/c/d/"}),
        ("/f", "1", {"/f"}),
    ],
)
def test_propfind_depth(filled, target, depth, hrefs):
    told = filled.props(target, depth=depth)
    assert set(told) == hrefs
    for href, stats in told.items():
        kinds = [kind.tag for kind in stats[200]["{DAV:}resourcetype"]]
        assert kinds == (["{DAV:}collection"] if href.endswith("/") else [])


def test_propname_names_only(filled):
    body = b'<propfind xmlns="DAV:"><propname/></propfind>'
    stats = filled("PROPFIND", "/f", {"Depth": "0"}, body).multistatus["/f"]
    assert {"{DAV:}getetag", "{urn:p}colour"} <= set(stats[200])
    assert {element.text for element in stats[200].values()} == {None}


def test_prop_tells_what_is_missing(filled):
    stats = filled.props("/f", "colour", "taste")["/f"]
    assert stats[200]["{urn:p}colour"].text == "red"
    assert set(stats[404]) == {"{urn:p}taste"}


def test_allprop_with_include(filled):
    body = b'<propfind xmlns="DAV:"><allprop/><include><getetag/><x xmlns="urn:x"/></include></propfind>'
    stats = filled("PROPFIND", "/f", {"Depth": "0"}, body).multistatus["/f"]
    assert {"{DAV:}getetag", "{urn:p}colour"} <= set(stats[200])
    assert set(stats[404]) == {"{urn:x}x"}


def nested(depth: int) -> bytes:
    return b'<propfind xmlns="DAV:"><prop>' + b"<a>" * depth + b"</a>" * depth + b"</prop></propfind>"


@pytest.mark.parametrize(
    ("target", "depth", "body", "status"),
    [
        ("/c", "infinity", b"", 403),
        ("/c", None, b"", 403),
        ("/c", "2", b"", 400),
        ("/c", "0, 1", b"", 400),
        ("/none", "0", b"", 404),
        ("/f/", "0", b"", 404),
        ("/f", "0", b"<propfind", 400),
        ("/f", "0", b"<propfind/>", 400),
        ("/f", "0", b'<propfind xmlns="DAV:"/>', 400),
        ("/f", "0", b'<propfind xmlns="DAV:"><allprop/><propname/></propfind>', 400),
        ("/f", "0", b'<propfind xmlns="DAV:"><prop><x:a xmlns:x=""/></prop></propfind>', 400),
        ("/f", "0", b'<!DOCTYPE p [<!ENTITY e "x">]><propfind xmlns="DAV:"><prop>&e;</prop></propfind>', 400),
        ("/f", "0", b'<?xml version="1.0" encoding="utf-7"?><propfind xmlns="DAV:"><allprop/></propfind>', 400),
        ("/f", "0", b'<?xml version="1.0" encoding="nonsense"?><propfind xmlns="DAV:"><allprop/></propfind>', 400),
        ("/f", "0", b'<propfind xmlns="DAV:"><prop>\xff</prop></propfind>', 400),
        ("/f", "0", b'<propfind xmlns="DAV:"' + b"".join(b' a%d=""' % n for n in range(65)) + b"/>", 400),
        ("/f", "0", nested(30), 207),
        ("/f", "0", nested(31), 400),
        ("/f", "0", b"<a>" * 16_000, 400),
        ("/f", "0", b" " * 65_537, 413),
        ("/f", "0", '<propfind xmlns="DAV:"><allprop/></propfind>'.encode("utf-16"), 207),
    ],
    ids=lambda value: str(value)[:60],
)
def test_propfind_answers(filled, target, depth, body, status):
    reply = filled("PROPFIND", target, {"Depth": depth} if depth else {}, body)
    assert reply.status == status
    if status == 403:
        assert ET.fromstring(reply.body).find("{DAV:}propfind-finite-depth") is not None


# --- PROPPATCH ---


def test_proppatch_sets_and_removes_in_order(client):
    client("PUT", "/f")
    steps = (
        '<s:set><s:prop><a xmlns="urn:p">1</a><b xmlns="urn:p">2</b></s:prop></s:set>'
        '<s:remove><s:prop><a xmlns="urn:p"/><never xmlns="urn:p"/></s:prop></s:remove>'
        '<s:set><s:prop><b xmlns="urn:p">3</b></s:prop></s:set>'
    )
    stats = client("PROPPATCH", "/f", body=update(steps)).multistatus["/f"]
    assert {status: set(told) for status, told in stats.items()} == {200: {"{urn:p}a", "{urn:p}b", "{urn:p}never"}}
    found = client.props("/f", "a", "b")["/f"]
    assert found[200]["{urn:p}b"].text == "3"
    assert set(found[404]) == {"{urn:p}a"}


@pytest.mark.parametrize("name", ["getetag", "resourcetype", "getcontentlength", "lockdiscovery", "supportedlock"])
def test_one_protected_property_fails_all(client, name):
    client("PUT", "/f")
    before = client.props("/f")["/f"][200].keys()
    steps = (
        f'<s:set><s:prop><a xmlns="urn:p">1</a></s:prop></s:set><s:set><s:prop><s:{name}>x</s:{name}></s:prop></s:set>'
    )
    reply = client("PROPPATCH", "/f", body=update(steps))
    stats = reply.multistatus["/f"]
    assert {status: set(told) for status, told in stats.items()} == {403: {"{DAV:}" + name}, 424: {"{urn:p}a"}}
    assert b"<D:error><D:cannot-modify-protected-property/></D:error>" in reply.body
    assert client.props("/f")["/f"][200].keys() == before


def test_displayname_is_the_clients_to_set(client):
    client("PUT", "/f")
    steps = "<s:set><s:prop><s:displayname>Me &amp; you</s:displayname></s:prop></s:set>"
    assert set(client("PROPPATCH", "/f", body=update(steps)).multistatus["/f"]) == {200}
    assert client.props("/f")["/f"][200]["{DAV:}displayname"].text == "Me & you"


VALUES = {
    "attributes": '<v xmlns="urn:p" a="1" x:b="&lt;&quot;&#10;" xmlns:x="urn:x"/>',
    "mixed": '<v xmlns="urn:p">a<b>c</b>d<e xmlns="">f</e> &lt;&amp;]]&gt; </v>',
    "other prefix D": '<D:v xmlns:D="urn:p"><D:w/></D:v>',
    "whitespace": '<v xmlns="urn:p">  \t\n &#13; </v>',
    "astral": '<v xmlns="urn:p">\U0001f512日本</v>',
    "cdata": '<v xmlns="urn:p"><![CDATA[<b>&amp;]]></v>',
    "quoted uri": '<v xmlns="urn:p"><x:a xmlns:x="urn:&quot;&amp;&lt;"/></v>',
}


@pytest.mark.parametrize("value", VALUES.values(), ids=VALUES)
def test_a_dead_property_comes_back_as_it_went_in(client, value):
    client("PUT", "/f")
    assert client("PROPPATCH", "/f", body=update(f"<s:set><s:prop>{value}</s:prop></s:set>")).status == 207
    found = client.props("/f", "v")["/f"][200]["{urn:p}v"]
    assert content(found) == content(ET.fromstring(value))


def test_prefixes_in_values_and_the_language_come_along(client):
    """RFC 4918 section 4.3: prefixes are kept, with what they stand for; xml:lang is that of the prop element."""
    client("PUT", "/f")
    body = (
        b'<s:propertyupdate xmlns:s="DAV:" xmlns:t="urn:types" xmlns:u="urn:unused" xml:lang="de">'
        b'<s:set><s:prop xml:lang="fr"><p:v xmlns:p="urn:p" kind="t:colour">t:rouge</p:v></s:prop></s:set>'
        b"</s:propertyupdate>"
    )
    client("PROPPATCH", "/f", body=body)
    found = client("PROPFIND", "/f", {"Depth": "0"}).body
    (start,) = re.findall(rb"<p:v[^>]*>", found)
    assert b'xmlns:t="urn:types"' in start
    assert b'xmlns:p="urn:p"' in start
    assert b'xml:lang="fr"' in start
    assert b"unused" not in start


@pytest.mark.parametrize(
    ("target", "body", "status"),
    [
        ("/none", update("<s:set><s:prop><a/></s:prop></s:set>"), 404),
        ("/f", b"", 400),
        ("/f", b"<a/>", 400),
        ("/f", update("<s:set/>"), 400),
        ("/f", b"<!DOCTYPE a><a/>", 400),
        ("/f", b" " * 70_000, 413),
    ],
    ids=lambda value: str(value)[:60],
)
def test_proppatch_refuses(filled, target, body, status):
    assert filled("PROPPATCH", target, body=body).status == status


def test_a_small_body_cannot_grow_into_a_large_store(client):
    """One long declaration, wanted by each of many properties, would be stored as many times."""
    client("PUT", "/f")
    many = "".join(f"<x:p{n}/>" for n in range(3000))
    start = f'<s:propertyupdate xmlns:s="DAV:" xmlns:x="urn:{"y" * 20_000}">'
    long = start + SET.format(many) + "</s:propertyupdate>"
    assert client("PROPPATCH", "/f", body=long.encode()).status == 507
    assert (client.root / HIDDEN / "properties.db").stat().st_size < 200_000


def test_properties_outlive_a_put_and_the_server(filled):
    filled("PUT", "/f", body=b"new words")
    assert Client(filled.root).colour("/f") == "red"


def test_a_file_that_comes_anew_has_no_old_properties(filled):
    """Also when it went by another way than DELETE."""
    (filled.root / "f").unlink()
    assert filled("PUT", "/f", body=b"another").status == 201
    assert filled.colour("/f") is None


@pytest.mark.parametrize("name", ["a", "a0", "a/b", "a%", "a_", "é", "a\U0001f512"])
def test_properties_move_by_whole_names(client, name):
    """`a/` and what is under it, but neither `a0` nor `a-`, whatever SQL makes of the characters."""
    for part in dict.fromkeys(["a", "a-", "a0", "x", name.split("/")[0]]):
        client("MKCOL", "/" + quote(part))
        client.paint("/" + quote(part), part)
    if "/" in name:
        client("MKCOL", "/" + name)
    client("MKCOL", f"/{quote(name)}/in")
    client.paint(f"/{quote(name)}/in", "inner")
    assert client("MOVE", "/" + quote(name), {"Destination": "/moved"}).status == 201
    assert client.colour("/moved/in") == "inner"
    for other in {"a", "a-", "a0", "x"} - {name}:
        assert client.colour("/" + other) == other


# --- what a path can and cannot name ---


@pytest.fixture
def tempting(client: Client) -> Client:
    """A folder with a secret beside it and links that lead to it, and around inside."""
    outside = client.root.parent / "outside"
    outside.mkdir()
    (outside / "secret").write_text("secret")
    client("PUT", "/f", body=b"inside")
    client("MKCOL", "/c")
    (client.root / "link").symlink_to(outside / "secret")
    (client.root / "dirlink").symlink_to(outside)
    (client.root / "alias").symlink_to(client.root / "f")
    os.mkfifo(client.root / "fifo")
    return client


NOWHERE = {
    "/../outside/secret": 404,
    "/c/../../outside/secret": 404,
    "/c/../f": 404,
    "/./f": 404,
    "//f": 404,
    "//": 404,
    "/c//f": 404,
    "/c//": 404,
    "/%2e%2e/outside/secret": 404,
    "/..%2foutside%2fsecret": 400,
    "/c%2F..%2Ff": 400,
    "/c%2fx": 400,
    "/f%00": 400,
    "/%00": 400,
    "/%ff": 400,
    "/%c0%ae%c0%ae/outside/secret": 400,
    "/f#x": 400,
    "/link": 403,
    "/dirlink/secret": 403,
    "/dirlink": 403,
    "/alias": 403,
    "/fifo": 403,
    f"/{HIDDEN}": 403,
    f"/{HIDDEN}/properties.db": 403,
    f"/{HIDDEN.upper()}/properties.db": 403,
    "no-slash": 404,
    "/" + "n" * 300: 414,
}


@pytest.mark.parametrize("method", ["GET", "HEAD", "PUT", "DELETE", "MKCOL", "PROPFIND", "PROPPATCH", "COPY", "MOVE"])
@pytest.mark.parametrize(("target", "status"), NOWHERE.items(), ids=lambda value: str(value)[:40])
def test_no_path_leads_out_or_to_a_second_name(tempting, method, target, status):
    before = tempting.names()
    fields = {"Depth": "0"} if method == "PROPFIND" else {"Destination": "/new"}
    body = b"x" if method == "PUT" else update("<s:set><s:prop><a/></s:prop></s:set>") if method == "PROPPATCH" else b""
    reply = tempting(method, target, fields, body)
    assert reply.status == status
    assert b"secret" not in reply.body
    assert tempting.names() == before
    assert (tempting.root.parent / "outside" / "secret").read_text() == "secret"
    assert (tempting.root / "f").read_bytes() == b"inside"


def test_links_are_not_listed_not_copied_and_not_followed_when_deleted(tempting):
    assert set(tempting.props("/", depth="1")) == {"/", "/c/", "/f"}
    (tempting.root / "c" / "out").symlink_to(tempting.root.parent / "outside")
    tempting("COPY", "/c", {"Destination": "/k"})
    assert list((tempting.root / "k").iterdir()) == []
    assert tempting("DELETE", "/c").status == 204
    assert (tempting.root.parent / "outside" / "secret").exists()


def test_names_that_are_odd_but_plain(client):
    for name in ("a;b", "a\\b", "a%2Fb", "...", " ", "%", "日本", "a\nb", "~", "a?b", "LPT1", "x" * 255):
        assert client("PUT", "/" + quote(name, safe=""), body=name.encode()).status == 201
        assert client("GET", "/" + quote(name, safe="")).body == name.encode()
    hrefs = set(client.props("/", depth="1")) - {"/"}
    assert all(client("HEAD", href).status == 200 for href in hrefs)
    assert len(hrefs) == 12


def test_half_a_surrogate_pair_is_no_name(client):
    assert client("GET", "/x", path="/\udcff", raw_path=None).status == 400


def test_a_tree_deeper_than_the_interpreters_stack(client):
    depth = 1100
    place = client.root / "deep"
    place.mkdir()
    here = os.open(place, os.O_RDONLY)
    for _ in range(depth):
        os.mkdir("d", dir_fd=here)
        inner = os.open("d", os.O_RDONLY, dir_fd=here)
        os.close(here)
        here = inner
    os.close(here)
    assert client("COPY", "/deep", {"Destination": "/twin"}).status == 201
    assert client("GET", "/twin" + "/d" * depth).status == 200
    assert client("DELETE", "/twin").status == 204
    assert client("DELETE", "/deep").status == 204
    assert client.names() == set()
    assert client.leftovers() == []


# --- where it is mounted ---


@pytest.mark.parametrize("kind", ["root_path", "prefix", "starlette", "both"])
def test_mounts(tmp_path, kind):
    folder = Folder(tmp_path, prefix="/d v" if kind in ("prefix", "both") else "")
    app = Starlette(routes=[Mount("/d v", app=folder)]) if kind == "starlette" else folder
    scope = {"root_path": "/d v"} if kind == "root_path" else {"root_path": "/root"} if kind == "both" else {}
    front = "/root/d%20v" if kind == "both" else "/d%20v"

    def ask(method, target, fields=None, body=b""):
        return asyncio.run(exchange(app, method, target, fields, body, **scope))

    assert ask("PUT", front + "/f", body=b"x").status == 201
    assert (tmp_path / "f").read_bytes() == b"x"
    assert set(ask("PROPFIND", front + "/", {"Depth": "1"}).multistatus) == {front + "/", front + "/f"}
    assert ask("COPY", front + "/f", {"Destination": f"http://folder.example{front}/g"}).status == 201
    assert ask("COPY", front + "/f", {"Destination": "/elsewhere/g"}).status == 502
    assert ask("COPY", front + "/f", {"Destination": front + "x/g"}).status == 502
    assert f'href="{front}/g"'.encode() in ask("GET", front + "/").body


def test_outside_of_the_prefix_is_404(tmp_path):
    client = Client(tmp_path, prefix="/dav")
    assert [client("GET", target).status for target in ("/", "/davx", "/dav", "/dav/")] == [404, 404, 200, 200]


@pytest.mark.parametrize("prefix", ["dav", "/dav/", "/"])
def test_a_prefix_that_is_none(tmp_path, prefix):
    with pytest.raises(ValueError, match="expected a path such as"):
        Folder(tmp_path, prefix=prefix)


def test_a_root_that_is_none(tmp_path):
    with pytest.raises(NotADirectoryError, match="is not a directory"):
        Folder(tmp_path / "missing")


def test_lifespan_and_websocket(tmp_path):
    app, sent = Folder(tmp_path), []

    async def run(scope, *messages):
        waiting = list(messages)

        async def receive():
            return waiting.pop(0)

        async def send(message):
            sent.append(message["type"])

        await app(scope, receive, send)

    asyncio.run(run({"type": "lifespan"}, {"type": "lifespan.startup"}, {"type": "lifespan.shutdown"}))
    asyncio.run(run({"type": "websocket"}))
    assert sent == ["lifespan.startup.complete", "lifespan.shutdown.complete", "websocket.close"]


# --- faults ---


@pytest.mark.parametrize("method", ["DELETE", "MOVE", "COPY", "PUT"])
def test_when_the_file_system_fails_nothing_has_changed(filled, monkeypatch, method):
    def full(*_):
        raise OSError(28, "No space left on device")

    for name in ("rename", "replace", "mkdir"):
        monkeypatch.setattr(Path, name, full)
    before = filled.names()
    target = "/c" if method != "PUT" else "/f"
    assert filled(method, target, {"Destination": "/new"}, b"x").status == 507
    monkeypatch.undo()
    assert filled.names() == before
    assert [filled.colour(path) for path in ("/f", "/c", "/c/d/h")] == ["red", "green", "blue"]


def test_when_the_new_cannot_come_the_old_comes_back(filled, monkeypatch):
    rename, calls = Path.rename, []

    def second_fails(self, target):
        calls.append(self)
        if len(calls) == 2:
            raise OSError(18, "Invalid cross-device link")
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", second_fails)
    before = filled.names()
    assert filled("MOVE", "/f", {"Destination": "/c"}).status == 403
    assert filled.names() == before
    assert [filled.colour(path) for path in ("/f", "/c", "/c/d/h")] == ["red", "green", "blue"]


def test_properties_that_cannot_be_reached_are_503(filled, monkeypatch):
    def busy(*_, **__):
        raise sqlite3.OperationalError("database is locked")

    monkeypatch.setattr(sqlite3, "connect", busy)
    reply = filled("DELETE", "/f")
    assert (reply.status, reply.fields["retry-after"]) == (503, "1")
    assert filled("GET", "/f").body == b"/f"


def test_a_fault_of_the_disk_is_not_the_clients(filled, monkeypatch):
    def broken(*_):
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(os, "scandir", broken)
    with pytest.raises(OSError, match="Input/output error"):
        filled("GET", "/c")


@pytest.mark.parametrize("then", ["link", "nothing"])
def test_a_file_that_goes_between_look_and_open_is_404(filled, then):
    tree = Tree(filled.root)
    entry = tree.need(address_of("/f"))
    entry.place.unlink()
    if then == "link":
        entry.place.symlink_to("/etc/hostname")
    with pytest.raises(Problem) as caught:
        open_served(entry)
    assert caught.value.status == 404


def test_threads_and_processes_take_turns(client):
    """Each of many writers reads a number and writes the next, guarded by If-Match: no write is lost."""
    client("PUT", "/n", body=b"0")
    other = Client(client.root)  # as another process: it shares nothing with the first but the files
    won = []

    def count(through: Client) -> None:
        for _ in range(15):
            now = through("GET", "/n")
            reply = through("PUT", "/n", {"If-Match": now.fields["etag"]}, str(int(now.body) + 1).encode())
            won.append(reply.status == 204)

    threads = [threading.Thread(target=count, args=(through,)) for through in (client, other) * 3]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(won) == 90
    assert int(client("GET", "/n").body) == sum(won) > 0


# --- the law of the package, and an outside judge ---


def test_the_demo_imports_nothing_of_locklib_but_itself():
    imported = set()
    for source in SOURCES.glob("*.py"):
        for node in ast.walk(ast.parse(source.read_text())):
            if isinstance(node, ast.ImportFrom):
                imported.add(node.module or "")
            elif isinstance(node, ast.Import):
                imported.update(alias.name for alias in node.names)
    ours = {name for name in imported if name.split(".")[0] == "locklib"}
    assert ours
    assert {name for name in ours if not name.startswith("locklib.demo")} == set()


@contextmanager
def served(root: Path) -> Iterator[str]:
    """The folder on uvicorn at a free port. By h11, since httptools drops the fragment of a request target unseen."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    program = (
        "import sys, pathlib, uvicorn; from locklib.demo.folder import Folder; "
        f"uvicorn.run(Folder(pathlib.Path(sys.argv[1])), port={port}, http='h11', log_level='error')"
    )
    environment = {**os.environ, "PYTHONPATH": str(SOURCES.parents[1])}
    process = subprocess.Popen([sys.executable, "-c", program, str(root)], env=environment)
    try:
        for _ in range(200):
            assert process.poll() is None, "uvicorn ended before it served"
            try:
                urllib.request.urlopen(f"http://127.0.0.1:{port}/").close()
                break
            except OSError:
                time.sleep(0.05)
        yield f"http://127.0.0.1:{port}/"
    finally:
        process.terminate()
        process.wait(10)


CLASS_2 = "server does not claim Class 2 compliance"


def test_litmus_finds_nothing(tmp_path):
    """All of basic, copymove, props and http; of locks nothing, as this is a server of class 1."""
    litmus = shutil.which("litmus")
    assert litmus, "litmus is missing; install the package of that name (Debian: apt install litmus)"
    root, work = tmp_path / "root", tmp_path / "work"
    root.mkdir()
    work.mkdir()
    with served(root) as url:
        environment = {**os.environ, "TESTS": "basic copymove props http locks"}
        run = subprocess.run(
            [litmus, "-k", url], cwd=work, env=environment, capture_output=True, text=True, timeout=120, check=False
        )
    summaries = dict(re.findall(r"<- summary for `(\w+)': (.*)", run.stdout))
    assert {suite: text.rpartition(" ")[2] for suite, text in summaries.items()} == dict.fromkeys(
        ("basic", "copymove", "props", "http", "locks"), "100.0%"
    ), run.stdout
    warnings = re.findall(r"WARNING: (.*)", run.stdout)
    assert set(warnings) == {CLASS_2}, run.stdout  # its OPTIONS test says so of any server of class 1
    assert f"SKIPPED (locking tests skipped,\n{CLASS_2})" in run.stdout
