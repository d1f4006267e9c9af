"""The contract of a store, held by the store in memory: both kinds, on a clock of ours and on the real one."""

from __future__ import annotations

import pytest

from locklib.stores.memory import AsyncMemoryLockStore, MemoryLockStore
from locklib.testing import AdversaryStore, AsyncAdversaryStore, StoreContract
from locklib.testing.kit import FakeClock


class TestMemory(StoreContract):
    @pytest.fixture
    def clock(self):
        return FakeClock()

    @pytest.fixture
    def store(self, clock):
        return MemoryLockStore(clock=clock)


class TestAsyncMemory(TestMemory):
    @pytest.fixture
    def store(self, clock):
        return AsyncMemoryLockStore(clock=clock)


class TestMemoryOnTheRealClock(StoreContract):
    @pytest.fixture
    def store(self):
        return MemoryLockStore()


class TestAsyncTwinOfASyncStore(StoreContract):
    @pytest.fixture
    def store(self):
        return MemoryLockStore().as_async()


class TestMemoryUnderAnAdversary(TestMemory):
    """Each step is run on a guess, then twice: whatever the contract's steps mean must not depend on that."""

    @pytest.fixture
    def store(self, clock):
        return AdversaryStore(MemoryLockStore(clock=clock), linger=0.0005)


class TestAsyncMemoryUnderAnAdversary(TestMemory):
    one_loop = True

    @pytest.fixture
    def store(self, clock):
        return AsyncAdversaryStore(AsyncMemoryLockStore(clock=clock), guess=False)
