"""From facts to reasons, as a table: no database, no clock."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest

from tasks_app.features.why.decide import Reason, as_text, decide
from tasks_app.features.why.facts import MAX_BEFORE, Ended, Facts, NodeFacts
from tasks_app.queue.models import FailureReason, Task
from tasks_app.queue.node_models import Drain, HandlerPause

AT = datetime(2026, 1, 31, 9, tzinfo=UTC)
PENDING = Facts(Task(status="pending"))
LATER = Facts(Task(status="pending", due_at=AT), due_in=90.0)
RUNNING = Facts(Task(status="processing", attempts=2, node="n", started_at=AT, timeout=30.0), ran_for=3.21)
BUSY = NodeFacts(4, 4, active=4, running=4)
FREE = NodeFacts(4, 4, active=3, running=3)
BOB, ALICE = Drain(AT, "bob", "new model"), Drain(AT, "alice")
BROKEN = NodeFacts(2, 0, problem="there is no image x")
STEADY = [Ended(2.0, 0.5 * n) for n in range(20)]


def queued(*nodes: NodeFacts, **more: Any) -> Facts:
    return replace(PENDING, nodes=nodes, living=len(nodes), **more)


def retried(error: str | None, budget: int | None = 3) -> Facts:
    task = Task(status="pending", due_at=AT, attempts=2, retries=2, max_retries=budget, last_error=error)
    return Facts(task, due_in=2.4, living=1)


def failed(reason: FailureReason, attempts: int = 3) -> Facts:
    task = Task(status="failed", attempts=attempts, failure_reason=reason.value, completed_at=AT)
    task.last_error = "no such file"
    return Facts(task)


CASES: list[tuple[str, Facts, list[str], str]] = [
    ("scheduled, nobody serves it yet", LATER, ["scheduled"], "it is scheduled to start in 90 s"),
    (
        "its time has come",
        replace(LATER, due_in=-0.5, living=1),
        ["scheduled"],
        "its time has come, which a worker notices within a second",
    ),
    (
        "its time has come and no worker lives",
        replace(LATER, due_in=-99.0),
        ["scheduled", "no_node"],
        "its time has come, which a worker notices within a second; no worker lives",
    ),
    (
        "retry without an error or a budget",
        retried(None, budget=None),
        ["retry"],
        "attempt 2 failed; it is tried again in 2.4 s",
    ),
    (
        "workers for others, unknown type",
        replace(PENDING, living=3, known=False),
        ["no_node"],
        "none of 3 workers serves its type, and this server's handlers.toml does not have it",
    ),
    (
        "broken here, busy there",
        queued(BROKEN, BUSY, before=3),
        ["cannot_start", "behind"],
        "2 of 6 containers cannot start: there is no image x; "
        "all 4 slots of its type are busy, and 3 tasks are before it",
    ),
    (
        "two problems",
        queued(BROKEN, replace(BROKEN, problem="a"), replace(BROKEN, problem="a")),
        ["cannot_start"],
        "its containers cannot start: a; there is no image x",
    ),
    (
        "a broken worker that stops does not count",
        queued(replace(BROKEN, draining=True), FREE),
        ["ready"],
        "nothing: a slot is free, so it starts within a second",
    ),
    (
        "starting",
        queued(NodeFacts(2, 0)),
        ["starting"],
        "the containers of its type are starting: none of 2 is ready",
    ),
    (
        "with an estimate",
        queued(BUSY, before=8, ended=STEADY),
        ["behind"],
        "all 4 slots of its type are busy, and 8 tasks are before it; it is likely to start in about 4.5 s",
    ),
    (
        "10,000 before it",
        queued(BUSY, before=MAX_BEFORE),
        ["behind"],
        "all 4 slots of its type are busy, and 10,000 tasks are before it",
    ),
    (
        "more",
        queued(BUSY, before=MAX_BEFORE + 1, ended=STEADY),
        ["behind"],
        "all 4 slots of its type are busy, and more than 10,000 tasks are before it",
    ),
    (
        "tasks before it, a slot just free",
        queued(FREE, before=2),
        ["behind"],
        "3 of 4 slots of its type are busy, and 2 tasks are before it",
    ),
    (
        "capped",
        queued(replace(FREE, cap=3), before=1),
        ["cap", "behind"],
        "the worker runs 3 tasks of all types at once, as many as DAEMON_WORKERS allows; "
        "3 of 4 slots of its type are busy, and 1 task is before it",
    ),
    (
        "one of two workers is capped",
        queued(replace(FREE, cap=3), replace(FREE, cap=4)),
        ["ready"],
        "nothing: a slot is free, so it starts within a second",
    ),
    (
        "one of two workers is capped, the other one's slots are busy",
        queued(replace(FREE, cap=3), BUSY, ended=STEADY),
        ["cap", "behind"],
        "1 of 2 workers runs 3 tasks of all types at once, as many as DAEMON_WORKERS allows; "
        "7 of 8 slots of its type are busy, and it is the next; it is likely to start in about 143 ms",
    ),
    (
        "the cap leaves room for one more",
        queued(NodeFacts(4, 4, active=1, running=3, cap=4)),
        ["ready"],
        "nothing: a slot is free, so it starts within a second",
    ),
    (
        "capped by other types, and nothing of its own runs",
        queued(NodeFacts(4, 4, active=0, running=3, cap=3), ended=STEADY),
        ["cap", "behind"],
        "the worker runs 3 tasks of all types at once, as many as DAEMON_WORKERS allows; "
        "0 of 4 slots of its type are busy, and it is the next",
    ),
    (
        "both are, and one has no container",
        queued(replace(FREE, cap=3), replace(FREE, cap=3), replace(BROKEN, cap=3)),
        ["cannot_start", "cap", "behind"],
        "2 of 10 containers cannot start: there is no image x; "
        "the 2 workers run 6 tasks of all types at once, as many as DAEMON_WORKERS allows; "
        "6 of 8 slots of its type are busy, and it is the next",
    ),
    (
        "paused",
        queued(BUSY, before=3, paused=HandlerPause(paused_by="alice", paused_at=AT)),
        ["paused"],
        "its type is paused by alice since 2026-01-31 09:00:00 UTC",
    ),
    (
        "paused until a moment, and no worker serves it",
        replace(
            PENDING, living=1, paused=HandlerPause(paused_by="al\nice", paused_at=AT, until=AT, reason="new\nmodel")
        ),
        ["paused", "no_node"],
        "its type is paused by al ice since 2026-01-31 09:00:00 UTC, until 2026-01-31 09:00:00 UTC "
        "(new model); the only worker does not serve its type",
    ),
    (
        "scheduled and paused",
        replace(LATER, living=1, paused=HandlerPause(paused_by="alice", paused_at=AT)),
        ["scheduled", "paused"],
        "it is scheduled to start in 90 s; its type is paused by alice since 2026-01-31 09:00:00 UTC",
    ),
    (
        "all its workers are drained",
        queued(replace(FREE, draining=True, drained=BOB), replace(FREE, draining=True, drained=ALICE)),
        ["no_node"],
        "the only workers that serve its type are drained by alice and bob (new model)",
    ),
    (
        "one is drained, one ends",
        queued(replace(FREE, draining=True, drained=BOB), replace(FREE, draining=True)),
        ["no_node"],
        "the only workers that serve its type are stopping, or are drained by bob (new model)",
    ),
    (
        "one of two is drained",
        queued(replace(FREE, draining=True, drained=BOB), FREE),
        ["ready"],
        "nothing: a slot is free, so it starts within a second",
    ),
    (
        "running while its type is paused",
        replace(RUNNING, paused=HandlerPause(paused_by="alice", paused_at=AT)),
        ["running"],
        "attempt 2 has been running for 3.2 s of at most 30 s on worker n",
    ),
    (
        "running on a worker that was killed",
        replace(RUNNING, living=1, node_lives=False),
        ["lost", "running"],
        "its worker n has ended; another one takes the task over; "
        "attempt 2 has been running for 3.2 s of at most 30 s on worker n",
    ),
    ("expired", failed(FailureReason.EXPIRED, 0), ["final"], "it failed: it was not started before it expired"),
]


@pytest.mark.parametrize("case", CASES, ids=[case[0] for case in CASES])
def test_the_reasons_of_these_facts(case: tuple[str, Facts, list[str], str]) -> None:
    _, facts, words, text = case
    found = decide(facts)
    assert (([str(each.reason) for each in found]), as_text(found)) == (words, text)


@pytest.mark.parametrize("reason", list(FailureReason))
def test_each_failure_has_words(reason: FailureReason) -> None:
    [found] = decide(failed(reason))
    said = found.sentence.removeprefix("it failed").removeprefix(" with attempt 3").removesuffix(" (no such file)")
    assert said.startswith(": it") and len(said) > 15
    assert (found.values["failure_reason"], found.values["attempts"]) == (reason.value, 3)


def only(facts: Facts) -> Reason:
    [found] = decide(facts)
    return found


def test_an_estimate_says_from_what_it_is_and_what_it_leaves_out() -> None:
    said = "the last 20 attempts of this type took 2.0 s on average; 4 slots"
    for order, more in (
        ("fifo", ""),
        ("lifo", "; newer tasks start first"),
        ("priority", "; tasks of higher priority start first"),
    ):
        values = only(queued(BUSY, before=8, ended=STEADY, order=order)).values
        assert (values["estimate_seconds"], values["estimate_from"]) == (4.5, said + more)


def test_under_a_cap_the_estimate_counts_the_slots_that_run_now() -> None:
    capped = decide(queued(NodeFacts(4, 4, active=1, running=2, cap=2), before=3, ended=STEADY))[1]
    assert capped.values["estimate_seconds"] == 8.0


def test_a_long_error_is_cut_in_the_sentence_and_whole_in_its_value() -> None:
    error = "x " * 10_000
    found = only(retried(error))
    assert len(found.sentence) < 400 and found.values["last_error"] == error


def test_what_a_terminal_would_obey_is_escaped_in_the_sentence() -> None:
    hostile = "\x1b]0;title\x07\u202eback"
    for facts in (retried(hostile), queued(replace(BROKEN, problem=hostile))):
        said = only(facts).sentence
        assert said.isprintable() and r"\x1b]0;title\x07\u202eback" in said
