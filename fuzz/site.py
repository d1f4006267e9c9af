"""A folder behind a middleware, and what must hold of it after every request.

Knows: how ASGI and WSGI hand a request over, what a client and an operator see. Must not know: how locklib decides;
what is compared with here is said again in the plainest words.

| rule | what must hold |
|---|---|
| I16 | no exception, no 5xx but a 502 where there is a Destination; one start; header values of printable ASCII |
| T5 | a body that says it is XML or JSON is |
| I10 | an answer >= 400 leaves table and folder as they were; the application was called only if it is its own |
| I1 | no two locks contradict each other |
| T8 | every lock has an end within the maximum; none is left pending; fences grow |
| I9 | no permit is left over |
| T10, T11, T15, T17 | what changed in the folder lay under no lock, or the creator of one showed its token |
| RFC 9.10, 9.11 | a token that was granted is in the table, one that was ended is not |
"""

from __future__ import annotations

import asyncio
import json
import math
import xml.etree.ElementTree as ET
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from io import BytesIO
from typing import Any
from urllib.parse import unquote, unquote_to_bytes

from fuzz.folder import Folder, resolved
from fuzz.parser import must
from locklib.asgi import LockMiddleware as AsgiMiddleware
from locklib.core.model import Depth, Held, Lock, Outcome, Query
from locklib.core.paths import Folding
from locklib.core.policy import Policy
from locklib.stores.memory import AsyncMemoryLockStore, MemoryLockStore
from locklib.wsgi import LockMiddleware as WsgiMiddleware

__all__ = ["MIDDLEWARE", "SETTINGS", "Got", "Request", "Site"]

Request = tuple[str, str, list[tuple[str, str]], str]
"""Method, target as on the wire, header fields, body; characters up to U+00FF stand for bytes.

`{0}`, `{1}`, ... stand for tokens of earlier answers and `{m}` for the mount. The method WAIT is no request: so many
seconds pass.
"""

Tree = Mapping[str, bytes | None]

MIDDLEWARE: dict[str, Callable[..., Any]] = {"asgi": AsgiMiddleware, "wsgi": WsgiMiddleware}

SETTINGS: dict[str, dict[str, Any]] = {
    "plain": {},
    "dav": {"dav": True, "identified": True},
    "bearer": {"dav": True, "echo_token": True, "bodyless_lock": True},
    "quirks": {"dav": True, "identified": True, "quirks": {"office", "explorer"}, "challenge": "Basic"},
    "advisory": {"routes": ({"path": "/", "advisory": True},), "public_url": "https://p.test/dav"},
    "routes": {
        "identified": True,
        "strict_discovery": True,
        "routes": (("/c/d", "exempt"), ("/c", "fence"), ("/a", "check"), {"path": "/", "mode": "hold", "reads": True}),
    },
    "folding": {"dav": True, "folding": Folding(case=True, unicode=True, windows=True), "infinity_on_root": False},
    "mounted": {"dav": True, "identified": True},
    "long way": {"dav": True, "identified": True, "ask_application": False},
}
UNGUARDED = frozenset({"advisory", "routes"})
"""Settings under which a lock may be passed by on purpose."""

SAFE = frozenset({"GET", "HEAD", "OPTIONS", "PROPFIND"})
"""Methods in which our own questions come; whether the application heard such a request says nothing."""

LONGEST = 86_400.0
EVERYTHING = Query(trees=("/",))


class LongWay(MemoryLockStore):
    """Offers no short way, as a store outside the process."""

    near = claim_now = end_now = None  # type: ignore[assignment]

    def as_async(self) -> AsyncLongWay:
        return AsyncLongWay(_memory=self._memory)


class AsyncLongWay(AsyncMemoryLockStore):
    """`LongWay` for async code."""

    near = claim_now = end_now = None  # type: ignore[assignment]


@dataclass(frozen=True, slots=True)
class Got:
    status: int
    fields: list[tuple[str, str]]
    body: bytes

    def first(self, name: str) -> str | None:
        return next((value for key, value in self.fields if key.lower() == name), None)


@cache
def policy(setting: str) -> Policy:
    return Policy(body_seconds=2.0, hold_wait=0.0, **SETTINGS[setting])


