"""The demo documents API, and Basic authentication around any application; neither knows of locks."""

from __future__ import annotations

import asyncio
import base64
import json

import httpx
import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Mount, Route

from locklib.demo.auth import basic_auth
from locklib.demo.documents import LARGEST_DOCUMENT, documents_app

JSON = {"content-type": "application/json"}


class Client:
    """One application, asked synchronously."""

    def __init__(self, app, prefix: str = "") -> None:
        self.app = app
        self.prefix = prefix

    def __call__(self, method, path, content=b"", **fields) -> httpx.Response:
        async def ask():
            transport = httpx.ASGITransport(self.app)
            async with httpx.AsyncClient(transport=transport, base_url="http://api.example") as client:
                headers = {name.replace("_", "-"): value for name, value in fields.items()}
                return await client.request(method, self.prefix + path, content=content, headers=headers)

        return asyncio.run(ask())

    def put(self, path, value, **fields) -> httpx.Response:
        return self("PUT", path, json.dumps(value).encode(), content_type="application/json", **fields)


@pytest.fixture
def api() -> Client:
    return Client(documents_app())


def test_put_makes_then_replaces_and_get_gives_it_back(api):
    made, replaced = api.put("/a", {"n": 1}), api.put("/a", {"n": 2})
    got = api("GET", "/a")
    assert (made.status_code, replaced.status_code, got.status_code) == (201, 204, 200)
    assert got.json() == {"n": 2}
    assert got.headers["content-type"] == "application/json"
    assert got.headers["etag"] == replaced.headers["etag"] != made.headers["etag"]


def test_text_is_kept_as_it_was_sent(api):
    api("PUT", "/t", "Grüße\r\n".encode(), content_type="text/markdown; charset=utf-8")
    got = api("GET", "/t")
    assert got.text == "Grüße\r\n"
    assert got.headers["content-type"].startswith("text/markdown")


def test_without_a_type_a_document_is_text_and_may_be_empty(api):
    assert api("PUT", "/t").status_code == 201
    assert api("GET", "/t").content == b""


def test_html_cannot_run(api):
    api("PUT", "/x", b"<script>alert(1)</script>", content_type="text/html")
    headers = api("GET", "/x").headers
    assert headers["content-security-policy"] == "default-src 'none'; sandbox"
    assert headers["x-content-type-options"] == "nosniff"


def test_head_tells_what_get_tells(api):
    api.put("/a", [1])
    head, get = api("HEAD", "/a"), api("GET", "/a")
    assert (head.status_code, head.headers) == (200, get.headers)


def test_the_list_names_every_document(api):
    api.put("/b c", 1)
    api("PUT", "/a", b"text")
    told = api("GET", "/").json()["documents"]
    assert [(item["name"], item["href"], item["type"]) for item in told] == [
        ("a", "/a", "text/plain"),
        ("b c", "/b%20c", "application/json"),
    ]
    assert told[0]["etag"] == api("GET", "/a").headers["etag"]


def test_post_makes_a_document_under_a_new_name(api):
    first, second = (api("POST", "/", b'{"n": 1}', **{"content-type": "application/json"}) for _ in range(2))
    assert first.status_code == 201
    assert first.headers["location"] == first.json()["href"] != second.headers["location"]
    got = api("GET", first.headers["location"])
    assert got.json() == {"n": 1}
    assert got.headers["etag"] == first.headers["etag"]


def test_under_a_mount_links_name_the_mount():
    api = Client(Starlette(routes=[Mount("/api", app=documents_app())]), "/api")
    location = api("POST", "/", b"x").headers["location"]
    assert location.startswith("/api/")
    assert api("GET", location.removeprefix("/api")).text == "x"
    assert api("GET", "/").json()["documents"][0]["href"] == location


# RFC 7396, appendix A
MERGES = [
    ({"a": "b"}, {"a": "c"}, {"a": "c"}),
    ({"a": "b"}, {"b": "c"}, {"a": "b", "b": "c"}),
    ({"a": "b"}, {"a": None}, {}),
    ({"a": "b", "b": "c"}, {"a": None}, {"b": "c"}),
    ({"a": ["b"]}, {"a": "c"}, {"a": "c"}),
    ({"a": "c"}, {"a": ["b"]}, {"a": ["b"]}),
    ({"a": {"b": "c"}}, {"a": {"b": "d", "c": None}}, {"a": {"b": "d"}}),
    ({"a": [{"b": "c"}]}, {"a": [1]}, {"a": [1]}),
    (["a", "b"], ["c", "d"], ["c", "d"]),
    ({"a": "b"}, ["c"], ["c"]),
    ({"a": "foo"}, None, None),
    ({"a": "foo"}, "bar", "bar"),
    ({"e": None}, {"a": 1}, {"e": None, "a": 1}),
    ([1, 2], {"a": "b", "c": None}, {"a": "b"}),
    ({}, {"a": {"bb": {"ccc": None}}}, {"a": {"bb": {}}}),
]


