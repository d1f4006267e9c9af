"""The ways to ask for a lock: by code, through the WSGI middleware, through the ASGI middleware.

Knows: how each way words a question, and which answer is a yes. Must not know: whether an answer is right.

Each way is called from threads; the ASGI way hands its requests to one loop that all of them share.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from io import BytesIO
from threading import Thread
from typing import Any, Protocol

from locklib import asgi, wsgi
from locklib.core import rules
from locklib.core.model import Lock, Principal, Refusal
from locklib.core.policy import Policy, Timeouts
from locklib.core.rules import Asker, Need, Submission
from locklib.errors import LockRefused, StoreUnavailable
from locklib.locks import AsyncLocks, Locks
from locklib.testing.linearize import Answer, Operation
from soak.history import Recorder

__all__ = ["HOLD", "ByCode", "Came", "Known", "ThroughAsgi", "ThroughWsgi", "Unexpected", "Way"]

HOLD = 0.3
"""Seconds that a LOCK waits for older writers."""

POLICY = Policy(identified=True, ask_application=False, hold_wait=HOLD, timeouts=Timeouts(1.0, 2.0, 10.0))


class Unexpected(Exception):
    """An answer that nothing allows."""


@dataclass(frozen=True, slots=True)
class Known:
    """A lock that a client knows of: its name in the history, and what it takes to use it."""

    name: str
    key: str
    token: str
    creator: str


@dataclass(frozen=True, slots=True)
class Came:
    """An answer. seen: the locks that a list showed."""

    answer: Answer
    token: str | None = None
    fence: int | None = None
    seen: tuple[Known, ...] = ()


class Way(Protocol):
    """One way to ask. Raises StoreUnavailable where the outcome is unknown, Unexpected for what nothing allows."""

    least: float
    """Seconds: the shortest life that can be asked for; longer ones are whole multiples of it."""

    def acquire(self, asked: Operation) -> Came: ...
    def refresh(self, asked: Operation, known: Known) -> Came: ...
    def release(self, asked: Operation, known: Known) -> Came: ...
    def check(self, asked: Operation, known: Iterable[Known], id: str, lasts: float) -> Came: ...
    def list(self, asked: Operation) -> Came: ...


def seen_in(held: Iterable[Any]) -> Came:
    locks = [one.lock for one in held]
    seen = tuple(Known(lock.details.owner_info or "?", lock.key, lock.token, lock.creator or "") for lock in locks)
    return Came(Answer.YES, seen=seen)


# ---- by code ---------------------------------------------------------------------------------------------------------


class ByCode:
    """`Locks`, and the rule of admission for a check without an effect."""

    least = 0.25

    def __init__(self, store: Any) -> None:
        self.store = store
        self.locks = Locks(store)

    def acquire(self, asked: Operation) -> Came:
        try:
            lock = self.locks.acquire(
                asked.key,
                creator=asked.creator,
                timeout=asked.timeout,
                scope=asked.scope,
                depth=asked.depth,
                owner_info=asked.lock,
                wait=HOLD,
            )
        except LockRefused as refused:
            return refusal(refused.refusal.status, refused.refusal.slug)
        return Came(Answer.YES, lock.token, lock.fence)

    def refresh(self, asked: Operation, known: Known) -> Came:
        return self._said(lambda: self.locks.refresh(lock_of(asked, known), asked.timeout))

    def release(self, asked: Operation, known: Known) -> Came:
        return self._said(lambda: self.locks.release(lock_of(asked, known)))

    @staticmethod
    def _said(work: Callable[[], object]) -> Came:
        try:
            work()
        except LockRefused as refused:
            return refusal(refused.refusal.status, refused.refusal.slug)
        return Came(Answer.YES)

    def check(self, asked: Operation, known: Iterable[Known], id: str, lasts: float) -> Came:
        asker = Asker(Principal(asked.creator or ""))
        submission = Submission(asker, asked.key, tuple(lock.token for lock in known))
        done = self.store.transact(*rules.admit(Need(keys=(asked.key,)), submission))
        if isinstance(done.answer, Refusal):
            return refusal(done.answer.status, done.answer.slug)
        return Came(Answer.YES)

    def list(self, asked: Operation) -> Came:
        return seen_in(self.locks.list(asked.key, limit=1_000))


def lock_of(asked: Operation, known: Known) -> Lock:
    return Lock(known.token, known.key, creator=asked.creator)


REFUSED = {403, 409, 412, 423}


def refusal(status: int, slug: str) -> Came:
    """A refusal as an answer; whatever is none is a finding."""
    if status == 503:
        raise StoreUnavailable(slug)
    if status not in REFUSED:
        raise Unexpected(f"{status} {slug}")
    return Came(Answer.BUSY if slug == "still-being-written" else Answer.NO)


# ---- by requests -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Request:
    """A request as both interfaces can word it. id, lasts: of the effect that the application shall have."""

    method: str
    path: str
    fields: Mapping[str, str]
    body: bytes = b""
    id: str = ""
    lasts: float = 0.0
    submitted: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Reply:
    status: int
    fields: Mapping[str, str]
    body: bytes


PROBLEM = "application/problem+json"


def lock_request(asked: Operation) -> Request:
    fields = {
        "Depth": str(asked.depth),
        "Timeout": f"Second-{asked.timeout:.0f}",
        "Content-Type": "application/json",
        **_who(asked),
    }
    return Request("LOCK", asked.key, fields, json.dumps({"scope": asked.scope, "owner": asked.lock}).encode())


def refresh_request(asked: Operation, known: Known) -> Request:
    fields = {"If": f"(<{known.token}>)", "Timeout": f"Second-{asked.timeout:.0f}", **_who(asked)}
    return Request("LOCK", known.key, fields)


def unlock_request(asked: Operation, known: Known) -> Request:
    return Request("UNLOCK", known.key, {"Lock-Token": f"<{known.token}>", **_who(asked)})


def put_request(asked: Operation, known: Iterable[Known], id: str, lasts: float) -> Request:
    """A PUT that submits tokens in a header that is true whatever becomes of them."""
    tokens = " ".join(f"(<{lock.token}>)" for lock in known)
    fields = {"If": f"{tokens} (Not <DAV:no-lock>)", **_who(asked)} if tokens else _who(asked)
    return Request("PUT", asked.key, fields, b"text", id, lasts, asked.submitted)


def _who(asked: Operation) -> dict[str, str]:
    return {"X-User": asked.creator or "", "Accept": PROBLEM}


class _ByRequest:
    """What both interfaces share: the questions as requests, and what their answers say."""

    least = 1.0

    def ask(self, request: Request) -> Reply:
        raise NotImplementedError

    def acquire(self, asked: Operation) -> Came:
        reply = self.ask(lock_request(asked))
        if reply.status not in (200, 201):
            return _said(reply)
        return Came(Answer.YES, reply.fields["lock-token"].strip("<>"))

    def refresh(self, asked: Operation, known: Known) -> Came:
        return _said(self.ask(refresh_request(asked, known)))

    def release(self, asked: Operation, known: Known) -> Came:
        return _said(self.ask(unlock_request(asked, known)))

    def check(self, asked: Operation, known: Iterable[Known], id: str, lasts: float) -> Came:
        return _said(self.ask(put_request(asked, known, id, lasts)))


def _said(reply: Reply) -> Came:
    if reply.status in (200, 201, 204):
        return Came(Answer.YES)
    try:
        slug = json.loads(reply.body).get("type", "").rpartition(":")[2]
    except ValueError:
        slug = repr(reply.body[:80])
    return refusal(reply.status, slug)


STEP = 0.005
"""Seconds between two marks of an effect, so that of one that is killed it is known how far it came."""


def begun(recorder: Recorder, request: Request) -> None:
    recorder.write(
        "effect",
        request.id,
        client=request.id.partition(":")[0],
        key=request.path,
        creator=request.fields["X-User"],
        submitted=request.submitted,
    )


class ThroughWsgi(_ByRequest):
    """The WSGI middleware around an application whose PUT takes its time."""

    def __init__(self, store: Any, recorder: Recorder) -> None:
        self.recorder = recorder
        self.locks = Locks(store)
        self.app = wsgi.LockMiddleware(self._app, store=store, policy=POLICY, principal="HTTP_X_USER")

    def _app(self, environ: dict[str, Any], start_response: Callable[..., object]) -> Iterable[bytes]:
        request: Request = environ["soak"]
        if environ["REQUEST_METHOD"] == "PUT":
            begun(self.recorder, request)
            until = time.monotonic() + request.lasts
            while time.monotonic() < until:
                time.sleep(STEP)
                self.recorder.write("mark", request.id)
            self.recorder.write("ended", request.id)
        start_response("200 OK", [("Content-Length", "0")])
        return [b""]

    def ask(self, request: Request) -> Reply:
        came: dict[str, Any] = {}

        def start_response(status: str, fields: list[tuple[str, str]], exc_info: object = None) -> Callable[..., Any]:
            came["status"], came["fields"] = int(status[:3]), {name.lower(): value for name, value in fields}
            return bytes  # nobody here writes in that way

        body = self.app(environ_of(request), start_response)
        try:
            told = b"".join(body)
        finally:
            close = getattr(body, "close", None)
            if close is not None:
                close()
        return Reply(came["status"], came["fields"], told)

    def list(self, asked: Operation) -> Came:
        return seen_in(self.locks.list(asked.key, limit=1_000))


def environ_of(request: Request) -> dict[str, Any]:
    fields = {name.upper().replace("-", "_"): value for name, value in request.fields.items()}
    kind = fields.pop("CONTENT_TYPE", None)
    return {
        "REQUEST_METHOD": request.method,
        "SCRIPT_NAME": "",
        "PATH_INFO": request.path,
        "QUERY_STRING": "",
        "SERVER_NAME": "soak.test",
        "SERVER_PORT": "80",
        "SERVER_PROTOCOL": "HTTP/1.1",
        "HTTP_HOST": "soak.test",
        "wsgi.url_scheme": "http",
        "wsgi.input": BytesIO(request.body),
        "CONTENT_LENGTH": str(len(request.body)),
        **({"CONTENT_TYPE": kind} if kind else {}),
        **{"HTTP_" + name: value for name, value in fields.items()},
        "soak": request,
    }


class ThroughAsgi(_ByRequest):
    """The ASGI middleware, on a loop in a thread of its own, around an application whose PUT takes its time."""

    def __init__(self, store: Any, recorder: Recorder) -> None:
        self.recorder = recorder
        self.locks = AsyncLocks(store)
        self.app = asgi.LockMiddleware(self._app, store=store, policy=POLICY, principal=_user)
        self.loop = asyncio.new_event_loop()
        Thread(target=self.loop.run_forever, daemon=True).start()

    async def _app(self, scope: Any, receive: Any, send: Any) -> None:
        request: Request = scope["soak"]
        if scope["method"] == "PUT":
            begun(self.recorder, request)
            until = time.monotonic() + request.lasts
            while time.monotonic() < until:
                await asyncio.sleep(STEP)
                self.recorder.write("mark", request.id)
            self.recorder.write("ended", request.id)
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"0")]})
        await send({"type": "http.response.body", "body": b""})

    def ask(self, request: Request) -> Reply:
        reply: Reply = self._wait(self._ask(request))
        return reply

    def _wait(self, work: Any) -> Any:
        return asyncio.run_coroutine_threadsafe(work, self.loop).result()

    async def _ask(self, request: Request) -> Reply:
        came: dict[str, Any] = {"body": b""}
        messages = [{"type": "http.request", "body": request.body, "more_body": False}]

        async def receive() -> dict[str, Any]:
            if messages:
                return messages.pop()
            await asyncio.sleep(3_600)  # the client stays
            return {"type": "http.disconnect"}

        async def send(message: Mapping[str, Any]) -> None:
            if message["type"] == "http.response.start":
                came["status"] = message["status"]
                came["fields"] = {name.decode("latin-1").lower(): v.decode("latin-1") for name, v in message["headers"]}
            else:
                came["body"] += message.get("body", b"")

        await self.app(scope_of(request), receive, send)
        return Reply(came["status"], came["fields"], came["body"])

    def list(self, asked: Operation) -> Came:
        return seen_in(self._wait(self.locks.list(asked.key, limit=1_000)))


def _user(scope: Any) -> str | None:
    return next((value.decode("latin-1") for name, value in scope["headers"] if name == b"x-user"), None)


def scope_of(request: Request) -> dict[str, Any]:
    pairs = [(name.lower().encode("latin-1"), value.encode("latin-1")) for name, value in request.fields.items()]
    length = [(b"content-length", str(len(request.body)).encode())]
    return {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.4"},
        "http_version": "1.1",
        "method": request.method,
        "scheme": "http",
        "path": request.path,
        "raw_path": request.path.encode("latin-1"),
        "query_string": b"",
        "root_path": "",
        "headers": [(b"host", b"soak.test"), *pairs, *(length if request.body else [])],
        "client": ("192.0.2.1", 5000),
        "server": ("soak.test", 80),
        "soak": request,
    }