@cache
def loop() -> asyncio.AbstractEventLoop:
    return asyncio.new_event_loop()


class Site:
    """make: the middleware of this kind, or what stands in for it."""

    def __init__(self, kind: str, setting: str, make: Callable[..., Any]) -> None:
        self.setting = setting
        self.mount = "/m" if setting == "mounted" else ""
        self.policy = policy(setting)
        self.folder = Folder(self.mount)
        self.now = 1000.0
        self.store = (LongWay if setting == "long way" else MemoryLockStore)(processes="allow", clock=lambda: self.now)
        store = self.store if kind == "wsgi" else self.store.as_async()
        who = {"wsgi": wsgi_user, "asgi": asgi_user}[kind] if self.policy.identified else None
        app = getattr(self.folder, kind)
        self.app = make(app, store=store, principal=who, policy=self.policy)
        self.send: Callable[[Request], Got] = {"wsgi": self._by_wsgi, "asgi": self._by_asgi}[kind]
        self.tokens: list[str] = []
        self.fence = 0

    def filled(self, request: Request) -> Request:
        """`request` with the tokens that stand for themselves."""
        method, target, fields, body = request
        return method, target, [(name, self._filled(value)) for name, value in fields], body

    def _filled(self, value: str) -> str:
        if "{" not in value:
            return value
        for number in range(5):
            token = self.tokens[-1 - number % len(self.tokens)] if self.tokens else "urn:uuid:none"
            value = value.replace(f"{{{number}}}", token)
        return value.replace("{m}", self.mount)

    def locks(self) -> tuple[Held, ...]:
        return self.store.transact(EVERYTHING, Outcome).answer.locks

    # ---- what must hold ----------------------------------------------------------------------------------------------

    def check(self, request: Request, before: tuple[Held, ...], tree: Tree, got: Got) -> None:
        """request: as it was sent. before, tree: the table and the folder before it."""
        after = self.locks()
        heard, self.folder.heard = self.folder.heard, []
        check_answer(request, got)
        if got.status >= 400:
            must([one.lock for one in after] == [one.lock for one in before], "I10, the table changed", (request, got))
            must(self.folder.tree == tree, "I10, the folder changed", (request, got))
            check_unheard(request, got, heard)
        if after != before:
            self._check_table(after)
        must(not self.store.permits.older("", EVERYWHERE), "I9, a permit is left over", request)
        if self.folder.tree != tree and self.setting not in UNGUARDED:
            self._check_change(request, before, after, tree, got)
        self._check_tokens(request, before, after, got)

    def _check_table(self, locks: tuple[Held, ...]) -> None:
        for held in locks:
            lock = held.lock
            must(0 < held.remaining <= LONGEST and lock.timeout <= LONGEST, "T8, a lock without an end", held)
            must(math.isfinite(lock.expires_at) and not lock.pending, "T8, a lock that is pending", held)
        for at, one in enumerate(locks):
            for other in locks[at + 1 :]:
                both_shared = not one.lock.exclusive and not other.lock.exclusive
                must(both_shared or not overlap(one.lock, other.lock), "I1, locks contradict", (one.lock, other.lock))

    def _check_change(
        self, request: Request, before: tuple[Held, ...], after: tuple[Held, ...], tree: Tree, got: Got
    ) -> None:
        """What shares a key is one resource to locklib, in whatever spelling; and what a LOCK makes is made under the
        lock that it is granted."""
        granted = got.first("lock-token") if request[0].upper() == "LOCK" else None
        shown = " ".join([value for name, value in request[2] if name.lower() == "if"] + [granted or ""])
        asker = next((value for name, value in request[2] if name == "X-User"), None)
        roots = [(resolved(self.inward(held.lock.root)), held.lock) for held in before]
        for path in {*tree, *self.folder.tree}:
            was, now = tree.get(path, GONE), self.folder.tree.get(path, GONE)
            if was == now:
                continue
            for covers in (self._at, self._member) if GONE in (was, now) else (self._at,):
                locks = [lock for root, lock in roots if covers(root, lock, path)]
                keys = {lock.key for lock in locks}
                every = [held.lock for held in (*before, *after)]
                near = [lock for lock in every if lock.key in keys or covers(self.inward(lock.root), lock, path)]
                opened = any(self._opened(lock, shown, asker, request[0]) for lock in near)
                must(opened or not locks, "a change under a lock whose token was not shown", (request, path, locks))

    def _opened(self, lock: Lock, shown: str, asker: str | None, method: str) -> bool:
        """Whether its token was shown by who may; Explorer's MOVE onto a lock of its own shows none (policy.quirks)."""
        if self.setting == "quirks" and method == "MOVE" and lock.creator == asker:
            return True
        return lock.token in shown and lock.creator in (None, asker)

    @staticmethod
    def _at(root: str, lock: Lock, path: str) -> bool:
        return root == path or (lock.depth is Depth.INFINITY and (path + "/").startswith(root.rstrip("/") + "/"))

    @classmethod
    def _member(cls, root: str, lock: Lock, path: str) -> bool:
        """Whether the lock covers the collection whose members changed (RFC 4918 section 7.5)."""
        return path != "/" and cls._at(root, lock, path.rpartition("/")[0] or "/")

    def inward(self, root: str) -> str:
        return unquote(root).removeprefix(self.mount) or "/"

    def _check_tokens(self, request: Request, before: tuple[Held, ...], after: tuple[Held, ...], got: Got) -> None:
        method, named = request[0].upper(), got.first("lock-token")
        live = {held.lock.token: held.lock for held in after}
        new = sorted(lock.fence for token, lock in live.items() if token not in {held.lock.token for held in before})
        must(method == "LOCK" or not new, "a lock that nobody asked for", request)
        must(not new or new[0] > self.fence, "I6, a fence that does not grow", (request, new, self.fence))
        self.fence = max(self.fence, *new, 0)
        if method == "LOCK" and got.status in (200, 201) and named is not None:
            must(named.strip("<>") in live, "a granted token that is not in the table", (request, named))
            self.tokens.append(named.strip("<>"))
        if method == "UNLOCK" and got.status == 204:
            asked = " ".join(value for name, value in request[2] if name == "Lock-Token")
            must(not any(token in asked for token in live), "an ended token that is in the table", request)

    # ---- the two ways in ---------------------------------------------------------------------------------------------

    def _by_wsgi(self, request: Request) -> Got:
        environ = environ_of(request, self.mount)
        started: list[Any] = []
        chunks: list[bytes] = []

        def start_response(status: str, headers: list[tuple[str, str]], exc_info: Any = None) -> Any:
            must(not started or exc_info is not None, "I16, two answers", request)
            started[:] = [int(status.split(" ", 1)[0]), headers]
            return chunks.append

        answer = self.app(environ, start_response)
        try:
            chunks.extend(answer)
        finally:
            if hasattr(answer, "close"):
                answer.close()
        must(bool(started), "I16, no answer", request)
        return Got(started[0], started[1], b"".join(chunks))

    def _by_asgi(self, request: Request) -> Got:
        return loop().run_until_complete(self._asgi(request))

    async def _asgi(self, request: Request) -> Got:
        body = request[3].encode("latin-1", "replace")
        coming = [body[:7], body[7:]] if len(body) > 7 else [body]
        said: dict[str, Any] = {"status": None, "fields": [], "body": b""}

        async def receive() -> dict[str, Any]:
            if coming:
                return {"type": "http.request", "body": coming.pop(0), "more_body": bool(coming)}
            await asyncio.Event().wait()  # the client is there until it has its answer
            raise AssertionError

        async def send(message: Mapping[str, Any]) -> None:
            if message["type"] == "http.response.start":
                must(said["status"] is None, "I16, two answers", request)
                said["status"] = message["status"]
                said["fields"] = [(n.decode("latin-1"), v.decode("latin-1")) for n, v in message.get("headers", ())]
            else:
                said["body"] += message.get("body", b"")

        await self.app(scope_of(request, self.mount), receive, send)
        must(said["status"] is not None, "I16, no answer", request)
        return Got(said["status"], said["fields"], said["body"])


