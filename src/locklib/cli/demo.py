"""`locklib demo`: a server, the story on it, and command lines to go on with.

Knows: what is printed and in which colour, when the server ends.
Must not know: what happens in the story.
"""

from __future__ import annotations

import signal
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import NoReturn

import click

from locklib.cli.house import USERS, house_app
from locklib.cli.running import beside, listener, url_of
from locklib.demo.story import StoryBroken, tell, to_try

__all__ = ["run_demo"]

COLOURS = {"#": "yellow", ">": "cyan", "<": "green"}


def run_demo(host: str, port: int, *, once: bool) -> None:
    """Tell the story on a server of its own; with `once` end then, else serve until Ctrl-C.

    Raises `click.ClickException` where the port cannot be had, and where an answer is not as told.
    """
    bound = listener(host, port)
    with _ended_by_sigterm(), tempfile.TemporaryDirectory(prefix="locklib-demo-") as directory:
        url = url_of(bound)
        try:
            with beside(house_app(Path(directory)), bound):
                click.echo(f"A documents API and a WebDAV folder, one LockMiddleware around both: {url}/\n")
                tell(url, say)
                _afterwards(url, once)
        except StoryBroken as broken:
            raise click.ClickException(f"the story did not go as told. {broken}") from None
        except KeyboardInterrupt:
            click.echo("\nEnded.")


def say(line: str) -> None:
    """One line of the story, in the colour of its kind; a refusal is red."""
    refused = line.startswith(("< HTTP/1.1 4", "< HTTP/1.1 5"))
    colour = "red" if refused else COLOURS.get(line[:1])
    margin = "  " if line[:1] in (">", "<") else ""
    head = "\n" if line[:1] == "#" else ""
    click.secho(head + margin + line, fg=colour, bold=line[:1] == "#" or refused)


def _afterwards(url: str, once: bool) -> None:
    if once:
        click.echo("All answers were as told. Without --once the server stays, and you can try it with curl.")
        return
    lines = list(to_try(url))
    say("# Try it yourself, in another terminal")
    click.echo("Alice has locked the plan again, for ten minutes. Each line works as it stands:\n")
    for command, status in lines:
        click.echo(f"{command}   # {status}")
    people = ", ".join(f"{name}:{password}" for name, password in USERS.items())
    click.echo(f"\nA WebDAV client may open {url}/files/ (name and password: {people}). Ctrl-C ends the server.")
    sys.stdout.flush()
    threading.Event().wait()


@contextmanager
def _ended_by_sigterm() -> Iterator[None]:
    """Ended from outside, the server and the folder are put away as with Ctrl-C."""
    before = signal.signal(signal.SIGTERM, _interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _interrupt(number: int, frame: FrameType | None) -> NoReturn:
    raise KeyboardInterrupt
