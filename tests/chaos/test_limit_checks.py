"""The checks of limits find what exceeds them, and nothing else."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from tests.chaos.correct_run import attempt, executed, line, row
from tests.chaos.evidence import Evidence
from tests.chaos.limit_checks import brought_about, limit_faults, repair_faults
from tests.chaos.limits import CHANGES, LIMITED, LIMITS, InForce, Sample, changed
from tests.chaos.outages import Outages

Spans = dict[str, tuple[str, float, float]]
#: A key, and from when to when its task ran.
IN_TURN: Spans = {"a": ("ada", 20.0, 21.0), "b": ("ada", 21.2, 22.0), "c": ("bob", 20.5, 21.5)}


def run(spans: Spans, *samples: Sample, selection: str = "fifo", **fields: Any) -> Evidence:
    """Tasks posted one after another, each of which ran once."""
    journal, events = [], []
    for n, (task, (key, begun, over)) in enumerate(spans.items()):
        journal.append(line("post", 10.0 + n, n=n, type=LIMITED, limit_key=key, data={"n": n}))
        journal.append(line("accepted", 10.5 + n, n=n, task=task))
        events += executed(task, 1, begun, over)
    return Evidence(
        journal, events,
        tasks={task: row(task, n, "slow", task_type=LIMITED) for n, task in enumerate(spans)},
        attempts={task: [attempt(1, "success", begun, over + 0.1)] for task, (_, begun, over) in spans.items()},
        budget={LIMITED: 5}, selection=selection, outages=Outages([], recovery=0.0),
        limits=InForce(list(samples or (Sample(0.0, 100.0, 3, 1, 0.1),))), **fields,
    )  # fmt: skip


def test_tasks_of_a_key_one_after_another_are_in_order() -> None:
    evidence = run(IN_TURN)
    assert list(limit_faults(evidence)) == []
    assert brought_about(evidence)["starts at max_running_per_key"] == 3


def test_two_tasks_of_a_key_at_once_are_found() -> None:
    [found] = limit_faults(run(IN_TURN | {"b": ("ada", 20.9, 22.0)}))
    assert found.startswith("2 tasks of the key ada ran at once, of at most 1: a (attempt 1")


def test_more_tasks_at_once_than_max_running_are_found() -> None:
    found = list(limit_faults(run(IN_TURN, Sample(0.0, 100.0, 1, 1, 0.1))))
    assert [each[:34] for each in found] == ["2 tasks ran at once, of at most 1:"] * 2


def test_a_limit_counts_once_it_has_been_in_force_for_as_long_as_a_change_takes() -> None:
    twice = IN_TURN | {"b": ("ada", 20.9, 22.0)}
    assert not list(limit_faults(run(twice, Sample(0.0, 17.0, 3, 2, 0.1), Sample(17.1, 100.0, 3, 1, 0.1))))
    assert list(limit_faults(run(twice, Sample(0.0, 10.0, 3, 2, 0.1), Sample(10.1, 15.0, 3, 1, 0.1),
                                 Sample(15.1, 100.0, 3, 1, 0.1))))  # fmt: skip


def test_starts_that_follow_each_other_faster_than_the_rate_are_found() -> None:
    [found] = limit_faults(run(IN_TURN, Sample(0.0, 100.0, 3, 1, 0.6)))
    assert "0.500 s apart, at least 0.6 by rate" in found


def test_a_task_that_overtakes_one_of_its_key_is_found() -> None:
    [found] = limit_faults(run({"a": ("ada", 22.5, 23.0), "b": ("ada", 20.0, 21.0)}))
    assert found.startswith("of the key ada b was claimed 2.500 s before a, which was accepted 0.500 s before")
    urgent = run({"a": ("ada", 22.5, 23.0), "b": ("ada", 20.0, 21.0)}, selection="priority")
    urgent.tasks["b"]["priority"] = 100
    assert list(limit_faults(urgent)) == []


def test_a_claim_that_a_crash_of_the_database_undid_is_not_counted() -> None:
    evidence = run(IN_TURN | {"b": ("ada", 20.9, 22.0)})
    assert not list(limit_faults(replace(evidence, crashes=[(20.8, 21.0)])))


def test_a_repair_is_a_fault_unless_a_hurt_node_explains_it() -> None:
    mended, ran_out = (
        "[warning] mended the permits of tasks that another",
        "[warning] the permit of an attempt has run out",
    )
    assert len(list(repair_faults([mended, ran_out], nodes_were_hurt=False))) == 2
    assert len(list(repair_faults([mended, ran_out], nodes_were_hurt=True))) == 1


def test_each_change_of_limits_changes_the_file() -> None:
    whole = "\n".join([f"[handlers.{LIMITED}]", *(f"{key} = {value}" for key, value in LIMITS.items()), ""])
    for change in CHANGES:
        text = changed(whole, change)
        assert all((f"\n{key} = {value}\n" in text) == (value is not None) for key, value in change.items())
        assert changed(text, LIMITS | {}) == whole or None in change.values()
