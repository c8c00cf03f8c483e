"""The events of a task, as they are read after any of them."""

from __future__ import annotations

import random
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from tasks_app.features.events.reading import (
    BEGINNING,
    CHUNK_BYTES,
    LATE_SECONDS,
    MAX_LIVE_EVENTS,
    EventId,
    Events,
    parse,
    read_events,
)
from tasks_app.queue.cancel import cancel, delete
from tasks_app.queue.models import Attempt, LiveEvent, Task
from tasks_app.queue.redrive import redrive
from tasks_app.queue.settle import settle
from tasks_app.queue.submit import submit
from tasks_app.runner.endings import OutcomeKind
from testkit.sse import Event, events_of
from tests.queue.moves.kit import NO_RETRY, failure, release, running, success, take

pytestmark = pytest.mark.django_db


def follow(task: UUID | str, after: str | EventId = BEGINNING) -> tuple[list[Event], Events]:
    """All events after one, and the last reading."""
    at = parse(after) if isinstance(after, str) else after
    assert at is not None
    found: list[Event] = []
    while True:
        events = read_events(UUID(str(task)), at)
        found += events_of(events.text.decode().splitlines())
        if not events.more:
            return found, events
        assert events.text
        at = events.last


def said(task: UUID | str, after: str | EventId = BEGINNING) -> list[tuple[str, Any]]:
    """Kinds and the most telling value of all events after one."""
    return [(event.kind, _telling(event.data)) for event in follow(task, after)[0]]


def _telling(data: dict[str, Any]) -> Any:
    return next((data[name] for name in ("status", "text", "cut", "progress") if name in data), None)


def live(task: str, attempt: int, *bodies: dict[str, Any] | str, first: int = 1) -> None:
    """Live events: texts of stderr, other bodies, and `end`."""
    for sequence, body in enumerate(bodies, first):
        kind = "end" if body == "end" else "progress" if isinstance(body, dict) and "progress" in body else "log"
        shown = body if isinstance(body, dict) else {} if kind == "end" else {"stream": "stderr", "text": body}
        LiveEvent.objects.create(
            task_id=task, attempt=attempt, sequence=sequence, kind=kind, body=shown, at=timezone.now()
        )


def long_ago(task: str) -> None:
    """All attempts ended a minute ago, and their live events are removed."""
    LiveEvent.objects.filter(task_id=task).delete()
    Attempt.objects.filter(task_id=task).update(ended_at=timezone.now() - timedelta(minutes=1))


def test_the_life_of_a_task_from_its_beginning() -> None:
    task = running()
    live(task.id, 1, "a\n", {"progress": 0.5, "message": "half"}, {"cut": 7})
    assert said(task.id) == [
        ("status", "pending"), ("status", "processing"), ("log", "a\n"), ("progress", 0.5), ("log", 7)
    ]  # fmt: skip
    live(task.id, 1, "b\n", "end", first=4)
    settle("node", [failure(task)])
    [again] = take()
    settle("node", [success(again, stderr_tail="c\n", stdout_tail="d\n")])
    events, last = follow(task.id)
    assert [(event.identity, event.kind, _telling(event.data)) for event in events[:-2]] == [
        ("0.0", "status", "pending"),
        ("1.0", "status", "processing"),
        ("1.1", "log", "a\n"),
        ("1.2", "progress", 0.5),
        ("1.3", "log", 7),
        ("1.4", "log", "b\n"),
        ("1.1000000000", "status", "pending"),
        ("2.0", "status", "processing"),
        ("2.500000000", "log", "d\n"),
        ("2.500000001", "log", "c\n"),
    ]
    assert events[3].data["message"] == "half"
    assert (events[6].data["outcome"], events[6].data["error"]) == ("error", "it broke")
    assert events[7].data["node"] == "node"
    final = {"status": "completed", "attempts": 2, "failure_reason": None, "error": "it broke"}
    assert [event.data for event in events[-2:]] == [final, final]
    assert [event.kind for event in events[-2:]] == ["status", "end"]
    assert last.ended


