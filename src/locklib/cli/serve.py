"""`locklib serve`: a folder of class 1, made class 2 by the middleware, behind Basic authentication.

Knows: in which order the three are put together, what can be wrong with the arguments.
Must not know: sockets, a lock rule.
"""

from __future__ import annotations

import ipaddress
import logging
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import click

from locklib.asgi import LockMiddleware
from locklib.cli.running import foreground, listener, url_of
from locklib.demo.auth import basic_auth
from locklib.demo.folder import Folder
from locklib.errors import ConfigurationError
from locklib.stores.memory import AsyncMemoryLockStore
from locklib.stores.sqlite import url_of_path

__all__ = ["folder_app", "serve_folder"]

REALM = "locklib"
OPEN = "warning: no --user is given, so whoever reaches {url} may read, write and delete here; locks are bearer locks"


def serve_folder(directory: Path, host: str, port: int, store: str | None, users: Iterable[str]) -> None:
    """Serve until Ctrl-C. Raises `click.ClickException` for what cannot work, before anything is opened."""
    app = folder_app(directory, store, passwords(users))
    bound = listener(host, port)
    _log_refusals()
    click.echo(f"{directory.resolve()} is served at {url_of(bound)}/ (WebDAV, class 1 and 2)")
    if not users and not _loopback(bound.getsockname()[0]):
        click.echo(OPEN.format(url=url_of(bound)), err=True)
    foreground(app, bound)


def folder_app(directory: Path, store: str | None, users: dict[str, str]) -> Any:
    """The folder under locks. `users` maps names to passwords; without any, locks are bearer locks."""
    try:
        folder = Folder(_existing(directory))
        kept = _store(store, folder, directory)
        if not users:
            return LockMiddleware(folder, store=kept, dav=True)
        guarded = LockMiddleware(
            folder, store=kept, dav=True, principal="user", challenge=f'Basic realm="{REALM}", charset="UTF-8"'
        )
    except ConfigurationError as error:
        raise click.ClickException(str(error)) from None
    except OSError as error:
        raise click.ClickException(f"{directory} cannot be served: {error.strerror or error}") from None
    return basic_auth(guarded, users, REALM)


def _store(url: str | None, folder: Folder, directory: Path) -> Any:
    """One directory has one table of locks, whatever the ports it is served on."""
    if url is None:
        return url_of_path(folder.hidden / "locks.db")
    if url == "memory://":
        return AsyncMemoryLockStore(application=f"locklib serve {directory.resolve()}")
    return url


def _existing(directory: Path) -> Path:
    if not directory.exists():
        raise click.ClickException(f"{directory} does not exist; make it first, or name another directory")
    if not directory.is_dir():
        raise click.ClickException(f"{directory} is not a directory; name the directory that it lies in")
    return directory


def passwords(users: Iterable[str]) -> dict[str, str]:
    """NAME:PASSWORD entries as a mapping. Raises `click.ClickException` for one that is none, or a name named twice."""
    known: dict[str, str] = {}
    for number, entry in enumerate(users, 1):
        name, colon, password = entry.partition(":")
        if not (name and colon and password):  # what came is not shown: it may be a password
            raise click.ClickException(f"--user number {number} is not NAME:PASSWORD")
        if name in known:
            raise click.ClickException(f"--user names {name!a} twice")
        known[name] = password
    return known


def _loopback(address: str) -> bool:
    return ipaddress.ip_address(address.partition("%")[0]).is_loopback


def _log_refusals() -> None:
    """One line for each refusal, and what the store promises, beside uvicorn's own log."""
    handler = logging.StreamHandler()
    handler.setFormatter(logging.Formatter("LOCKS:    %(message)s"))
    logger = logging.getLogger("locklib")
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
