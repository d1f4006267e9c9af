"""The command line: `locklib serve`, `locklib demo`, `locklib version`.

Knows: how to say that the extra is missing.
Must not know: what a command does; each is a module of its own, imported only when the command line runs.
"""

from __future__ import annotations

import sys

__all__ = ["main"]

NEEDED = {"click", "uvicorn"}
MISSING = "locklib: the command line needs {name}, which is not installed. Install it: pip install 'http-locks[serve]'"


def main() -> None:
    """Run the command line on `sys.argv`. The exit status is the command's, or 1 where its packages are missing."""
    try:
        from locklib.cli.commands import locklib  # noqa: PLC0415 - click is an extra

        locklib(prog_name="locklib")
    except ModuleNotFoundError as missing:
        if missing.name not in NEEDED:
            raise
        sys.exit(MISSING.format(name=missing.name))
