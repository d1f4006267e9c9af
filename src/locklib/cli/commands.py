"""The commands and their options.

Knows: click, what each option is called and what it defaults to.
Must not know: how a server is run (`running`), what is served (`serve`, `demo`).
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import click

from locklib import __version__

__all__ = ["locklib"]

F = TypeVar("F", bound=Callable[..., object])

HOST = "127.0.0.1"
PORT = 8423


def listening(command: F) -> F:
    """The two options of every command that serves."""
    port = click.option(
        "--port", type=click.IntRange(0, 65_535), default=PORT, show_default=True, help="0: any that is free."
    )
    host = click.option("--host", default=HOST, show_default=True, help="The address to listen on.")
    return host(port(command))


@click.group()
@click.version_option(__version__, prog_name="http-locks", message="%(prog)s %(version)s")
def locklib() -> None:
    """Locks enforced on the path of the write: 423 Locked for ASGI and WSGI applications."""


@locklib.command()
def version() -> None:
    """Print the version of the distribution."""
    click.echo(f"http-locks {__version__}")


@locklib.command()
@click.argument("directory", type=click.Path(path_type=Path))
@listening
@click.option("--store", metavar="URL", help="Where the locks are kept.  [default: a SQLite file in DIRECTORY]")
@click.option(
    "--user",
    "users",
    multiple=True,
    metavar="NAME:PASSWORD",
    envvar="LOCKLIB_USER",
    help="Who may come in; may be given more than once. Others on this machine can read a command line: the variable "
    "LOCKLIB_USER (entries with spaces between them) is read too.",
)
def serve(directory: Path, host: str, port: int, store: str | None, users: tuple[str, ...]) -> None:
    """Serve DIRECTORY as a WebDAV folder of class 2, with locks, until Ctrl-C."""
    from locklib.cli.serve import serve_folder  # noqa: PLC0415 - uvicorn comes with it

    serve_folder(directory, host, port, store, users)


@locklib.command()
@listening
@click.option("--once", is_flag=True, help="Tell the story and end; status 1 if it did not go as told.")
def demo(host: str, port: int, once: bool) -> None:
    """See locks refuse a write: a server, and the story of Alice and Bob on it."""
    from locklib.cli.demo import run_demo  # noqa: PLC0415 - uvicorn comes with it

    run_demo(host, port, once=once)
