"""The contract of a store, held by the store on SQLite: both kinds, on a clock of ours and on the host's."""

from __future__ import annotations

import pytest

from locklib.stores.sqlite import AsyncSqliteLockStore, SqliteLockStore
from locklib.testing import AdversaryStore, StoreContract
from locklib.testing.kit import FakeClock


class TestSqlite(StoreContract):
    @pytest.fixture
    def clock(self):
        return FakeClock()

    @pytest.fixture
    def store(self, clock, tmp_path):
        return SqliteLockStore(tmp_path / "locks.db", clock=clock)


class TestAsyncSqlite(TestSqlite):
    @pytest.fixture
    def store(self, clock, tmp_path):
        return AsyncSqliteLockStore(tmp_path / "locks.db", clock=clock)


class TestSqliteOnTheHostsClock(StoreContract):
    @pytest.fixture
    def store(self, tmp_path):
        return SqliteLockStore(tmp_path / "locks.db")


class TestAsyncTwinOfASyncStore(StoreContract):
    @pytest.fixture
    def store(self, tmp_path):
        return SqliteLockStore(tmp_path / "locks.db").as_async()


class TestSqliteUnderAnAdversary(TestSqlite):
    """Each step is run on a guess, then twice: whatever the contract's steps mean must not depend on that."""

    @pytest.fixture
    def store(self, clock, tmp_path):
        return AdversaryStore(SqliteLockStore(tmp_path / "locks.db", clock=clock), linger=0.0005)
