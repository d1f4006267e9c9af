"""The contract is worth what it catches: each fault planted here in the store in memory fails the test that names it.

And the store without a fault passes each of those tests, so that none of them fails for another reason.
"""

from __future__ import annotations

import contextlib
import inspect
import itertools
import time
from functools import partial

import pytest
from hypothesis import Phase, settings

import locklib.testing
from locklib.core.model import Depth, Done, Ended, Outcome, Page, Purpose, Query, Snapshot, Tombstone, replace
from locklib.stores import common
from locklib.stores.memory import AsyncMemoryLockStore, MemoryLockStore, board, remains, store, table
from locklib.stores.memory import tree as trees
from locklib.stores.memory.board import Board
from locklib.stores.memory.remains import Graves, Queue
from locklib.stores.memory.store import Memory
from locklib.stores.memory.table import Table
from locklib.stores.memory.tree import Tree
from locklib.testing import StoreContract, adversary
from locklib.testing.kit import FakeClock, Kit


def wrapped(owner, name, wrapper):
    """A fault that puts `wrapper(original, *args)` in the place of `owner.name`."""

    def plant(monkeypatch):
        original = getattr(owner, name)
        monkeypatch.setattr(owner, name, lambda *args: wrapper(original, *args))

    return plant


def replaced(owner, name, value):
    return lambda monkeypatch: monkeypatch.setattr(owner, name, value)


def snapshots(change):
    """A fault in what is shown: `change(snapshot, query)` in the place of the snapshot."""
    return wrapped(Table, "look", lambda look, self, query, now, fence: change(look(self, query, now, fence), query))


def only(test):
    """A fault in which rows are shown: those for which `test(held, query)` holds."""
    return snapshots(
        lambda shown, query: replace(shown, locks=tuple(held for held in shown.locks if test(held, query)))
    )


# -- the unit is not atomic ---------------------------------------------------------------------------------------


def _no_mutex(monkeypatch):
    def transact(self, query, step):
        self.mutex, self.busy = contextlib.nullcontext(), False
        return original(self, query, step)

    original = Memory.transact
    monkeypatch.setattr(Memory, "transact", transact)


def _an_error_takes_rows_with_it(run, self, query, step):
    try:
        return run(self, query, step)
    except adversary.Disturbance:
        space = self.tables[query.namespace]
        for token in list(space.rows):
            space.drop(token)
        raise


def _half_carried_out(monkeypatch):
    def put(self, put, now, fence):
        if put.lasts != put.lasts:
            raise locklib.errors.LockError("a life of nan seconds")
        return original(self, put, now, fence)

    def refuse(query, outcome):
        if not query.writes:
            raise locklib.errors.LockError("writes=False")

    original = Table.put
    monkeypatch.setattr(Table, "put", put)
    monkeypatch.setattr(store, "refuse_unfit", refuse)


# -- claims and permits -------------------------------------------------------------------------------------------


def _claim_published_after_the_look(monkeypatch):
    def claimed(self, query, step):
        return self._run(query, step)

    def transact(self, query, step):
        done = original(self, query, step)
        if done.permit is not None:
            time.sleep(0.002)
            self.board.publish(done.permit)
        return done

    original = Memory.transact
    monkeypatch.setattr(Memory, "_claimed", claimed)
    monkeypatch.setattr(Memory, "transact", transact)


def _claim_left_behind_by_an_error(self, query, step):
    if query.claim is not None:
        self.board.publish(query.claim)
    done = self._run(query, step)
    if query.claim is not None and done.permit is None:
        self.board.end(query.claim)
    return done


def _claim_never_withdrawn(self, query, step):
    if query.claim is not None:
        self.board.publish(query.claim)
    return self._run(query, step)


def _claim_reported_but_ended(claimed, self, query, step):
    done = claimed(self, query, step)
    if query.claim is not None:
        self.board.end(query.claim)
    return done


def _near_says_no_too_early(near, self, key, tree=False):
    return near(self, key, tree) if self.at(key) or tree else any(lock.key == key for lock in self.covering(key))


def _gates(change):
    """Plant a fault in the gate of the store: `change` makes another of its near, enter and leave."""

    def plant(monkeypatch):
        original = store._gate
        monkeypatch.setattr(
            store,
            "_gate",
            lambda memory, namespace: change(original(memory, namespace), partial(memory.board.claim_now, namespace)),
        )

    return plant


def _gate_looks_first(gate, publish):
    def enter(key, tree):
        if gate.near(key, tree):
            return None
        time.sleep(0.002)
        return publish(key, tree)

    return gate._replace(enter=enter)


