"""The law of imports: arrows point inward, and the core touches nothing of the world.

    python scripts/import_law.py src

Reads the syntax tree of each module of a guarded layer, imports nothing, and names each line that breaks the law.
Imports for type checkers and imports inside functions count: an arrow is an arrow. Exit status 1 if there is any.
"""

from __future__ import annotations

import ast
import itertools
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

PURE_BY_KIND = {
    "language": ("__future__", "abc", "contextlib", "copy", "dataclasses", "enum", "functools", "keyword", "operator"),
    "types": ("types", "typing", "typing_extensions", "weakref", "warnings"),
    "data": ("bisect", "collections", "heapq", "itertools", "math", "numbers", "datetime", "ipaddress"),
    "text": ("fnmatch", "html", "posixpath", "re", "reprlib", "string", "stringprep", "textwrap", "unicodedata"),
    "bytes": ("base64", "binascii", "codecs", "hashlib", "struct"),
    "formats": ("email.utils", "json", "urllib.parse", "xml.parsers.expat", "xml.sax.saxutils"),
}
PURE = frozenset(itertools.chain.from_iterable(PURE_BY_KIND.values()))
"""What the core may use of others: no I/O, no clock, no randomness, no threads (typing_extensions only names types)."""

IMPURE_CALLS = frozenset({"open", "print", "input", "exec", "eval", "__import__", "breakpoint"})
IMPURE_NAMES = frozenset({"now", "utcnow", "today"})
"""Attributes that read a clock on modules which are pure otherwise (`datetime.now`), if they are called."""


@dataclass(frozen=True, slots=True)
class Layer:
    """A folder of locklib, what of locklib it may import, and whether it must be pure beside."""

    folder: str
    inward: tuple[str, ...]
    pure: bool


LAYERS = (
    Layer("core", ("locklib.core", "locklib.errors"), pure=True),
    Layer("stores", ("locklib.core", "locklib.errors", "locklib.stores"), pure=False),
)


@dataclass(frozen=True, slots=True)
class Breach:
    """One line that breaks the law."""

    path: Path
    line: int
    what: str

    def __str__(self) -> str:
        return f"{self.path}:{self.line}: {self.what}"


def within(module: str, allowed: Callable[[str], bool]) -> bool:
    """Whether the module, or one that contains it, is allowed: `collections` allows `collections.abc`."""
    parts = module.split(".")
    return any(allowed(".".join(parts[:n])) for n in range(len(parts), 0, -1))


def imported(node: ast.AST, package: str) -> list[str]:
    """The modules that a statement imports, by full name; `from a import b` may mean `a.b`, so both are said."""
    if isinstance(node, ast.Import):
        return [name.name for name in node.names]
    if not isinstance(node, ast.ImportFrom):
        return []
    parents = package.split(".")
    start = parents[: len(parents) - node.level + 1] if node.level else []
    base = ".".join([*start, *([node.module] if node.module else [])])
    return [f"{base}.{name.name}" for name in node.names]


def lawful(module: str, layer: Layer) -> bool:
    if module == "locklib" or module.startswith("locklib."):
        return within(module, layer.inward.__contains__)
    return not layer.pure or within(module, PURE.__contains__)


def impure_call(node: ast.AST) -> str | None:
    """The name of a call that reaches the world without an import."""
    if not isinstance(node, ast.Call):
        return None
    if isinstance(node.func, ast.Name) and node.func.id in IMPURE_CALLS:
        return node.func.id
    if isinstance(node.func, ast.Attribute) and node.func.attr in IMPURE_NAMES:
        return node.func.attr
    return None


def breaches_in(path: Path, package: str, layer: Layer) -> Iterator[Breach]:
    allowed = ", ".join(layer.inward) + (" and the pure part of the standard library" if layer.pure else "")
    for node in ast.walk(ast.parse(path.read_text("utf-8"), str(path))):
        for module in imported(node, package):
            if not lawful(module, layer):
                yield Breach(path, node.lineno, f"{layer.folder} imports {module}; it may import {allowed}")  # type: ignore[attr-defined]
        called = impure_call(node) if layer.pure else None
        if called is not None:
            yield Breach(path, node.lineno, f"{layer.folder} calls {called}(); hand the value in instead")  # type: ignore[attr-defined]


def breaches(source: Path) -> list[Breach]:
    """All breaches under `source`, the folder that holds the package locklib."""
    found: list[Breach] = []
    for layer in LAYERS:
        for path in sorted((source / "locklib" / layer.folder).rglob("*.py")):
            package = ".".join(path.relative_to(source).parent.parts)
            found += breaches_in(path, package, layer)
    return found


def main(source: Path) -> int:
    if not (source / "locklib" / "core").is_dir():
        print(f"{source} holds no locklib/core; name the folder that holds the package", file=sys.stderr)
        return 2
    found = breaches(source)
    print("\n".join(map(str, found)) or "arrows point inward", file=sys.stderr if found else sys.stdout)
    return bool(found)


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1] if len(sys.argv) > 1 else "src")))
