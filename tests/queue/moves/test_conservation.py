"""Whatever order the verbs are called in, no task is lost, none ends twice, and the counters agree."""

from __future__ import annotations

import sys
from collections import Counter
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis.stateful import invariant, run_state_machine_as_test

from tasks_app.metrics.reading import read
from tasks_app.queue.claim import still_held
from tasks_app.queue.models import Attempt, Task
from testkit.sizes import size
from tests.queue.moves.verbs import NODES, Verbs

pytestmark = pytest.mark.long("random moves", seconds=30)


class Conserved(Verbs):
    """After each verb the rows, attempts and counters equal the model's; and once more when all tasks have ended."""

    def teardown(self) -> None:
        if sys.exc_info()[0] is None:  # otherwise it would hide a failed invariant
            self.run_out()
            self.rows_are_what_the_model_says()
            self.attempts_have_no_gap()
            self.the_counters_account_for_every_task()
            self.each_node_holds_what_it_claimed()

    @invariant()
    def rows_are_what_the_model_says(self) -> None:
        found = {
            str(row["pk"]): row
            for row in Task.objects.values(
                "pk", "status", "attempts", "retries", "failure_reason", "node", "due", "completed_at", "result"
            )
        }
        assert found.keys() == self.tasks.keys()
        for key, task in self.tasks.items():
            row = found[key]
            seen = (row["status"], row["attempts"], row["retries"], row["failure_reason"], row["node"])
            assert seen == (task.status, task.attempts, task.retries, task.reason, task.node)
            assert (row["due"] is not None) == task.waits
            assert (row["completed_at"] is not None) == (task.status in ("completed", "failed"))
            # One final transition for each life.
            assert task.ends == task.lives - (task.status not in ("completed", "failed"))

    @invariant()
    def attempts_have_no_gap(self) -> None:
        tries: dict[str, list[tuple[int, str]]] = {key: [] for key in self.tasks}
        for of, number, outcome in Attempt.objects.order_by("number").values_list("task_id", "number", "outcome"):
            tries[str(of)].append((number, outcome))
        for key, task in self.tasks.items():
            assert tries[key] == list(enumerate(task.tries, start=1))
            assert len(task.tries) == task.attempts - (task.status == "processing")

    @invariant()
    def the_counters_account_for_every_task(self) -> None:
        sums, now = read().totals, Counter(task.status for task in self.tasks.values())
        completed = sums.sum("completed") - deleted(sums, "completed")
        failed = sums.sum("failed") - sums.sum("redriven") - deleted(sums, "failed")
        assert (completed, failed) == (now["completed"], now["failed"])
        assert sums.sum("received") == self.totals["received"]
        assert sums.sum("deleted") == self.totals["deleted"]
        assert sums.sum("received") == (now["pending"] + now["processing"] + completed + failed + sums.sum("deleted"))
        ends = sum(task.ends for task in self.tasks.values()) + self.totals["ends deleted"]
        assert sums.sum("completed") + sums.sum("failed") == ends
        lives = sum(task.lives - 1 for task in self.tasks.values()) + self.totals["lives deleted"]
        assert sums.sum("redriven") == lives
        tries = sum(len(task.tries) for task in self.tasks.values()) + self.totals["tries deleted"]
        assert sums.sum("attempts") == tries
        assert sums.sum("stale") == self.totals["stale"]

    @invariant()
    def each_node_holds_what_it_claimed(self) -> None:
        for node in NODES:
            assert still_held(node, self.tasks) == {(k, t.attempts) for k, t in self.tasks.items() if t.node == node}


def deleted(sums: Any, status: str) -> int:
    return sum(value for labels, value in sums.by("deleted").items() if labels[1] == status)


@pytest.mark.django_db
@pytest.mark.timeout(size(300, large=36_000))
def test_no_task_is_lost_and_none_ends_twice_whatever_the_verbs_do() -> None:
    run_state_machine_as_test(
        Conserved,
        settings=settings(
            # Each example leaves out some verbs, but never the settle (see `settle_every_outcome` and `run_out`).
            max_examples=size(20, large=1000),
            stateful_step_count=size(40, large=100),
            deadline=None,
            database=None,
            # No shrinking: it takes minutes on a database. A failure prints the steps that led to it.
            phases=[Phase.explicit, Phase.generate],
            suppress_health_check=list(HealthCheck),
        ),
    )