def _gate_leaves_what_it_refuses(gate, publish):
    def enter(key, tree):
        claim = gate.enter(key, tree)
        if claim is None:
            publish(key, tree)
        return claim

    return gate._replace(enter=enter)


# -- rows ---------------------------------------------------------------------------------------------------------


def _ignored_but_not_removed(self, lock, now):
    """The law of expiry broken: the row is passed over and stays."""


def _moved_but_left_in_its_old_place(self, lock, old):
    self.rows[lock.token] = lock
    self.tree.add(lock)
    self.calendar.add(lock)
    if old is not None:
        self.calendar.remove(old)
        self._strike(old.creator)


def _refresh_is_a_grant(put, self, order, now, fence):
    return put(self, replace(order, grant=True), now, fence)


def _refresh_adds_to_what_is_left(put, self, order, now, fence):
    old = self.rows.get(order.lock.token)
    return put(self, order if old is None else replace(order, lasts=min(order.lasts, old.expires_at - now)), now, fence)


def _one_fence_for_all(put, self, order, now, fence):
    return put(self, order, now, 1)


def _fence_by_the_second(put, self, order, now, fence):
    return put(self, order, now, int(now))


def _under_by_first_letters(self, order):
    doomed = [lock.token for lock in self.rows.values() if lock.key.startswith(order.key)]
    for token in doomed:
        self.drop(token)


def _batch_of_a_hundred_and_no_more(drop_under, self, order):
    spared = [lock for lock in self.rows.values() if lock.key.startswith("/a/")][100:]
    drop_under(self, order)
    for lock in spared:
        self._enlist(lock.creator)
        self._enter(lock, None)


def _patterned(self, order):
    """A key taken for a LIKE pattern: % and _ are jokers."""
    import re

    pattern = re.escape(order.key).replace("%", ".*").replace("_", ".")
    for lock in [lock for lock in self.rows.values() if re.fullmatch(pattern + "(/.*)?", lock.key, re.DOTALL)]:
        self.drop(lock.token)


def _folded(covering, self, key):
    return [lock for lock in covering(self, key) if lock.key != "/a"] + [
        lock for lock in covering(self, key.replace("/A", "/a")) if lock.key == "/a"
    ]


def _limited_by_locks(shown, query):
    if query.limit is None:
        return shown
    return replace(shown, locks=shown.locks[: query.limit], more=len(shown.locks) > query.limit)


def _after_is_included(look, self, query, now, fence):
    shown = look(self, query, now, fence)
    if query.page is None or query.page.after is None:
        return shown
    token = query.page.after[1]
    return look(self, replace(query, page=Page(query.page.limit), tokens=(token,)), now, fence)


def _pages_of_strings_by_segment(monkeypatch):
    def ordered(self, key, after=""):
        found = sorted(self.below(key), key=lambda rows: rows[0].key.split("/"))
        return (rows for rows in found if rows[0].key >= after)

    monkeypatch.setattr(Tree, "ordered", ordered)


def _one_namespace(run, self, query, step):
    return run(self, replace(query, namespace="all"), step)


# -- tombstones, tickets ------------------------------------------------------------------------------------------


def _pending_gets_a_stone(self, lock, now):
    self.drop(lock.token)
    self.graves.put(common.expired(lock), now)


def _no_stone_for_the_expired(self, lock, now):
    self.drop(lock.token)


def _tickets_by_name(shown, self, keys, now):
    return tuple(sorted(shown(self, keys, now), key=lambda ticket: ticket.id))


def _renewed_to_the_back(put, self, ticket, now):
    self.drop(ticket.id)
    put(self, ticket, now)


def _one_grave_for_all_creators(put, self, stone, now):
    put(self, replace(stone, creator=None), now)


def _renewal_publishes(self, permit):
    self.publish(permit)