@pytest.mark.parametrize("media_type", ["application/merge-patch+json", "application/json; charset=utf-8"])
@pytest.mark.parametrize(("there", "patch", "merged"), MERGES, ids=str)
def test_patch_merges(api, there, patch, merged, media_type):
    before = api.put("/a", there).headers["etag"]
    reply = api("PATCH", "/a", json.dumps(patch).encode(), content_type=media_type)
    assert (reply.status_code, reply.json()) == (200, merged)
    assert api("GET", "/a").json() == merged
    assert api("GET", "/a").headers["etag"] == reply.headers["etag"] != before


def test_delete(api):
    api.put("/a", 1)
    assert [api("DELETE", "/a").status_code for _ in range(2)] == [204, 404]
    assert api("GET", "/").json() == {"documents": []}


@pytest.mark.parametrize(
    ("method", "fields", "status"),
    [
        ("GET", {"if_none_match": "same"}, 304),
        ("GET", {"if_none_match": '"other"'}, 200),
        ("GET", {"if_match": '"other"'}, 412),
        ("PUT", {"if_match": "same"}, 204),
        ("PUT", {"if_match": '"other"'}, 412),
        ("PUT", {"if_match": "W/same"}, 412),
        ("PUT", {"if_none_match": "*"}, 412),
        ("PATCH", {"if_match": "same"}, 200),
        ("PATCH", {"if_match": '"other"'}, 412),
        ("DELETE", {"if_match": '"other", same'}, 204),
        ("DELETE", {"if_match": '"other"'}, 412),
    ],
)
def test_conditions_on_what_is_there(api, method, fields, status):
    same = api.put("/a", {"old": 1}).headers["etag"]
    fields = {name: value.replace("same", same) for name, value in fields.items()}
    reply = api(method, "/a", b"{}" if method in ("PUT", "PATCH") else b"", **JSON, **fields)
    assert reply.status_code == status
    if status == 412:
        assert reply.json()["error"] == "precondition-failed"
        assert api("GET", "/a").json() == {"old": 1}


@pytest.mark.parametrize(("fields", "status"), [({"if_none_match": "*"}, 201), ({"if_match": "*"}, 412)])
def test_conditions_on_what_is_not_there(api, fields, status):
    assert api.put("/new", 1, **fields).status_code == status
    assert api("GET", "/new").status_code == (200 if status == 201 else 404)


DEEP = b"[" * 100_000 + b"]" * 100_000


@pytest.mark.parametrize(
    ("method", "path", "content", "fields", "status", "error"),
    [
        ("GET", "/none", b"", {}, 404, "not-found"),
        ("GET", "/there/", b"", {}, 404, "not-found"),
        ("GET", "/there/more", b"", {}, 404, "not-found"),
        ("PATCH", "/none", b"{}", JSON, 404, "not-found"),
        ("DELETE", "/none", b"", {}, 404, "not-found"),
        ("DELETE", "/", b"", {}, 405, "method-not-allowed"),
        ("POST", "/there", b"", {}, 405, "method-not-allowed"),
        ("LOCK", "/there", b"", {}, 405, "method-not-allowed"),
        ("PUT", "/there", b"{", JSON, 400, "bad-request"),
        ("PUT", "/there", b"NaN", JSON, 400, "bad-request"),
        ("PUT", "/there", b"\xff", JSON, 400, "bad-request"),
        ("PUT", "/there", b"\xff", {"content-type": "text/plain"}, 400, "bad-request"),
        ("PUT", "/there", DEEP, JSON, 400, "bad-request"),
        ("PUT", "/there", b"x", {"content-type": "image/png"}, 415, "unsupported-type"),
        ("PUT", "/there", b"x" * (LARGEST_DOCUMENT + 1), {}, 413, "too-large"),
        ("POST", "/", b"{", JSON, 400, "bad-request"),
        ("PATCH", "/there", b"{", JSON, 400, "bad-request"),
        ("PATCH", "/there", b'{"a": "\\ud800"}', JSON, 400, "bad-request"),
        ("PATCH", "/there", b"{}", {"content-type": "text/plain"}, 415, "unsupported-type"),
        ("PATCH", "/text", b"{}", JSON, 415, "unsupported-type"),
    ],
    ids=lambda value: str(value)[:40],
)
def test_errors_are_json_and_change_nothing(api, method, path, content, fields, status, error):
    api.put("/there", {"old": 1})
    api("PUT", "/text", b"text")
    before = api("GET", "/").json()
    reply = api(method, path, content, **fields)
    assert reply.status_code == status
    assert set(reply.json()) == {"error", "message", "status"}
    assert (reply.json()["error"], reply.json()["status"]) == (error, status)
    assert reply.json()["message"]
    assert api("GET", "/").json() == before


