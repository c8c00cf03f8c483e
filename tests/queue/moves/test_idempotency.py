"""Requests with idempotency keys are stored once, and share commits without failing each other."""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterable, Iterator
from concurrent.futures import Future
from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest
from django.db import OperationalError, connection

from tasks_app.db.lookups import pairs_in
from tasks_app.queue import idempotency as module
from tasks_app.queue import maintenance
from tasks_app.queue.cancel import delete
from tasks_app.queue.current import store
from tasks_app.queue.maintenance import forget_idempotency_keys
from tasks_app.queue.models import IdempotencyKey as Row
from tasks_app.queue.models import Task
from tasks_app.queue.submission import (
    IdempotencyKey,
    KeyReused,
    KeysContended,
    NewTask,
    RequestName,
    Submission,
    Submitted,
    TaskOptions,
)
from tasks_app.queue.submit import GroupCommit, submit_now
from tests.queue.moves.kit import close, submit_later, total

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def mine() -> Iterator[GroupCommit]:
    one = GroupCommit()
    yield one
    close(one)


def keyed(key: str, *types: str, meaning: str = "f", owner: int = 0, unique: str | None = None) -> Submission:
    options = TaskOptions(unique_key=unique) if unique else None
    new = [NewTask(name, {}, 50, options) for name in types or ("echo",)]
    return Submission(new, IdempotencyKey(owner, key, meaning))


def test_a_request_that_comes_again_is_answered_as_the_first_and_stores_nothing(mine: GroupCommit) -> None:
    first = mine.submit(keyed("k", "echo", "prime"))
    again = mine.submit(keyed("k", "echo", "prime"))
    assert again == first._replace(replayed=True) and not first.replayed
    assert set(Task.objects.values_list("pk", flat=True)) == set(first.ids)
    assert total("received") == 2
    delete(first.ids[0])
    assert mine.submit(keyed("k", "echo", "prime")) == again


def test_another_request_with_the_key_is_refused_and_names_the_first_task(mine: GroupCommit) -> None:
    first = mine.submit(keyed("k"))
    with pytest.raises(KeyReused) as refused:
        mine.submit(keyed("k", meaning="other"))
    assert refused.value.task == first.ids[0]
    assert Task.objects.count() == 1


def test_another_api_key_has_its_own_keys(mine: GroupCommit) -> None:
    assert mine.submit(keyed("k", owner=1)).ids != mine.submit(keyed("k", owner=2)).ids


def test_a_key_past_its_time_counts_as_new(mine: GroupCommit) -> None:
    first = mine.submit(keyed("k"))
    Row.objects.update(expires_at=Row.objects.get().expires_at - timedelta(days=2))
    second = mine.submit(keyed("k", meaning="other"))
    assert second.ids != first.ids and not second.replayed
    assert Row.objects.get().task_ids == [str(each) for each in second.ids]


def test_keys_past_their_time_are_forgotten(mine: GroupCommit) -> None:
    for key in "abc":
        mine.submit(keyed(key))
    assert forget_idempotency_keys() == 0
    past = Row.objects.first().expires_at - timedelta(days=2)  # type: ignore[union-attr]
    Row.objects.exclude(key="b").update(expires_at=past)
    assert forget_idempotency_keys() == 2
    assert Row.objects.get().key == "b"


def test_one_call_forgets_several_batches_until_its_time_is_up(monkeypatch: pytest.MonkeyPatch) -> None:
    batch = maintenance.FORGOTTEN_PER_TRANSACTION
    Row.objects.bulk_create(
        Row(owner=0, key=str(n), meaning="f", task_ids=[], expires_at="2001-01-01T00:00Z") for n in range(3 * batch + 7)
    )
    with monkeypatch.context() as slow:
        slow.setattr(maintenance, "MAX_SECONDS", 0.0)
        assert forget_idempotency_keys() == batch
    assert forget_idempotency_keys() == 2 * batch + 7


def test_what_a_key_answers_includes_the_tasks_that_existed(mine: GroupCommit) -> None:
    living = mine.submit(Submission([NewTask("echo", {}, 50, TaskOptions(unique_key="u"))]))
    assert living.existing == [False]
    first = mine.submit(keyed("k", unique="u"))
    assert first == Submitted(living.ids, [True])
    Task.objects.all().delete()
    assert mine.submit(keyed("k", unique="u")) == Submitted(living.ids, [True], replayed=True)


def test_requests_of_one_commit_with_one_key_are_one(mine: GroupCommit) -> None:
    with store().writing():  # on PostgreSQL the reservation of the first waits, so the others join the second commit
        Row.objects.create(owner=0, key="first", meaning="f", task_ids=["x"], expires_at="2999-01-01T00:00Z")
        waiting: list[Future[Submitted]] = [submit_later(mine, keyed("k", "echo"))]
        waiting += [submit_later(mine, keyed("k", "echo")) for _ in range(5)]
        waiting.append(submit_later(mine, keyed("k", "echo", meaning="other")))
    outcomes = [each.result(30) for each in waiting[:-1]]
    assert len({each.ids[0] for each in outcomes}) == 1
    assert sorted(each.replayed for each in outcomes) == [False] + [True] * 5
    with pytest.raises(KeyReused):
        waiting[-1].result(30)
    assert Task.objects.count() == 1