FAULTS = {
    "no mutex: lost updates": (_no_mutex, "test_i2_no_foreign_change_between_read_and_commit"),
    "no mutex: two winners": (_no_mutex, "test_i1_one_of_many_gets_the_lock"),
    "a step that raises changes rows all the same": (
        wrapped(Memory, "_run", _an_error_takes_rows_with_it),
        "test_a_step_that_raises_changes_nothing",
    ),
    "half an outcome is carried out": (_half_carried_out, "test_a_step_that_cannot_be_carried_out_changes_nothing"),
    "reading queries may write": (
        replaced(store, "refuse_unfit", lambda query, outcome: None),
        "test_a_query_that_only_reads_cannot_change",
    ),
    "look, then publish": (_claim_published_after_the_look, "test_i7_of_a_writer_and_a_lock_one_sees_the_other"),
    "an error leaves the claim": (
        replaced(Memory, "_claimed", _claim_left_behind_by_an_error),
        "test_a_step_that_raises_changes_nothing",
    ),
    "a refusal leaves the claim": (
        replaced(Memory, "_claimed", _claim_never_withdrawn),
        "test_a_claim_stays_only_if_it_is_kept",
    ),
    "an admission ends the claim": (
        wrapped(Memory, "_claimed", _claim_reported_but_ended),
        "test_a_claim_stays_only_if_it_is_kept",
    ),
    "an expired row is shown": (
        replaced(Table, "_living", lambda self, locks, now: locks),
        "test_i3_a_lock_lives_as_long_as_it_was_given",
    ),
    "an expired row is ignored and stays": (
        replaced(Table, "expire", _ignored_but_not_removed),
        "test_an_expired_row_is_removed_by_who_meets_it",
    ),
    "no tombstone for the expired": (
        replaced(Table, "expire", _no_stone_for_the_expired),
        "test_an_expired_row_is_removed_by_who_meets_it",
    ),
    "a tombstone for the pending": (
        replaced(Table, "expire", _pending_gets_a_stone),
        "test_a_pending_lock_leaves_no_tombstone",
    ),
    "tombstones without a limit": (
        replaced(remains, "PER_CREATOR", 10**9),
        "test_tombstones_are_limited_per_creator",
    ),
    "one limit of tombstones for all": (
        wrapped(Graves, "put", _one_grave_for_all_creators),
        "test_tombstones_are_limited_per_creator",
    ),
    "tombstones for ever": (replaced(remains, "DAY", 1e12), "test_tombstones_are_kept_for_a_day"),
    "a lock that ends early": (
        wrapped(Table, "put", lambda put, self, order, now, fence: put(self, order, now - 0.01, fence)),
        "test_i3_a_lock_lives_as_long_as_it_was_given",
    ),
    "a refresh is a grant": (wrapped(Table, "put", _refresh_is_a_grant), "test_a_refresh_keeps_birth_and_fence"),
    "a refresh does not prolong": (
        wrapped(Table, "put", _refresh_adds_to_what_is_left),
        "test_a_refresh_keeps_birth_and_fence",
    ),
    "fences that stand still": (wrapped(Table, "put", _one_fence_for_all), "test_fences_grow_with_each_grant"),
    "fences by the clock": (wrapped(Table, "put", _fence_by_the_second), "test_i6_fences_of_many_threads_differ"),
    "drop_under ignores the fence": (
        wrapped(Table, "drop_under", lambda drop, self, order: drop(self, replace(order, up_to_fence=10**30))),
        "test_drop_under_keeps_what_was_granted_later",
    ),
    "drop_under goes by first letters": (
        replaced(Table, "drop_under", _under_by_first_letters),
        "test_drop_under_keeps_what_was_granted_later",
    ),
    "drop_under stops after a hundred": (
        wrapped(Table, "drop_under", _batch_of_a_hundred_and_no_more),
        "test_drop_under_keeps_what_was_granted_later",
    ),
    "drop_under takes a key for a pattern": (
        replaced(Table, "drop_under", _patterned),
        "test_t31_a_key_is_itself_and_no_other",
    ),
    "drop_under ignores the prefix": (
        replaced(table, "spelled_under", lambda root, prefix: True),
        "test_drop_under_keeps_other_spellings",
    ),
    "drop_under minds a trailing slash": (
        replaced(table, "spelled_under", lambda root, prefix: root == prefix),
        "test_drop_under_keeps_other_spellings",
    ),
    "letters of any case are one key": (
        wrapped(Tree, "covering", _folded),
        "test_t31_a_key_is_itself_and_no_other",
    ),
    "a moved row stays in its old place": (
        replaced(Table, "_enter", _moved_but_left_in_its_old_place),
        "test_a_put_of_a_known_token_replaces_the_row",
    ),
    "namespaces are one": (wrapped(Memory, "_run", _one_namespace), "test_namespaces_do_not_see_each_other"),
    "a limit counts locks": (
        snapshots(_limited_by_locks),
        "test_a_limit_does_not_hide_locks_behind_others_at_one_root",
    ),
    "there is never more": (snapshots(lambda shown, query: replace(shown, more=False)), "test_a_limit_counts_roots"),
    "there is always more": (snapshots(lambda shown, query: replace(shown, more=True)), "test_a_limit_counts_roots"),
    "a page begins with the last one": (
        wrapped(Table, "look", _after_is_included),
        "test_pages_give_each_lock_once_in_order",
    ),
    "pages go by segments": (_pages_of_strings_by_segment, "test_pages_go_by_strings_not_by_segments"),
    "a big level is sorted by its first chunk": (
        wrapped(trees, "_ascending", lambda ascending, *args: itertools.islice(ascending(*args), 256)),
        "test_pages_go_through_a_large_collection",
    ),
    "snapshots backwards": (
        snapshots(lambda shown, query: replace(shown, locks=shown.locks[::-1])),
        "test_snapshots_are_complete",
    ),
    "bearer locks are nobody's": (
        only(lambda held, query: query.not_creator is None or held.lock.creator is not None),
        "test_snapshots_are_complete",
    ),
    "a filter hides a lock asked for by token": (
        only(lambda held, query: query.purposes is None or held.lock.purpose in query.purposes),
        "test_snapshots_are_complete",
    ),
    "administrative locks are not shown": (
        only(lambda held, query: held.lock.purpose is not Purpose.ADMINISTRATIVE),
        "test_snapshots_are_complete",
    ),
    "only depth infinity counts above": (
        only(lambda held, query: held.lock.depth is Depth.INFINITY or held.lock.key in query.paths + query.trees),
        "test_depth_does_not_decide_what_is_shown",
    ),
    "the top is forgotten": (
        wrapped(Tree, "covering", lambda covering, self, key: [row for row in covering(self, key) if row.key != "/"]),
        "test_paths_show_the_lock_and_those_above_it",
    ),
    "below is one level deep": (
        wrapped(
            Tree,
            "below",
            lambda below, self, key: [
                rows for rows in below(self, key) if rows[0].key.count("/") <= key.count("/") + 1
            ],
        ),
        "test_trees_show_the_lock_and_those_below_it",
    ),
    "counts fall behind": (
        wrapped(Table, "_enlist", lambda enlist, self, creator: creator),
        "test_counts_are_upper_bounds",
    ),
    "tickets by name": (wrapped(Queue, "shown", _tickets_by_name), "test_tickets_stand_in_the_order_of_their_coming"),
    "renewing costs the place": (
        wrapped(Queue, "put", _renewed_to_the_back),
        "test_tickets_stand_in_the_order_of_their_coming",
    ),
    "tickets for ever": (
        wrapped(Queue, "shown", lambda shown, self, keys, now: shown(self, keys, 0.0)),
        "test_a_ticket_that_is_not_renewed_runs_out",
    ),
    "older looks at exact keys": (
        replaced(board, "may_touch", lambda permit, lock: lock.key in permit.keys),
        "test_a_lock_meets_the_permits_in_its_reach",
    ),
    "older minds no namespace": (
        wrapped(
            Board, "older", lambda older, self, namespace, lock: tuple(entry[0][0] for entry in self.entries.values())
        ),
        "test_a_permit_is_seen_until_it_ends",
    ),
    "permits without a deadline": (
        wrapped(Board, "publish", lambda publish, self, permit: publish(self, replace(permit, lasts=1e9))),
        "test_i9_a_permit_ends_at_its_deadline",
    ),
    "a renewal does nothing": (
        replaced(Board, "renew", lambda self, permit: None),
        "test_i9_a_permit_ends_at_its_deadline",
    ),
    "a renewal brings a permit back": (
        replaced(Board, "renew", _renewal_publishes),
        "test_a_renewal_does_not_bring_a_permit_back",
    ),
    "a claim of now is without membership": (
        replaced(board, "parent", lambda key: None),
        "test_a_claim_of_now_is_a_permit",
    ),
    "a claim of now is not shown": (
        replaced(Board, "_claimed", lambda self, namespace: ()),
        "test_i7_of_a_writer_and_a_lock_one_sees_the_other",
    ),
    "near does not look below": (
        wrapped(Tree, "near", lambda near, self, key, tree=False: near(self, key)),
        "test_near_agrees_with_the_general_way",
    ),
    "near stops too early": (
        wrapped(Tree, "near", _near_says_no_too_early),
        "test_near_agrees_with_the_general_way",
    ),
    "a gate looks, then publishes": (
        _gates(_gate_looks_first),
        "test_i7_of_a_writer_and_a_lock_one_sees_the_other",
    ),
    "a gate keeps what it refuses": (
        _gates(_gate_leaves_what_it_refuses),
        "test_a_gate_says_what_the_three_words_say",
    ),
    "a gate does not look below": (
        _gates(lambda gate, _: gate._replace(near=lambda key, tree: gate.near(key, False))),
        "test_a_gate_says_what_the_three_words_say",
    ),
    "a gate is left by nobody": (
        _gates(lambda gate, _: gate._replace(leave=lambda claim, _: None)),
        "test_a_gate_says_what_the_three_words_say",
    ),
    "near remembers what is gone": (
        replaced(trees, "_prune", lambda path, names: None),
        "test_near_forgets_what_is_gone",
    ),
}


