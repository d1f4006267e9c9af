"""One uvicorn on one socket, in the foreground or beside the caller.

Knows: sockets and why they cannot be had, how uvicorn starts and ends.
Must not know: what is served.

h11 is the parser: httptools drops the fragment of a request target unseen, and a WebDAV client may not be told 200 for
a URL that it did not mean.
"""

from __future__ import annotations

import errno
import os
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

import click
import uvicorn

__all__ = ["beside", "foreground", "listener", "url_of"]

START_SECONDS = 30.0
NOT_STARTED = "the server did not start; what it said stands above"

WHY = {
    errno.EADDRINUSE: "port {port} of {host} is in use; end what listens there, or choose another with --port",
    errno.EACCES: "port {port} may not be opened by this user; choose one above 1023 with --port",
    errno.EPERM: "port {port} may not be opened by this user; choose one above 1023 with --port",
    errno.EADDRNOTAVAIL: "{host} is no address of this machine; choose another with --host",
}


def listener(host: str, port: int) -> socket.socket:
    """A bound socket. Raises `click.ClickException` that says what to do where there can be none."""
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    except (socket.gaierror, UnicodeError):
        raise click.ClickException(f"{host!a} is no host name or address; choose another with --host") from None
    bound = socket.socket(family, kind, protocol)
    try:
        if os.name == "posix":  # elsewhere it would let two servers share the port
            bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        bound.bind(address)
        bound.listen()  # two may bind with SO_REUSEADDR; only one may listen
    except OSError as error:
        bound.close()
        why = WHY.get(error.errno or 0, "{host}:{port} cannot be listened on: " + str(error.strerror or error))
        raise click.ClickException(why.format(host=host, port=port)) from None
    return bound


def url_of(bound: socket.socket) -> str:
    """The address to ask, without a slash at its end."""
    host, port = bound.getsockname()[:2]
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)  # noqa: S104 - what to ask where all are listened on
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def server(app: Any, *, log_level: str) -> uvicorn.Server:
    return uvicorn.Server(uvicorn.Config(app, http="h11", ws="none", lifespan="on", log_level=log_level))


def foreground(app: Any, bound: socket.socket) -> None:
    """Serve until Ctrl-C. Raises `click.ClickException` if the application does not start; the log says why."""
    running = server(app, log_level="info")
    with suppress(KeyboardInterrupt, SystemExit):  # so uvicorn ends after Ctrl-C, and where it does not start
        running.run(sockets=[bound])
    if not running.started:
        raise click.ClickException(NOT_STARTED)


@contextmanager
def beside(app: Any, bound: socket.socket) -> Iterator[None]:
    """Serve in a thread while the block runs."""
    running = server(app, log_level="warning")
    thread = threading.Thread(target=running.run, kwargs={"sockets": [bound]}, name="server")
    thread.start()
    try:
        _wait_for_start(running, thread)
        yield
    finally:
        running.should_exit = True
        thread.join()


def _wait_for_start(running: uvicorn.Server, thread: threading.Thread) -> None:
    until = time.monotonic() + START_SECONDS
    while not running.started:
        if not thread.is_alive() or time.monotonic() > until:
            raise click.ClickException(NOT_STARTED)
        time.sleep(0.01)