def test_a_client_that_hangs_up_changes_nothing(api):
    waiting = [{"type": "http.request", "body": b"half", "more_body": True}, {"type": "http.disconnect"}]

    async def receive():
        return waiting.pop(0)

    async def send(message):
        sent.append(message)

    sent = []
    scope = {"type": "http", "method": "PUT", "path": "/a", "root_path": "", "query_string": b"", "headers": []}
    asyncio.run(api.app(scope, receive, send))
    assert api("GET", "/a").status_code == 404


def test_each_app_has_its_own_documents_and_tags(api):
    other = Client(documents_app())
    assert api.put("/a", 1).headers["etag"] != other.put("/a", 1).headers["etag"]
    other("DELETE", "/a")
    assert api("GET", "/a").status_code == 200


# --- Basic authentication ---

USERS = {"ann": "sésame:open", "bob": "b", "empty": ""}


async def who(request: Request) -> JSONResponse:
    user, auth = request.scope.get("user"), request.scope.get("auth")
    known = {"name": user.display_name, "authenticated": user.is_authenticated} if user else None
    return JSONResponse({"user": known, "scopes": auth.scopes if auth else None})


def asked(**settings) -> Client:
    return Client(basic_auth(Starlette(routes=[Route("/", who)]), USERS, **settings))


def basic(text: str, encoding: str = "utf-8") -> str:
    return "Basic " + base64.b64encode(text.encode(encoding)).decode()


WRONG = {
    "wrong password": basic("ann:sesame"),
    "prefix of the password": basic("ann:sésame:ope"),
    "no password": basic("ann:"),
    "nobody's name": basic("eve:b"),
    "nobody's name, no password": basic("eve:"),
    "another's password": basic("ann:b"),
    "no colon": basic("ann"),
    "not UTF-8": basic("ann:sésame:open", "latin-1"),
    "not base64": "Basic !!!",
    "empty": "",
    "no token": "Basic",
    "another scheme": "Bearer " + basic("bob:b")[6:],
}


@pytest.mark.parametrize("optional", [False, True])
@pytest.mark.parametrize(("name", "password"), USERS.items())
@pytest.mark.parametrize("scheme", ["Basic ", "basic  "])
def test_who_knows_the_password_passes_with_a_name(name, password, scheme, optional):
    reply = asked(optional=optional)("GET", "/", authorization=scheme + basic(f"{name}:{password}")[6:])
    assert reply.json() == {"user": {"name": name, "authenticated": True}, "scopes": ["authenticated"]}


@pytest.mark.parametrize("optional", [False, True])
@pytest.mark.parametrize("value", WRONG.values(), ids=WRONG)
def test_wrong_credentials_are_401(value, optional):
    reply = asked(optional=optional, realm="the realm")("GET", "/", authorization=value)
    assert reply.status_code == 401
    assert reply.headers["www-authenticate"] == 'Basic realm="the realm", charset="UTF-8"'


@pytest.mark.parametrize("optional", [False, True])
def test_without_credentials(optional):
    reply = asked(optional=optional)("GET", "/")
    assert reply.status_code == (200 if optional else 401)
    if optional:
        assert reply.json() == {"user": None, "scopes": None}


def test_two_authorization_fields_are_none():
    sent = []

    async def send(message):
        sent.append(message)

    field = (b"authorization", basic("bob:b").encode())
    scope = {"type": "http", "method": "HEAD", "path": "/", "headers": [field, field]}
    asyncio.run(basic_auth(documents_app(), USERS)(scope, None, send))
    assert sent[0]["status"] == 401
    assert sent[1]["body"] == b""


def test_the_users_are_read_at_each_request():
    users = {"ann": "a"}
    client = Client(basic_auth(documents_app(), users))
    users["bob"] = "b"
    del users["ann"]
    replies = [client("GET", "/", authorization=basic(text)).status_code for text in ("ann:a", "bob:b")]
    assert replies == [401, 200]


def test_a_websocket_without_credentials_is_closed_and_lifespan_passes():
    sent, seen = [], []

    async def app(scope, receive, send):
        seen.append(scope["type"])

    async def send(message):
        sent.append(message)

    guarded = basic_auth(app, USERS)
    asyncio.run(guarded({"type": "websocket", "headers": []}, None, send))
    asyncio.run(guarded({"type": "lifespan"}, None, send))
    assert sent == [{"type": "websocket.close", "code": 1008}]
    assert seen == ["lifespan"]


@pytest.mark.parametrize(
    ("users", "realm"), [({"a:b": "c"}, "r"), ({}, 'r"'), ({}, "r\\"), ({}, "r\r\nX: y"), ({}, "日本")]
)
def test_what_basic_cannot_say_is_refused_at_once(users, realm):
    with pytest.raises(ValueError, match=r"colon|expected printable ASCII"):
        basic_auth(documents_app(), users, realm)
