"""The ASGI shell: one loop that carries out the moves of `core.exchange` around an ASGI 3 application.

Knows: ASGI scopes and messages, how to call the application, cancellation.
Must not know: a lock rule, what an answer of ours says.

A request that no lock can concern does not get as far as the loop: safe methods pass, and a write with nothing near it
takes the store's short way.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Mapping, MutableMapping
from typing import TYPE_CHECKING, Any, TypeAlias

from locklib import wiring
from locklib.core import paths
from locklib.core.admission import without_method
from locklib.core.exchange import begin
from locklib.core.model import Done, Permit, Principal
from locklib.core.moves import (
    Act,
    Answer,
    Ask,
    Call,
    Head,
    Headers,
    Look,
    Next,
    Piece,
    Proceed,
    Read,
    Reply,
    Undo,
    Wait,
)
from locklib.core.policy import Policy
from locklib.errors import ConfigurationError, StoreUnavailable
from locklib.states import LockState
from locklib.stores.base import AsyncLockStore, LockStore, Nearby
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

Scope: TypeAlias = MutableMapping[str, Any]
Message: TypeAlias = MutableMapping[str, Any]
Receive: TypeAlias = Callable[[], Awaitable[Message]]
Send: TypeAlias = Callable[[Message], Awaitable[None]]
App: TypeAlias = Callable[[Scope, Receive, Send], Awaitable[None]]

FIELDS = frozenset(name.encode() for name in wiring.FIELDS)
STOPPING = frozenset(name.encode() for name in wiring.STOPPING)
TELLING = frozenset(name.encode() for name in wiring.TELLING)
NOT_OURS = frozenset(name.encode() for name in wiring.NOT_OURS)


class ClientGone(Exception):
    """The client hung up while we were reading: there is nobody to answer."""


class LockMiddleware:
    """Locks enforced on the path of the write, for any ASGI application.

        app = LockMiddleware(app)
        app = LockMiddleware(app, dav=True, principal="user")

    store: None or "memory://" (one process), a URL, or a store object. principal: "user" (scope["user"], as
    authentication middleware sets it), or a callable from the scope to a name, a `Principal` or None; without it locks
    are bearer locks. Everything else: the fields of `locklib.Policy`, or a whole `policy=`.
    Raises `ConfigurationError` for what cannot work.
    """

    def __init__(
        self,
        app: App,
        *,
        store: str | LockStore | AsyncLockStore | None = None,
        principal: str | Callable[[Scope], object] | None = None,
        policy: Policy | None = None,
        **settings: Unpack[Settings],
    ) -> None:
        self.app = app
        self.policy: Policy = policy_from(policy, principal is not None, settings)
        self.store: AsyncLockStore = open_store(store, asynchronous=True)
        self._principal = _principal_of(principal)
        self._owns_store = store is None or isinstance(store, str)
        self._ready = False
        self._plain = LockState.plain(self.store, self.policy)
        self._passing = passing(self.policy)
        self._never_waits: bool = getattr(self.store, "never_waits", False)
        self._permits_near = isinstance(self.store, Nearby)
        self._gate = short_way(self.store, self.policy)
        self._near, self._enter, self._leave = self._gate
        self._shorts: Mapping[str, bool] = {}  # until the store is open
        self._paths = PlainPaths(self.policy)
        self.__call__ = self._awaited  # type: ignore[method-assign]  # for servers that look, not for calls
        warn_of_order(app)

    def __call__(self, scope: Scope, receive: Receive, send: Send) -> Awaitable[None]:
        """Hand the request on: to the application where no lock can concern it, else to a way that looks.

        A plain function that gives back the inner coroutine, so that a request that passes costs no frame of ours.
        """
        if scope["type"] != "http":
            return self._beside(scope, receive, send)
        scope["locklib"] = self._plain
        method = scope["method"]
        if method in self._passing:
            for name, _ in scope["headers"]:
                if name in STOPPING:
                    break
            else:
                return self.app(scope, receive, send)
        elif method in self._shorts:
            for name, _ in scope["headers"]:
                if name in TELLING:
                    break
            else:
                path, mount, query = scope["path"], scope.get("root_path"), scope.get("query_string")
                key = paths.full_path(mount, path) if mount else path
                holds = self._paths[key]
                if holds is not None and (not query or plain_query(query)):
                    if holds:
                        return self._short(scope, receive, send, key, self._shorts[method])
                    if not self._near(key, self._shorts[method]):
                        return self.app(scope, receive, send)
        return self._general(scope, receive, send)

    async def _awaited(self, scope: Scope, receive: Receive, send: Send) -> None:
        """What servers are shown that ask `app.__call__` whether it is a coroutine function, that is, ASGI 3."""
        await type(self).__call__(self, scope, receive, send)

    async def _short(self, scope: Scope, receive: Receive, send: Send, key: str, tree: bool) -> None:
        """A write with nothing near it: published, looked, through. The order is the point (docs/design.md)."""
        claim = self._enter(key, tree)
        if claim is None:
            return await self._general(scope, receive, send)
        try:
            return await self.app(scope, receive, send)
        finally:
            self._leave(claim, None)

    async def _beside(self, scope: Scope, receive: Receive, send: Send) -> None:
        """WebSockets pass; at lifespan the store is opened, so that a server with a wrong store does not start."""
        if scope["type"] == "websocket":
            scope["locklib"] = self._plain
        if scope["type"] != "lifespan":
            return await self.app(scope, receive, send)
        try:
            await self._open()
        except ConfigurationError as exc:
            await receive()
            return await send({"type": "lifespan.startup.failed", "message": str(exc)})
        await self.app(scope, receive, send)
        if self._owns_store:
            await self.store.close()
        return None

    async def _open(self) -> None:
        """Once: take the store's lease, where it has one, and say what is promised."""
        opener = getattr(self.store, "open", None)
        if opener is not None:
            opener()
        log.info("%s", await self.store.promises())
        if not self.policy.identified:
            log.info("no principal= is given: locks are bearer locks, whoever shows the token holds the lock")
        self._ready = True
        self._shorts = {} if self._gate is CLOSED else PLAIN_WRITES

    async def _general(self, scope: Scope, receive: Receive, send: Send) -> None:
        if not self._ready:
            await self._open()
        request = _Request(self, scope, receive, send)
        try:
            await request.run()
        except ClientGone:
            return


