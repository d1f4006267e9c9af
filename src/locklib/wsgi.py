"""The WSGI shell: one loop that carries out the moves of `core.exchange` around a WSGI application.

Knows: environ, start_response, the iterable and its `close`.
Must not know: a lock rule, what an answer of ours says.

A request that no lock can concern does not get as far as the loop: safe methods pass, and a write with nothing near it
takes the store's short way.
"""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from http import HTTPStatus
from io import BytesIO
from types import TracebackType
from typing import TYPE_CHECKING, Any, TypeAlias

from locklib import wiring
from locklib.core import paths
from locklib.core.admission import without_method
from locklib.core.exchange import begin
from locklib.core.model import Permit, Principal
from locklib.core.moves import Act, Answer, Ask, Call, Head, Look, Next, Piece, Proceed, Read, Reply, Undo, Wait
from locklib.core.policy import Policy
from locklib.errors import ConfigurationError, StoreUnavailable, shown
from locklib.states import LockState
from locklib.stores.base import AsyncLockStore, LockStore
from locklib.stores.gate import CLOSED
from locklib.wiring import (
    DIGITS,
    DRAIN,
    PLAIN_WRITES,
    PlainPaths,
    Settings,
    chosen,
    log,
    log_refusal,
    open_store,
    passing,
    plain_query,
    policy_from,
    principal_from,
    short_way,
    warn_of_order,
)

if TYPE_CHECKING:
    from typing_extensions import Unpack

__all__ = ["LockMiddleware"]

Environ: TypeAlias = dict[str, Any]
ExcInfo: TypeAlias = tuple[type[BaseException], BaseException, TracebackType] | tuple[None, None, None]
Write: TypeAlias = Callable[[bytes], object]
StartResponse: TypeAlias = Callable[..., Write]
App: TypeAlias = Callable[[Environ, StartResponse], Iterable[bytes]]


def variable(field: str) -> str:
    """The environ key of a request field (PEP 3333, RFC 3875)."""
    name = field.upper().replace("-", "_")
    return name if field in ("content-type", "content-length") else "HTTP_" + name


FIELDS = {variable(field): field for field in wiring.FIELDS}
NOT_OURS = tuple(variable(field) for field in wiring.NOT_OURS)