settings.register_profile("planted faults", derandomize=True, phases=(Phase.explicit, Phase.generate))


@pytest.fixture(autouse=True)
def _the_same_examples_each_time():
    """A fault is caught or not; it must not be caught by luck. Nobody reads the examples, so none are shrunk."""
    before = settings.get_current_profile_name()
    settings.load_profile("planted faults")
    yield
    settings.load_profile(before)


def cases(test):
    """The arguments of a parametrised test of the contract, as pytest would give them."""
    marks = [mark.args for mark in getattr(test, "pytestmark", ()) if mark.name == "parametrize"]
    tables_ = []
    for given, rows, *_ in marks:
        names = [given] if isinstance(given, str) else list(given)
        tables_.append([dict(zip(names, row if len(names) > 1 else (row,), strict=True)) for row in rows])
    return [{key: value for part in parts for key, value in part.items()} for parts in itertools.product(*tables_)]


def play(name, kind=MemoryLockStore):
    """Run one test of the contract, with all its cases, against a new store."""
    test = getattr(StoreContract(), name)
    for case in cases(test):
        clock = FakeClock()
        kit = Kit(kind(clock=clock, processes="allow"), clock)
        try:
            test(kit, **case)
        finally:
            kit.close()


@pytest.mark.parametrize(("plant", "test"), FAULTS.values(), ids=FAULTS)
def test_a_planted_fault_is_caught(monkeypatch, plant, test):
    plant(monkeypatch)
    with pytest.raises((AssertionError, pytest.fail.Exception)):
        play(test)


