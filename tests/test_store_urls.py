"""A store by its URL: which there are, what is said of any other, and which store a shell need not shield."""

from __future__ import annotations

import importlib
import re

import pytest

from locklib.asgi import LockMiddleware as AsgiMiddleware
from locklib.errors import ConfigurationError
from locklib.stores.base import is_async
from locklib.stores.memory import AsyncMemoryLockStore, MemoryLockStore
from locklib.wiring import open_store
from locklib.wsgi import LockMiddleware as WsgiMiddleware


def application(*_):
    return []


@pytest.mark.parametrize("asynchronous", [False, True], ids=["wsgi", "asgi"])
@pytest.mark.parametrize("url", [None, "memory://"])
def test_memory_in_the_kind_that_the_shell_needs(url, asynchronous):
    store = open_store(url, asynchronous=asynchronous)
    assert type(store) is (AsyncMemoryLockStore if asynchronous else MemoryLockStore)


@pytest.mark.parametrize("asynchronous", [False, True], ids=["wsgi", "asgi"])
@pytest.mark.parametrize("absolute", [False, True], ids=["relative", "absolute"])
def test_sqlite_in_the_kind_that_the_shell_needs(absolute, asynchronous, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    url = f"sqlite:///{tmp_path}/locks.db" if absolute else "sqlite:///locks.db"
    shell = (AsgiMiddleware if asynchronous else WsgiMiddleware)(application, store=url)
    module = importlib.import_module("locklib.stores.sqlite")
    assert type(shell.store) is (module.AsyncSqliteLockStore if asynchronous else module.SqliteLockStore)
    assert is_async(shell.store) is asynchronous


WRONG = (
    "nonsense://",
    "memory:",
    "memory://here",
    "sqlite://locks.db",
    "sqlite:locks.db",
    "locks.db",
    "redis://cache/0",
)


@pytest.mark.parametrize("url", WRONG)
@pytest.mark.parametrize("shell", [AsgiMiddleware, WsgiMiddleware], ids=["asgi", "wsgi"])
def test_another_url_is_refused_with_those_that_are_known(shell, url):
    with pytest.raises(ConfigurationError) as caught:
        shell(application, store=url)
    assert all(known in str(caught.value) for known in (url, "memory://", "sqlite:///", "sqlite:////"))


def test_t12_a_password_in_a_url_is_not_shown():
    with pytest.raises(ConfigurationError, match=re.escape("redis:...")) as caught:
        open_store("redis://anna:secret@cache/0", asynchronous=True)
    assert "secret" not in str(caught.value)


def test_which_store_a_shell_need_not_shield():
    assert AsyncMemoryLockStore.never_waits is True
    assert not hasattr(MemoryLockStore, "never_waits")  # sync code is not cancelled