class LockMiddleware:
    """Locks enforced on the path of the write, for any WSGI application.

        application = LockMiddleware(application)
        application = LockMiddleware(application, dav=True, principal="REMOTE_USER")

    store: None or "memory://" (one process), a URL, or a store object. principal: the name of an environ variable
    ("REMOTE_USER"), or a callable from the environ to a name, a `Principal` or None; without it locks are bearer locks.
    Everything else: the fields of `locklib.Policy`, or a whole `policy=`.
    Raises `ConfigurationError` for what cannot work.
    """

    def __init__(
        self,
        app: App,
        *,
        store: str | LockStore | AsyncLockStore | None = None,
        principal: str | Callable[[Environ], object] | None = None,
        policy: Policy | None = None,
        **settings: Unpack[Settings],
    ) -> None:
        self.app = app
        self.policy: Policy = policy_from(policy, principal is not None, settings)
        self.store: LockStore = open_store(store, asynchronous=False)
        self._principal = _principal_of(principal)
        self._ready = False
        self._plain = LockState.plain(self.store, self.policy)
        self._passing = passing(self.policy)
        self._gate = short_way(self.store, self.policy)
        self._near, self._enter, self._leave = self._gate
        self._shorts: Mapping[str, bool] = {}  # until the store is open
        self._paths = PlainPaths(self.policy)
        warn_of_order(app)

    def __call__(self, environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        """Hand the request on: to the application where no lock can concern it, else to a way that looks.

        The names are those of `wiring.STOPPING` and `TELLING`, spelled out: a look for each is cheaper than any loop.
        """
        environ["locklib"] = self._plain
        if (
            "HTTP_IF" in environ
            or "HTTP_X_HTTP_METHOD_OVERRIDE" in environ
            or "HTTP_X_HTTP_METHOD" in environ
            or "HTTP_X_METHOD_OVERRIDE" in environ
        ):
            return self._general(environ, start_response)
        method = environ["REQUEST_METHOD"]
        if method in self._passing:
            return self.app(environ, start_response)
        if method in self._shorts and "HTTP_LOCK_TOKEN" not in environ:
            try:
                query, mount, path = environ["QUERY_STRING"], environ["SCRIPT_NAME"], environ["PATH_INFO"]
            except KeyError:  # they may be absent (PEP 3333), but no server of note leaves them out
                return self._general(environ, start_response)
            key = _path(environ) if mount else path
            holds = self._paths[key]
            if holds is not None and (not query or plain_query(query)):
                if holds:
                    return self._short(environ, start_response, key, self._shorts[method])
                if not self._near(key, self._shorts[method]):
                    return self.app(environ, start_response)
        return self._general(environ, start_response)

    def _short(self, environ: Environ, start_response: StartResponse, key: str, tree: bool) -> Iterable[bytes]:
        """A write with nothing near it: published, looked, through. The order is the point (docs/design.md)."""
        claim = self._enter(key, tree)
        if claim is None:
            return self._general(environ, start_response)
        try:
            body = self.app(environ, start_response)
            if type(body) is not list and type(body) is not tuple:
                return _Ending(body, self._leave, claim)
        except BaseException:
            self._leave(claim, None)
            raise
        self._leave(claim, None)  # the body is there as a whole: the call has returned
        return body

    def _open(self) -> None:
        """Once: take the store's lease, where it has one, and say what is promised."""
        opener = getattr(self.store, "open", None)
        if opener is not None:
            opener()
        log.info("%s", self.store.promises())
        if not self.policy.identified:
            log.info("no principal= is given: locks are bearer locks, whoever shows the token holds the lock")
        self._ready = True
        self._shorts = {} if self._gate is CLOSED else PLAIN_WRITES

    def _general(self, environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        if not self._ready:
            self._open()
        return _Request(self, environ, start_response).run()


def _principal_of(principal: str | Callable[[Environ], object] | None) -> Callable[[Environ], Principal | None] | None:
    if principal is None:
        return None
    if callable(principal):
        call = principal
        return lambda environ: principal_from(call(environ))
    if not isinstance(principal, str):
        raise ConfigurationError(f"principal={shown(principal)}: give an environ variable's name or a callable")
    name = principal
    return lambda environ: principal_from(environ.get(name))


class _Ending:
    """The application's iterable; when the server closes it, the write is over and its permit ends."""

    __slots__ = ("body", "claim", "end")

    def __init__(self, body: Iterable[bytes], end: Callable[[Any, None], object], claim: Any) -> None:
        self.body = body
        self.end = end
        self.claim = claim

    def __iter__(self) -> Iterator[bytes]:
        return iter(self.body)

    def close(self) -> None:
        try:
            _close(self.body)
        finally:
            self.end(self.claim, None)


def _close(body: object) -> None:
    close = getattr(body, "close", None)
    if close is not None:
        close()


class _Request:
    """One request on the general way: the loop, and what it takes to carry out each move."""

    __slots__ = ("environ", "head", "middleware", "permit", "start_response", "taken")

    def __init__(self, middleware: LockMiddleware, environ: Environ, start_response: StartResponse) -> None:
        self.middleware = middleware
        self.environ = environ
        self.start_response = start_response
        self.taken = b""
        self.permit: Permit | None = None
        self.head = _head(environ, middleware._principal)

    def run(self) -> Iterable[bytes]:
        try:
            body = self._answered()
        except BaseException:
            self._end()
            raise
        if self.permit is None:
            return body
        if type(body) is list or type(body) is tuple:  # it is there as a whole: the call has returned
            self._end()
            return body
        return _Ending(body, _Request._ended, self)

    def _answered(self) -> Iterable[bytes]:
        last = self._until_done(begin(self.middleware.policy, self.head, chosen()))
        if isinstance(last, Proceed):
            return self._proceed(last)
        assert last is not None  # noqa: S101 - only a settle chain ends in None
        return self._reply(last)

    def _until_done(self, move: Next) -> Proceed | Reply | None:
        """The loop: carry out one move, get the next, until one ends the matter."""
        while move is not None and not isinstance(move, (Proceed, Reply)):
            try:
                move = self._carry_out(move)
            except BaseException:
                self._take_back(move)
                raise
        return move

    def _carry_out(self, move: Act[Next] | Look | Wait | Ask | Call | Read) -> Next:
        store = self.middleware.store
        match move:
            case Act():
                if move.query.claim is not None:
                    self.permit = move.query.claim  # if the answer gets lost, it may stand all the same
                try:
                    done = store.transact(move.query, move.step)
                except StoreUnavailable:
                    return move.down()
                if move.query.claim is not None:
                    self.permit = done.permit
                return move.then(done)
            case Look():
                try:
                    permits = store.permits.older(move.namespace, move.lock)
                except StoreUnavailable:
                    self._take_back(move)  # the table may be there where the board is not
                    return move.down()
                return move.then(permits)
            case Wait():
                return move.then(self._wait(move.ids, move.seconds))
            case Ask():
                resources = self.middleware.policy.resources
                assert resources is not None  # noqa: S101 - only then the core makes this move
                return move.then({path: resources(path) for path in move.paths})
            case Call():
                return move.then(self._call(move))
            case Read():
                return self._read(move)

    def _take_back(self, move: Next) -> None:
        """Interrupted: leave no pending lock behind."""
        undo: Undo | None = getattr(move, "undo", None)
        if undo is not None:
            _quietly(self.middleware.store.transact, *undo)

    def _end(self) -> None:
        if self.permit is not None:
            _quietly(self.middleware.store.permits.end, self.permit)

    def _ended(self, _: None) -> None:
        self._end()

    def _wait(self, ids: tuple[str, ...], seconds: float) -> frozenset[str]:
        """Poll the board, seldom at the end of a long wait: LOCKs that wait are rare, writers pay nothing for them."""
        until, pause = time.monotonic() + seconds, 0.001
        while True:
            left = self._live(ids)
            if not left or time.monotonic() >= until:
                return left
            time.sleep(min(pause, max(0.0, until - time.monotonic())))
            pause = min(pause * 1.5, 0.05)

    def _live(self, ids: tuple[str, ...]) -> frozenset[str]:
        """While the store cannot say, none of them has ended."""
        try:
            return self.middleware.store.permits.live(ids)
        except StoreUnavailable:
            return frozenset(ids)

    # ---- the body ----------------------------------------------------------------------------------------------------

    def _length(self) -> int | None:
        """The size of the body; None: chunked, it ends where the server says so (`wsgi.input_terminated`)."""
        length = self.environ.get("CONTENT_LENGTH", "")
        if length.isascii() and length.isdigit():
            return int(length) if len(length) < DIGITS else sys.maxsize
        return None if self.environ.get("wsgi.input_terminated") else 0

    def _read(self, move: Read) -> Next:
        length = self._length()
        if length is not None and length > move.limit:
            return move.then(None)
        try:
            self.taken = self.environ["wsgi.input"].read(move.limit + 1 if length is None else length)
        except TimeoutError:
            return move.late()
        return move.then(self.taken if len(self.taken) <= move.limit else None)

    def _replayed(self, environ: Environ) -> None:
        if not self.taken:
            return
        rest = environ["wsgi.input"]
        if self._length() is not None:
            environ["wsgi.input"] = BytesIO(self.taken)
        else:
            environ["wsgi.input"] = BytesIO(self.taken + rest.read())

    def _drain(self) -> None:
        """Take in the rest of a small body, so that the connection can be used again after an early answer (T21)."""
        length = self._length()
        if self.taken or length is None or not 0 < length <= DRAIN or "HTTP_EXPECT" in self.environ:
            return
        with contextlib.suppress(OSError):  # it does not come: the server will see that for itself
            self.environ["wsgi.input"].read(length)

    # ---- the application ---------------------------------------------------------------------------------------------

    def _call(self, move: Call) -> Answer:
        """The application's answer to a question of ours. An exception in it is an answer that says nothing: 500."""
        asking = _Asking()
        try:
            body = self.middleware.app(_environ_for(self.environ, self.head, move), asking.start_response)
            try:
                return asking.answer(body, move.body_limit)
            finally:
                _close(body)
        except Exception:
            log.debug("the application raised on %s %s", move.method, ascii(move.path), exc_info=True)
            return Answer(500)

    def _reply(self, reply: Reply) -> Iterable[bytes]:
        if reply.refusal is not None:
            log_refusal(self.head, reply.refusal)
        self._drain()
        answer = reply.answer
        headers = list(answer.headers)
        if answer.status != 204 and answer.first("content-length") is None:
            headers.append(("Content-Length", str(len(answer.body))))
        self.start_response(status_line(answer.status), headers)
        return [b"" if self.head.method == "HEAD" else answer.body]

    def _proceed(self, proceed: Proceed) -> Iterable[bytes]:
        if proceed.refusal is not None:
            log_refusal(self.head, proceed.refusal)
        environ = self.environ
        for field in proceed.drop:
            environ.pop(variable(field), None)
        for name, value in proceed.add:
            environ[variable(name.lower())] = value
        environ["locklib"] = self.middleware._plain.of(proceed, self.head)
        self._replayed(environ)
        if proceed.settle is None and proceed.amend is None:
            return self.middleware.app(environ, self.start_response)
        watched = _Watched(self, proceed)
        return watched.run(self.middleware.app(environ, watched.start_response))


def _quietly(doing: Callable[..., object], *args: Any) -> None:
    """If the store is down, what stands there runs out."""
    try:
        doing(*args)
    except StoreUnavailable:
        log.warning("the store cannot be told that a request has ended; what it holds for it runs out by itself")


class _Asking:
    """The server's side of a question of ours."""

    __slots__ = ("headers", "status", "written")

    def __init__(self) -> None:
        self.status = 500
        self.headers: list[tuple[str, str]] = []
        self.written = b""

    def start_response(self, status: str, headers: list[tuple[str, str]], exc_info: ExcInfo | None = None) -> Write:
        self.status = int(status.split(" ", 1)[0])
        self.headers = headers
        return self._write

    def _write(self, data: bytes) -> None:
        self.written += data

    def answer(self, body: Iterable[bytes], limit: int) -> Answer:
        """Enough of the body to have the status, and then as much as is kept."""
        for chunk in body:
            self.written += chunk
            if len(self.written) >= max(limit, 1):
                break
        return Answer(self.status, tuple(self.headers), self.written[:limit])


class _Watched:
    """The application's answer on its way out: settled before its start is sent, amended where that is asked.

    The start is held back until the first piece of body, as PEP 3333 has it, for until then the application may change
    its mind.
    """

    __slots__ = ("body", "pending", "proceed", "request", "write")

    def __init__(self, request: _Request, proceed: Proceed) -> None:
        self.request = request
        self.proceed = proceed
        self.pending: tuple[str, list[tuple[str, str]]] | None = None
        self.write: Write | None = None

    def start_response(self, status: str, headers: list[tuple[str, str]], exc_info: ExcInfo | None = None) -> Write:
        if self.write is not None and exc_info is not None:
            return self.request.start_response(status, headers, exc_info)
        self.pending = (status, headers)
        return self._written

    def _written(self, data: bytes) -> None:
        self._start()
        assert self.write is not None  # noqa: S101 - _start has set it
        self.write(self._amended(data, more=True))

    def _start(self) -> None:
        if self.pending is None:
            return
        (status, headers), self.pending = self.pending, None
        code = int(status.split(" ", 1)[0])
        if self.proceed.settle is not None:
            self.request._until_done(self.proceed.settle(code))
        if self.proceed.amend is not None:
            headers = list(self.proceed.amend.start(code, tuple(headers)))
        self.write = self.request.start_response(status, headers)

    def _amended(self, chunk: bytes, *, more: bool) -> bytes:
        if self.proceed.amend is None:
            return chunk
        out = self.proceed.amend.feed(chunk, more)
        while isinstance(out, Act):
            out = self._acted(out)
        return out

    def _acted(self, act: Act[Piece]) -> Piece:
        try:
            return act.then(self.request.middleware.store.transact(act.query, act.step))
        except StoreUnavailable:
            return act.down()

    def run(self, body: Iterable[bytes]) -> Iterable[bytes]:
        """The body, piece by piece; a body that is whole already is finished here, so that its permit ends here too."""
        if type(body) is list or type(body) is tuple:
            self._start()
            whole = b"".join(body)
            return [self._amended(whole, more=False)]
        return _Pieces(self, body)


class _Pieces:
    """A streamed body behind `_Watched`: one piece in, one piece out."""

    __slots__ = ("body", "watched")

    def __init__(self, watched: _Watched, body: Iterable[bytes]) -> None:
        self.watched = watched
        self.body = body

    def __iter__(self) -> Iterator[bytes]:
        for chunk in self.body:
            self.watched._start()
            yield self.watched._amended(chunk, more=True)
        self.watched._start()
        if self.watched.proceed.amend is not None:
            yield self.watched._amended(b"", more=False)

    def close(self) -> None:
        _close(self.body)


def status_line(status: int) -> str:
    """The status with its phrase, as `start_response` wants it (PEP 3333)."""
    try:
        return f"{status} {HTTPStatus(status).phrase}"
    except ValueError:
        return f"{status} Unknown"


def _path(environ: Environ) -> str:
    mount, path = environ.get("SCRIPT_NAME", ""), environ.get("PATH_INFO", "")
    if not mount and path.isascii():
        return path or "/"
    return paths.full_path_wsgi(paths.decode_wsgi_path(mount), paths.decode_wsgi_path(path))


def _head(environ: Environ, principal: Callable[[Environ], Principal | None] | None) -> Head:
    fields = {field: (environ[name],) for name, field in FIELDS.items() if environ.get(name) is not None}
    if not fields.get("content-type", ("",))[0]:
        fields.pop("content-type", None)
    return Head(
        environ["REQUEST_METHOD"].upper(),
        _path(environ),
        paths.decode_wsgi_path(environ.get("SCRIPT_NAME", "")).rstrip("/"),
        environ.get("QUERY_STRING", ""),
        fields,
        environ.get("HTTP_HOST") or _server(environ),
        environ.get("REMOTE_ADDR", ""),
        None if principal is None else principal(environ),
    )


def _server(environ: Environ) -> str:
    name, port = environ.get("SERVER_NAME", ""), environ.get("SERVER_PORT", "")
    return f"{name}:{port}" if port else name


def _environ_for(environ: Environ, head: Head, move: Call) -> Environ:
    """The caller's environ with another method and path, and the fields that are right for a question of ours."""
    asked = {name: value for name, value in environ.items() if name not in NOT_OURS}
    asked["REQUEST_METHOD"] = move.method
    asked["wsgi.input"] = BytesIO()
    for name, value in move.headers:
        asked[variable(name.lower())] = value
    asked["QUERY_STRING"] = without_method(environ.get("QUERY_STRING", ""))
    if move.path != head.path:
        asked["PATH_INFO"] = move.path.removeprefix(head.mount).encode("utf-8", "replace").decode("latin-1")
        asked["QUERY_STRING"] = ""
        for raw in ("RAW_URI", "REQUEST_URI"):
            asked.pop(raw, None)
    return asked