def test_after_any_event_exactly_the_later_ones_follow_whatever_has_happened_since() -> None:
    """Every state of a task, and every id of each state before it."""
    task = running()
    states: list[list[Event]] = [follow(task.id)[0]]

    def step() -> None:
        states.append(follow(task.id)[0])

    live(task.id, 1, *(f"{n}\n" for n in range(3)))
    step()
    live(task.id, 1, {"progress": 1}, "last\n", "end", first=4)
    settle("node", [failure(task)])
    step()
    [second] = take(policy=NO_RETRY)
    step()
    settle("node", [failure(second, stderr_tail="x" * 20_000, stdout_tail="y")])
    step()
    for earlier in states:
        for index, event in enumerate(earlier):
            known = [each.identity for each in earlier[: index + 1]]
            later = [each.identity for each in follow(task.id, event.identity)[0]]
            assert known + later == [each.identity for each in states[-1]]
    assert len({event.identity for event in states[-1]}) == len(states[-1])


def test_a_running_attempt_that_says_nothing_new_has_no_event_and_ends_nothing() -> None:
    task = running()
    live(task.id, 1, "a\n")
    assert follow(task.id, "1.1") == ([], Events(b"", EventId(1, 1)))


def test_a_text_is_limited_and_goes_on_where_it_ended() -> None:
    task = running()
    texts = [f"{n}{'x' * 500}\n" for n in range(MAX_LIVE_EVENTS + 50)]
    live(task.id, 1, *texts, "end")
    settle("node", [success(task, stderr_tail="".join(texts))])
    first = read_events(UUID(task.id), BEGINNING)
    assert first.more and CHUNK_BYTES <= len(first.text) < CHUNK_BYTES + 1000
    assert [text for kind, text in said(task.id) if kind == "log"] == texts
    long_ago(task.id)
    assert "".join(text for kind, text in said(task.id) if kind == "log") == "".join(texts)


def test_many_attempts_are_read_in_parts() -> None:
    task = running()
    settle("node", [failure(task)])
    Attempt.objects.filter(task_id=task.id).update(stderr_tail="z" * 5000)
    (first,) = Attempt.objects.filter(task_id=task.id)
    Task.objects.filter(pk=task.id).update(attempts=30)
    for number in range(2, 31):
        first.pk, first.number = None, number
        first.save()
    assert len(read_events(UUID(task.id), BEGINNING).text) < 2 * CHUNK_BYTES
    assert [data["attempt"] for _, kind, data in follow(task.id)[0] if kind == "log"] == [*range(1, 31)]


def test_the_log_is_said_again_if_live_events_were_removed_in_the_middle() -> None:
    task = running()
    live(task.id, 1, "a\n", "b\n", "end")
    settle("node", [success(task, stderr_tail="a\nb\n")])
    assert said(task.id, "1.1")[0] == ("log", "b\n")
    long_ago(task.id)
    log = [event.data for event in follow(task.id, "1.1")[0] if event.kind == "log"]
    assert [(data["text"], data["again"]) for data in log] == [("a\nb\n", True)]
    log = [event.data for event in follow(task.id, "1.0")[0] if event.kind == "log"]
    assert ["again" in data for data in log] == [False]


@pytest.mark.parametrize("forged", ["1.7", "1.499999999", "1.500000003", "1.1000000000", "1.99999999999999999", "2.0",
                                    "9.1", "999999999.99999999999999999"])  # fmt: skip
def test_an_id_from_nowhere_never_hides_the_state(forged: str) -> None:
    task = running()
    live(task.id, 1, "a\n")
    assert said(task.id, forged)[-1] == ("log", "a\n")
    live(task.id, 1, "end", first=2)
    settle("node", [success(task)])
    assert said(task.id, forged)[-2:] == [("status", "completed"), ("end", "completed")]


def test_each_redrive_and_cancel_between_two_attempts_has_ids_of_its_own() -> None:
    task = submit("echo")
    at, ids = "0.0", ["0.0"]
    for _ in range(3):
        cancel(task)
        events, last = follow(task, at)
        assert [(event.kind, event.data["status"]) for event in events] == [("status", "failed"), ("end", "failed")]
        assert last.ended and follow(task, events[0].identity)[0] == events[1:]
        assert follow(task, events[1].identity)[0] == []
        redrive(task)
        ids += [event.identity for event in events]
        [again] = follow(task, events[1].identity)[0]
        assert (again.data["status"], follow(task, again.identity)[0]) == ("pending", [])
        at = again.identity
    assert len(set(ids)) == len(ids)