def test_a_failure_to_look_at_known_keys_leaves_the_new_ones_of_the_same_commit_stored_and_notified(
    mine: GroupCommit, monkeypatch: pytest.MonkeyPatch
) -> None:
    module, notified = sys.modules[GroupCommit.__module__], threading.Event()
    mine.submit(keyed("known"))

    def fail(_: Any) -> Any:
        raise OperationalError("the connection is lost")

    with monkeypatch.context() as failing:
        failing.setattr(module, "store_group", fail)
        failing.setattr(module, "notify_for", lambda tasks: notified.set() if tasks else None)
        with store().writing():  # on PostgreSQL the first waits for this key, so the others join the second commit
            Row.objects.create(owner=0, key="held", meaning="f", task_ids=["x"], expires_at="2999-01-01T00:00Z")
            held = submit_later(mine, keyed("held"))
            known, new = (submit_later(mine, keyed(key, kind)) for key, kind in (("known", "a"), ("new", "b")))
        assert new.result(30) == Submitted(list(Task.objects.filter(task_type="b").values_list("pk", flat=True)))
        for each in (held, known):
            with pytest.raises(OperationalError):
                each.result(30)
        assert notified.is_set()
    assert mine.submit(keyed("known")).replayed


def test_a_plain_task_does_not_wait_for_a_key(mine: GroupCommit) -> None:
    if store().single_writer:
        pytest.skip("one writer at a time")
    with store().writing():
        Row.objects.create(owner=0, key="k", meaning="f", task_ids=[], expires_at="2999-01-01T00:00Z")
        held = submit_later(mine, keyed("k"))
        assert submit_later(mine, Submission([NewTask("echo")])).result(30)
        assert not held.done()
        Row.objects.update(task_ids=[str(UUID(int=7))])
    assert held.result(30) == Submitted([UUID(int=7)], None, replayed=True)


@pytest.mark.parametrize("unique", [False, True])
def test_transactions_with_the_same_keys_in_another_order_neither_deadlock_nor_fail(unique: bool) -> None:
    keys = [f"k{n}" for n in range(200)]
    orders = [keys, keys[::-1], keys[100:] + keys[:100], keys[::2] + keys[1::2]]
    lanes = [GroupCommit() for _ in orders]

    def name(key: str) -> str | None:
        return f"u{hash(key) % 7}" if unique else None

    try:
        for _ in range(3):
            Row.objects.all().delete()
            Task.objects.all().delete()
            with store().writing():  # each thread waits for this key, so all other keys share its next commit
                Row.objects.create(owner=0, key="held", meaning="f", task_ids=[], expires_at="2999-01-01T00:00Z")
                for lane in lanes:
                    submit_later(lane, keyed("held"))
                waiting = [
                    {key: submit_later(lane, keyed(key, unique=name(key))) for key in order}
                    for lane, order in zip(lanes, orders, strict=True)
                ]
                Row.objects.filter(key="held").update(task_ids=[str(UUID(int=7))])
            found = [{key: each.result(60).ids[0] for key, each in of_lane.items()} for of_lane in waiting]
            assert all(each == found[0] for each in found)
            assert Task.objects.count() == len({hash(key) % 7 for key in keys} if unique else keys)
    finally:
        for lane in lanes:
            close(lane)


def test_a_key_whose_earlier_request_was_undone_is_new(mine: GroupCommit) -> None:
    begun, end = threading.Event(), threading.Event()

    def other() -> None:
        try:
            with store().writing():
                Row.objects.create(owner=0, key="k", meaning="f", task_ids=[], expires_at="2999-01-01T00:00Z")
                begun.set()
                assert end.wait(30)
                raise RuntimeError
        except RuntimeError:
            pass
        finally:
            connection.close()

    thread = threading.Thread(target=other)
    thread.start()
    assert begun.wait(30)
    waiting = submit_later(mine, keyed("k"))
    end.set()
    thread.join()
    assert not waiting.result(30).replayed
    assert Task.objects.count() == 1


def test_keys_that_vanish_again_and_again_are_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    submit_now(keyed("k", meaning="other"))
    Row.objects.update(expires_at="2001-01-01T00:00Z")
    monkeypatch.setattr(Row.objects.all().__class__, "delete", lambda *_: (0, {}))
    with pytest.raises(KeysContended):
        submit_now(keyed("k"))
    assert module.MAX_ROUNDS == 8
    assert Task.objects.count() == 1


def test_a_key_that_is_removed_between_insert_and_read_is_inserted_while_no_other_is_held(
    mine: GroupCommit, monkeypatch: pytest.MonkeyPatch
) -> None:
    for key in "ab":
        submit_now(keyed(key, meaning="other"))
    Row.objects.update(expires_at="2001-01-01T00:00Z")
    groups: list[list[str]] = []

    def removing(first: str, second: str, names: Iterable[RequestName]) -> Any:
        if not groups:
            Row.objects.filter(key="a").delete()  # as a node does that forgets it
        groups.append(sorted(key for _, key in names))
        return pairs_in(first, second, names)

    monkeypatch.setattr(module, "pairs_in", removing)
    with store().writing():
        submitted = [submit_later(mine, keyed(key)) for key in "ab"]
    assert not any(each.result(30).replayed for each in submitted)
    assert Task.objects.count() == 4
    assert all(len(group) == 1 for group in groups[1:]), groups


def test_positions_follow_the_order_of_the_requests_whatever_their_keys(mine: GroupCommit) -> None:
    with store().writing():
        submitted = [submit_later(mine, keyed(key)) for key in "dacb"]
    ids = [each.result(30).ids[0] for each in submitted]
    assert list(Task.objects.order_by("position").values_list("pk", flat=True)) == ids