def _principal_of(principal: str | Callable[[Scope], object] | None) -> Callable[[Scope], Principal | None] | None:
    if principal is None:
        return None
    if principal == "user":
        return _scope_user
    if callable(principal):
        call = principal
        return lambda scope: principal_from(call(scope))
    raise ConfigurationError(f"principal={principal!r}: use 'user' or a callable that takes the ASGI scope")


_told: set[str] = set()


def _scope_user(scope: Scope) -> Principal | None:
    if "user" not in scope and "user" not in _told:
        _told.add("user")
        log.warning(
            "principal='user', but nothing has set scope['user']: the authentication middleware belongs outside"
        )
    return principal_from(scope.get("user"))


class _Request:
    """One request on the general way: the loop, and what it takes to carry out each move."""

    __slots__ = ("head", "middleware", "permit", "receive", "scope", "send", "taken")

    def __init__(self, middleware: LockMiddleware, scope: Scope, receive: Receive, send: Send) -> None:
        self.middleware = middleware
        self.scope = scope
        self.receive = receive
        self.send = send
        self.taken: list[Message] = []
        self.permit: Permit | None = None
        self.head = _head(scope, middleware._principal)

    async def run(self) -> None:
        try:
            last = await self._until_done(begin(self.middleware.policy, self.head, chosen()))
            match last:
                case Proceed():
                    await self._proceed(last)
                case Reply():
                    await self._reply(last)
        finally:
            if self.permit is not None:
                await self._end(self.permit)

    async def _until_done(self, move: Next) -> Proceed | Reply | None:
        """The loop: carry out one move, get the next, until one ends the matter."""
        while move is not None and not isinstance(move, (Proceed, Reply)):
            try:
                move = await self._carry_out(move)
            except BaseException:
                await self._take_back(move)
                raise
        return move

    async def _carry_out(self, move: Act[Next] | Look | Wait | Ask | Call | Read) -> Next:
        store = self.middleware.store
        match move:
            case Act():
                if move.query.claim is not None:
                    self.permit = move.query.claim  # if the answer gets lost, it may stand all the same
                try:
                    done = await self._transacted(move)
                except StoreUnavailable:
                    return move.down()
                if move.query.claim is not None:
                    self.permit = done.permit
                return move.then(done)
            case Look():
                try:
                    permits = await store.permits.older(move.namespace, move.lock)
                except StoreUnavailable:
                    await self._take_back(move)  # the table may be there where the board is not
                    return move.down()
                return move.then(permits)
            case Wait():
                return move.then(await self._wait(move.ids, move.seconds))
            case Ask():
                resources = self.middleware.policy.resources
                assert resources is not None  # noqa: S101 - only then the core makes this move
                return move.then({path: resources(path) for path in move.paths})
            case Call():
                return move.then(await self._call(move))
            case Read():
                return await self._read(move)

    async def _transacted(self, act: Act[Next]) -> Done[Any]:
        """A store that may wait, once asked, is heard to the end: else nobody would know what to take back."""
        store = self.middleware.store
        if self.middleware._never_waits:  # it does not give way, so nothing comes between
            return await store.transact(act.query, act.step)
        import asyncio  # noqa: PLC0415

        doing: asyncio.Future[Done[Any]] = asyncio.ensure_future(store.transact(act.query, act.step))
        try:
            return await asyncio.shield(doing)
        except asyncio.CancelledError:
            await _shielded(self._undone(act, doing))
            raise

    async def _undone(self, act: Act[Next], doing: Awaitable[Done[Any]]) -> None:
        await self._take_back(act.then(await doing))

    async def _take_back(self, move: Next) -> None:
        """Interrupted: leave no pending lock behind."""
        undo: Undo | None = getattr(move, "undo", None)
        if undo is not None:
            await _shielded(self.middleware.store.transact(*undo))

    async def _end(self, permit: Permit) -> None:
        ending = self.middleware.store.permits.end(permit)
        # A board in the process never waits, so nothing can be interrupted, and no task has to be made.
        await (_quiet(ending) if self.middleware._permits_near else _shielded(ending))

    async def _wait(self, ids: tuple[str, ...], seconds: float) -> frozenset[str]:
        """Poll the board, seldom at the end of a long wait: LOCKs that wait are rare, writers pay nothing for them."""
        import asyncio  # noqa: PLC0415 - whoever runs this has it; whoever imports locklib may not

        loop = asyncio.get_running_loop()
        until, pause = loop.time() + seconds, 0.001
        left = await self._live(ids)
        gone = asyncio.ensure_future(self._hung_up()) if left else None
        try:
            while left and gone is not None and loop.time() < until:
                await asyncio.wait((gone,), timeout=min(pause, max(0.0, until - loop.time())))
                if gone.done():
                    raise ClientGone
                pause = min(pause * 1.5, 0.05)
                left = await self._live(ids)
            return left
        finally:
            if gone is not None:
                gone.cancel()

    async def _hung_up(self) -> None:
        """Ends when there is nobody left to answer: a lock that is granted to nobody would shut all others out."""
        while (await self.receive())["type"] != "http.disconnect":
            pass

    async def _live(self, ids: tuple[str, ...]) -> frozenset[str]:
        """While the store cannot say, none of them has ended."""
        try:
            return await self.middleware.store.permits.live(ids)
        except StoreUnavailable:
            return frozenset(ids)

    # ---- the body ----------------------------------------------------------------------------------------------------

    async def _read(self, move: Read) -> Next:
        import asyncio  # noqa: PLC0415

        try:
            async with asyncio.timeout(self.middleware.policy.body_seconds):
                body = await self._body(move.limit)
        except TimeoutError:
            return move.late()
        return move.then(body)

    async def _body(self, limit: int) -> bytes | None:
        size = 0
        while True:
            message = await self.receive()
            if message["type"] != "http.request":
                raise ClientGone
            self.taken.append(message)
            size += len(message.get("body", b""))
            if size > limit:
                return None
            if not message.get("more_body", False):
                return b"".join(taken.get("body", b"") for taken in self.taken)

    async def _replayed(self) -> Message:
        return self.taken.pop(0) if self.taken else await self.receive()

    async def _drained(self) -> bool:
        """Whether the rest of the body is in, so that the connection can be used again after an early answer."""
        fields = dict(self.scope["headers"])
        length = fields.get(b"content-length")
        if self.taken and not self.taken[-1].get("more_body", False):
            return True
        if length is None and b"transfer-encoding" not in fields:
            return True
        if b"expect" in fields or length is None or not length.isdigit() or len(length) > DIGITS:
            return False
        if int(length) > DRAIN:
            return False
        import asyncio  # noqa: PLC0415

        try:
            async with asyncio.timeout(1.0):
                return await self._body(DRAIN) is not None
        except TimeoutError:
            return False

    # ---- the application ---------------------------------------------------------------------------------------------

    async def _call(self, move: Call) -> Answer:
        """The application's answer to a question of ours. An exception in it is an answer that says nothing: 500."""
        scope = _scope_for(self.scope, move)
        asking = _Asking(move.body_limit)
        try:
            await self.middleware.app(scope, asking.receive, asking.send)
        except OSError:
            pass  # our own "closed", as it comes out of the application
        except Exception:
            log.debug("the application raised on %s %s", move.method, ascii(move.path), exc_info=True)
        return asking.answer()

    async def _reply(self, reply: Reply) -> None:
        if reply.refusal is not None:
            log_refusal(self.head, reply.refusal)
        answer = reply.answer
        headers = _raw(answer.headers)
        if not await self._drained() and self.scope.get("http_version", "1.1") in ("1.0", "1.1"):
            headers.append((b"connection", b"close"))
        if answer.status != 204 and answer.first("content-length") is None:
            headers.append((b"content-length", str(len(answer.body)).encode()))
        await self.send({"type": "http.response.start", "status": answer.status, "headers": headers})
        await self.send({"type": "http.response.body", "body": b"" if self.head.method == "HEAD" else answer.body})

    async def _proceed(self, proceed: Proceed) -> None:
        middleware = self.middleware
        if proceed.refusal is not None:
            log_refusal(self.head, proceed.refusal)
        scope = self.scope
        if proceed.drop or proceed.add:
            scope = dict(scope)
            kept = [(name, value) for name, value in scope["headers"] if name.decode("latin-1") not in proceed.drop]
            scope["headers"] = kept + _raw(proceed.add)
        scope["locklib"] = middleware._plain.of(proceed, self.head)
        receive = self._replayed if self.taken else self.receive
        send: Send = self.send
        if proceed.settle is not None or proceed.amend is not None:
            send = _Watched(self, proceed).send
        await middleware.app(scope, receive, send)