def test_a_retry_says_when() -> None:
    task = running()
    due = timezone.now() + timedelta(hours=1)
    settle("node", [failure(task)])
    Task.objects.filter(pk=task.id).update(due_at=due)
    [event] = follow(task.id, "1.0")[0]
    assert datetime.fromisoformat(event.data["due_at"]) == due


def test_a_cancelled_attempt_may_still_say_something_but_not_for_ever() -> None:
    task = running()
    live(task.id, 1, "a\n")
    cancel(UUID(task.id))
    found, last = follow(task.id)
    assert (found[-1].kind, last.late, last.ended) == ("log", True, False)
    live(task.id, 1, "b\n", "end", first=2)
    assert said(task.id, "1.1") == [("log", "b\n"), ("status", "failed"), ("end", "failed")]
    LiveEvent.objects.filter(task_id=task.id, sequence__gt=1).delete()
    old = timezone.now() - timedelta(seconds=LATE_SECONDS)
    Attempt.objects.filter(task_id=task.id).update(ended_at=old)
    assert said(task.id, "1.1") == [("status", "failed"), ("end", "failed")]


def test_a_short_cancelled_attempt_waits_for_its_log() -> None:
    task = running()
    cancel(UUID(task.id))
    assert follow(task.id)[1].late
    settle("node", [failure(task, stderr_tail="bye\n", container="pid-1")])
    assert said(task.id, "1.0") == [("log", "bye\n"), ("status", "failed"), ("end", "failed")]


def test_a_lost_worker_ends_its_attempt_and_the_next_one_follows() -> None:
    task = running()
    live(task.id, 1, "a\n")
    settle("node", [failure(task, OutcomeKind.WORKER_LOST)])
    [event] = follow(task.id, "1.1")[0]
    assert (event.data["status"], event.data["outcome"]) == ("pending", "worker_lost")
    take(node="other")
    [begun] = follow(task.id, event.identity)[0]
    assert (begun.identity, begun.data["node"]) == ("2.0", "other")


def test_a_released_attempt_is_a_status_like_others() -> None:
    task = running()
    release("node", [task], "the worker stops")
    assert follow(task.id)[0][-1].data["outcome"] == "released"


def test_a_deleted_task_ends_its_stream() -> None:
    task = running()
    delete(UUID(task.id))
    [event] = follow(task.id, "1.0")[0]
    assert (event.identity, event.kind, event.data["error"]) == ("", "end", "the task was deleted")
    assert read_events(uuid4(), BEGINNING).ended


def test_any_text_is_one_line_of_data() -> None:
    task = running()
    odd = "\r\n\n\u2028\u2029\x85\x0b\x1c\x00\x1b[31m\ud800<script>data: x\n\nevent: end\ndata: {}\n\n"
    live(task.id, 1, odd.replace("\x00", "").replace("\ud800", ""))
    [event] = follow(task.id, "1.0")[0]
    assert event.data["text"] == odd.replace("\x00", "").replace("\ud800", "")


def test_random_walks_lose_and_repeat_nothing() -> None:
    """A client that resumes at random moments sees what one sees that was there all the time."""
    chance = random.Random(7)
    for _ in range(30):
        task = running()
        seen: list[str] = []
        at: str | EventId = BEGINNING
        sequence, attempt = 0, task
        for _ in range(25):
            act = chance.random()
            if act < 0.6:
                sequence += 1
                live(task.id, attempt.attempt, f"{sequence}\n", first=sequence)
            elif act < 0.75:
                live(task.id, attempt.attempt, "end", first=sequence + 1)
                settle("node", [failure(attempt) if chance.random() < 0.5 else _released(attempt)])
                Task.objects.filter(pk=task.id).update(retries=0)
                (attempt,), sequence = take(), 0
            if chance.random() < 0.4:
                events, last = follow(task.id, at)
                seen += [event.identity for event in events]
                at = last.last
                if chance.random() < 0.5 and seen:
                    at = seen[-1]
        seen += [event.identity for event in follow(task.id, at)[0]]
        assert seen == [event.identity for event in follow(task.id)[0]]


def _released(attempt: Any) -> Any:
    return failure(attempt, OutcomeKind.RELEASED)


def test_what_is_new_is_read_by_two_statements() -> None:
    task = running()
    live(task.id, 1, "a\n")
    with CaptureQueriesContext(connection) as asked:
        assert read_events(UUID(task.id), EventId(1, 0)).text
    assert len(asked) == 2