GONE = b"\x00 not there"
EVERYWHERE = Lock("urn:fuzz:looks", "/", Depth.INFINITY)


def overlap(one: Lock, other: Lock) -> bool:
    """Whether there is a resource that both cover."""
    if one.key == other.key:
        return True
    high, low = sorted((one, other), key=lambda lock: len(lock.key))
    return high.depth is Depth.INFINITY and low.key.startswith(high.key.rstrip("/") + "/")


def check_answer(request: Request, got: Got) -> None:
    named = any(name.lower() == "destination" for name, _ in request[2])
    fine = 200 <= got.status < 500 or (got.status == 502 and named)
    must(fine, f"I16, {got.status}", (request, got.body))
    for name, value in got.fields:
        must(name.isascii() and value.isascii() and (value + name).isprintable(), "T6, a header field", (name, value))
    kind = (got.first("content-type") or "").partition(";")[0]
    if got.body and kind.endswith("xml"):
        must(is_read(ET.fromstring, got.body), "T5, XML that cannot be read", (request, got.body))
    elif got.body and kind.endswith("json"):
        must(is_read(json.loads, got.body), "T5, JSON that cannot be read", (request, got.body))


def is_read(reader: Callable[[bytes], object], body: bytes) -> bool:
    try:
        reader(body)
    except ValueError:  # JSON
        return False
    except ET.ParseError:
        return False
    return True


