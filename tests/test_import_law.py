"""The law of imports holds, and the script that guards it finds each planted breach."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="module")
def law() -> ModuleType:
    spec = importlib.util.spec_from_file_location("import_law", ROOT / "scripts" / "import_law.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(__import__("sys").modules, "import_law", module)
        spec.loader.exec_module(module)
        yield module


def tree(root: Path, where: str, text: str) -> Path:
    path = root / "locklib" / where
    path.parent.mkdir(parents=True)
    path.write_text(text)
    return root


def test_the_tree_keeps_the_law(law: ModuleType) -> None:
    assert list(map(str, law.breaches(ROOT / "src"))) == []


@pytest.mark.parametrize(
    ("where", "text", "named"),
    [
        pytest.param("core/a.py", "import os", "os", id="core-os"),
        pytest.param("core/a.py", "import time", "time", id="core-clock"),
        pytest.param("core/a.py", "from datetime import datetime\ndatetime.now()", "now()", id="core-clock-call"),
        pytest.param("core/a.py", "def f():\n    import random", "random", id="core-inside-a-function"),
        pytest.param("core/a.py", "if False:\n    from threading import Lock", "threading.Lock", id="core-threads"),
        pytest.param("core/a.py", "import starlette.requests", "starlette.requests", id="core-framework"),
        pytest.param("core/a.py", "import urllib.request", "urllib.request", id="core-sibling-of-a-pure-module"),
        pytest.param("core/a.py", "from urllib import request", "urllib.request", id="core-from-sibling"),
        pytest.param("core/a.py", "from locklib import asgi", "locklib.asgi", id="core-shell"),
        pytest.param("core/a.py", "from ..stores import base", "locklib.stores.base", id="core-relative-store"),
        pytest.param("core/sub/a.py", "from ...stores import base", "locklib.stores.base", id="core-deeper-relative"),
        pytest.param("core/a.py", "open('x')", "open()", id="core-open"),
        pytest.param("stores/a.py", "import locklib.wsgi", "locklib.wsgi", id="store-shell"),
        pytest.param("stores/a.py", "from locklib import LockMiddleware", "locklib.LockMiddleware", id="store-top"),
    ],
)
def test_a_breach_is_named(law: ModuleType, tmp_path: Path, where: str, text: str, named: str) -> None:
    found = law.breaches(tree(tmp_path, where, text))
    assert len(found) == 1
    assert named in found[0].what
    assert found[0].line == len(text.splitlines())


@pytest.mark.parametrize(
    ("where", "text"),
    [
        pytest.param("core/a.py", "from urllib.parse import unquote", id="pure-part-of-a-package"),
        pytest.param("core/a.py", "import collections.abc", id="inside-a-pure-package"),
        pytest.param("core/a.py", "from xml.parsers import expat", id="expat"),
        pytest.param("core/a.py", "from locklib.core.model import Lock", id="core"),
        pytest.param("core/a.py", "from .model import Lock", id="core-relative"),
        pytest.param("core/a.py", "from locklib.errors import LockError", id="errors"),
        pytest.param("core/a.py", "from datetime import datetime\nx: datetime", id="datetime-as-a-type"),
        pytest.param("stores/a.py", "import sqlite3, time, os\nfrom locklib.core.model import Lock", id="store-io"),
        pytest.param("asgi.py", "import time", id="a-shell-is-free"),
    ],
)
def test_what_is_lawful_passes(law: ModuleType, tmp_path: Path, where: str, text: str) -> None:
    assert law.breaches(tree(tmp_path, where, text)) == []


def test_a_wrong_folder_is_an_error_and_no_silent_success(law: ModuleType, tmp_path: Path) -> None:
    assert law.main(tmp_path) == 2