@pytest.mark.parametrize("test", sorted({test for _, test in FAULTS.values()}))
@pytest.mark.parametrize("kind", [MemoryLockStore, AsyncMemoryLockStore])
def test_without_a_fault_nothing_is_caught(kind, test):
    play(test, kind)


def test_the_faults_reach_most_of_the_contract():
    tests = {name for name, _ in inspect.getmembers(StoreContract, inspect.isfunction) if name.startswith("test_")}
    named = {test for _, test in FAULTS.values()}
    assert named <= tests
    assert len(named) >= 0.6 * len(tests)


# -- the adversary itself -----------------------------------------------------------------------------------------


def count_runs(step_of):
    runs = []

    def step(snapshot):
        runs.append(snapshot)
        return Outcome(len(runs))

    return runs, step_of(step)


def test_twice_runs_a_step_twice_and_the_second_counts():
    runs, step = count_runs(adversary.twice)
    assert step(Snapshot(fence=1)).answer == 2
    assert runs == [Snapshot(fence=1)] * 2


def test_a_guess_that_raises_is_a_guess_that_missed():
    def step(snapshot):
        return Outcome(snapshot.tombstones[0].token)

    stone = Tombstone("t", "/a", "/a", None, Ended.BROKEN)
    assert adversary.twice(step, Snapshot())(Snapshot(tombstones=(stone,))).answer == "t"
    with pytest.raises(IndexError):
        adversary.twice(step)(Snapshot())


def test_an_error_of_ones_own_may_be_raised():
    runs, step = count_runs(lambda step: adversary.raising(step, KeyError("mine")))
    with pytest.raises(KeyError, match="mine"):
        step(Snapshot())
    assert len(runs) == 1


def test_a_recorder_remembers_what_it_was_shown():
    store = MemoryLockStore(processes="allow")
    recorder = adversary.Recorder(Outcome)
    done = store.transact(Query(paths=("/a",)), recorder)
    assert isinstance(done, Done)
    assert recorder.seen == [done.answer]


def test_together_counts_an_error_of_any_thread():
    def work(number):
        if number == 2:
            raise adversary.Disturbance("in a thread")
        return number

    assert adversary.together(2, work) == [0, 1]
    with pytest.raises(adversary.Disturbance, match="in a thread"):
        adversary.together(4, work)


def test_together_does_not_wait_for_ever():
    with pytest.raises(TimeoutError, match="2 threads"):
        adversary.together(2, lambda _: time.sleep(0.5), limit=0.05)


def test_a_contract_without_a_store_says_what_to_bring():
    with pytest.raises(NotImplementedError, match="`store` fixture"):
        inspect.unwrap(StoreContract.store._get_wrapped_function())(StoreContract())


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="has no attribute 'Nothing'"):
        _ = locklib.testing.Nothing