def check_unheard(request: Request, got: Got, heard: list[tuple[str, str, int]]) -> None:
    """The application was not called with what was refused, unless the refusal is its own.

    A LOCK's own PUT of an empty resource may fail: then its answer is the application's.
    """
    method = request[0]
    called = [status for name, _, status in heard if name not in SAFE and (name == method or method.upper() == "LOCK")]
    if method not in SAFE:
        must(called in ([], [got.status]), "I10, the application was called", (request, got, heard))


# ---- as servers hand a request over ----------------------------------------------------------------------------------


def environ_of(request: Request, mount: str) -> dict[str, Any]:
    method, target, fields, said = request
    raw, _, query = target.partition("?")
    body = said.encode("latin-1", "replace")
    environ: dict[str, Any] = {
        "REQUEST_METHOD": method,
        "SCRIPT_NAME": mount,
        "PATH_INFO": unquote_to_bytes(raw.encode("latin-1", "replace")).decode("latin-1"),
        "QUERY_STRING": query,
        "SERVER_NAME": "h.test",
        "SERVER_PORT": "80",
        "SERVER_PROTOCOL": "HTTP/1.1",
        "REMOTE_ADDR": "192.0.2.1",
        "HTTP_HOST": "h.test",
        "wsgi.url_scheme": "http",
        "wsgi.input": BytesIO(body),
    }
    if body:
        environ["CONTENT_LENGTH"] = str(len(body))
    for name, value in fields:
        key = name.upper().replace("-", "_")
        key = key if key in ("CONTENT_TYPE", "CONTENT_LENGTH") else "HTTP_" + key
        joined = key in environ and key not in ("CONTENT_TYPE", "CONTENT_LENGTH", "HTTP_HOST")
        environ[key] = f"{environ[key]},{value}" if joined else value
    if "HTTP_TRANSFER_ENCODING" in environ:
        environ["wsgi.input_terminated"] = True
    return environ


def scope_of(request: Request, mount: str) -> dict[str, Any]:
    method, target, fields, body = request
    raw, _, query = target.partition("?")
    path = unquote_to_bytes(raw.encode("latin-1", "replace")).decode("utf-8", "replace")
    headers: Iterable[tuple[str, str]] = [("host", "h.test"), *fields]
    if body and not any(name.lower() in ("content-length", "transfer-encoding") for name, _ in fields):
        headers = [*headers, ("content-length", str(len(body)))]
    return {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.4"},
        "http_version": "1.1",
        "method": method,
        "scheme": "http",
        "path": mount + path,
        "raw_path": (mount + raw).encode("latin-1", "replace"),
        "query_string": query.encode("latin-1", "replace"),
        "root_path": mount,
        "headers": [(name.lower().encode("latin-1"), value.encode("latin-1", "replace")) for name, value in headers],
        "client": ("192.0.2.1", 5000),
        "server": ("h.test", 80),
    }


def wsgi_user(environ: Mapping[str, Any]) -> str | None:
    return environ.get("HTTP_X_USER")


def asgi_user(scope: Mapping[str, Any]) -> str | None:
    return next((value.decode("latin-1") for name, value in scope["headers"] if name == b"x-user"), None)