async def _shielded(doing: Awaitable[object]) -> None:
    """To the end, even if this request is cancelled meanwhile. If the store is down, what stands there runs out."""
    import asyncio  # noqa: PLC0415

    await asyncio.shield(asyncio.ensure_future(_quiet(doing)))


async def _quiet(doing: Awaitable[object]) -> None:
    try:
        await doing
    except StoreUnavailable:
        log.warning("the store cannot be told that a request has ended; what it holds for it runs out by itself")


class _Asking:
    """The client's side of a question of ours: no body, and the ear is closed once enough was heard."""

    __slots__ = ("body", "headers", "limit", "more", "status")

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.status = 500
        self.headers: Headers = ()
        self.body = b""
        self.more = True

    async def receive(self) -> Message:
        if self.more:
            self.more = False
            return {"type": "http.request", "body": b"", "more_body": False}
        return {"type": "http.disconnect"}

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            self.headers = tuple((_text(name), _text(value)) for name, value in message.get("headers", ()))
        elif message["type"] == "http.response.body":
            if len(self.body) > self.limit:
                raise OSError("the answer is longer than was asked for")
            self.body += message.get("body", b"")

    def answer(self) -> Answer:
        return Answer(self.status, self.headers, self.body[: self.limit])


class _Watched:
    """The application's answer on its way out: settled before its start is sent, amended where that is asked."""

    __slots__ = ("amend", "ended", "request", "settle")

    def __init__(self, request: _Request, proceed: Proceed) -> None:
        self.request = request
        self.settle = proceed.settle
        self.amend = proceed.amend

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            message = await self._start(message)
        elif message["type"] == "http.response.body" and self.amend is not None:
            message = await self._amended(message)
        await self.request.send(message)

    async def _start(self, message: Message) -> Message:
        if self.settle is not None:
            await self.request._until_done(self.settle(message["status"]))
        if self.amend is None:
            return message
        headers = tuple((_text(name), _text(value)) for name, value in message.get("headers", ()))
        return {**message, "headers": _raw(self.amend.start(message["status"], headers))}

    async def _amended(self, message: Message) -> Message:
        assert self.amend is not None  # noqa: S101 - `send` has looked
        out = self.amend.feed(message.get("body", b""), message.get("more_body", False))
        while isinstance(out, Act):
            out = await self._acted(out)
        return {**message, "body": out}

    async def _acted(self, act: Act[Piece]) -> Piece:
        try:
            return act.then(await self.request.middleware.store.transact(act.query, act.step))
        except StoreUnavailable:
            return act.down()


def _text(value: bytes) -> str:
    return value.decode("latin-1")


def _raw(headers: Iterable[tuple[str, str]]) -> list[tuple[bytes, bytes]]:
    return [(name.lower().encode("latin-1"), value.encode("latin-1")) for name, value in headers]


def _head(scope: Scope, principal: Callable[[Scope], Principal | None] | None) -> Head:
    fields: dict[str, tuple[str, ...]] = {}
    for name, value in scope["headers"]:
        if name in FIELDS:
            field = _text(name)
            fields[field] = (*fields.get(field, ()), _text(value))
    mount = scope.get("root_path", "").rstrip("/")
    host = fields["host"][0] if "host" in fields else _server(scope)
    return Head(
        scope["method"].upper(),
        paths.full_path(mount, scope["path"]),
        mount,
        _text(scope.get("query_string", b"")),
        fields,
        host,
        (scope.get("client") or ("",))[0],
        None if principal is None else principal(scope),
    )


def _server(scope: Scope) -> str:
    name, port = scope.get("server") or ("", None)
    return f"{name}:{port}" if port else name


def _scope_for(scope: Scope, move: Call) -> Scope:
    """The caller's scope with another method and path, and the fields that are right for a question of ours."""
    own = move.path == paths.full_path(scope.get("root_path", "").rstrip("/"), scope["path"])
    asked = dict(scope)
    asked["method"] = move.method
    asked["headers"] = [pair for pair in scope["headers"] if pair[0] not in NOT_OURS] + _raw(move.headers)
    asked["extensions"] = {}
    asked["query_string"] = without_method(_text(scope.get("query_string", b""))).encode("latin-1")
    if not own:
        mount = scope.get("root_path", "").rstrip("/")
        holds_mount = not mount or scope["path"].startswith(mount)
        asked["path"] = move.path if holds_mount else move.path.removeprefix(mount)
        from urllib.parse import quote  # noqa: PLC0415 - for questions about other URLs alone

        asked["raw_path"] = quote(asked["path"], safe="/:@!$&'()*+,;=~-._").encode("ascii")
        asked["query_string"] = b""
    return asked
