"""`GET /api/tasks/{id}/attempts?running=true` and `fields=progress`: what runs now, and how far it is."""

from __future__ import annotations

from typing import Any

import jsonschema
import pytest
from django.test import Client

from tasks_app.api.document import document
from tasks_app.queue.attempt import ClaimedTask, LiveEvents
from tasks_app.queue.cancel import cancel
from tasks_app.queue.live_events import write_live_events
from tasks_app.queue.settle import settle
from tasks_app.runner.endings import OutcomeKind
from tests.api.test_openapi import resolved
from tests.queue.moves.kit import failure, row, running, submitted, success, take

pytestmark = [pytest.mark.database, pytest.mark.django_db]

HALF = {"progress": 0.5, "done": 1, "total": 2, "message": "half"}
EVENTS: list[tuple[str, dict[str, Any]]] = [
    ("log", {"stream": "stderr", "text": "a warning\n"}),
    ("progress", {"progress": 0.25}),
    ("log", {"stream": "stdout", "text": "one\n"}),
    ("log", {"stream": "stdout", "cut": 17}),
    ("progress", HALF),
    ("log", {"stream": "stdout", "text": "two\n"}),
]


def writes(task: ClaimedTask, *events: tuple[str, dict[str, Any]]) -> None:
    assert write_live_events("node", [LiveEvents(task.id, task.attempt, 1, events, "0123456789ab")])


def attempts(api: Client, task: ClaimedTask, query: str = "?running=true") -> list[dict[str, Any]]:
    answer = api.get(f"/api/tasks/{task.id}/attempts{query}")
    assert answer.status_code == 200, answer.content
    return list(answer.json())


def test_the_running_attempt_is_the_last_one_and_has_what_it_has_written(api: Client) -> None:
    first = running()
    settle("node", [failure(first, OutcomeKind.CRASH)])
    [task] = take()
    writes(task, *EVENTS)
    ended, runs = attempts(api, task)
    assert [ended] == attempts(api, task, "") == attempts(api, task, "?running=false")
    assert runs.pop("started_at").endswith("Z") and runs.pop("wait_seconds") == round(task.wait, 3)
    assert runs == {
        "number": 2, "outcome": None, "error": None, "node": "node", "container": "0123456789ab", "image": None,
        "revision": None, "command": None, "exit_code": None, "oom": None, "ended_at": None, "seconds": None,
        "progress": HALF, "note": None,
        "stdout_tail": "one\n\n[... 17 bytes cut ...]\ntwo\n", "stderr_tail": "a warning\n",
    }  # fmt: skip


def test_an_attempt_that_has_just_begun_has_written_nothing(api: Client) -> None:
    task = running()
    [runs] = attempts(api, task)
    assert (runs["container"], runs["progress"], runs["stdout_tail"], runs["stderr_tail"]) == (None, None, "", "")
    shape = resolved(document(), "AttemptObject")
    jsonschema.validate(runs, shape)
    writes(task, *EVENTS)
    [runs] = attempts(api, task)
    jsonschema.validate(runs, shape)
    assert runs.keys() == shape["properties"].keys() == {*shape["required"], "progress", "note"}


def test_a_task_that_does_not_run_has_no_running_attempt(api: Client) -> None:
    completed, cancelled = running(), running()
    [waits] = submitted(50)
    assert api.get(f"/api/tasks/{waits}/attempts?running=true").json() == []
    writes(completed, *EVENTS)
    settle("node", [success(completed)])
    writes(cancelled, *EVENTS)
    cancel(row(cancelled).pk)
    for task in (completed, cancelled):
        assert attempts(api, task) == attempts(api, task, "")
    assert api.get(f"/api/tasks/{'0' * 8}-0000-0000-0000-{'0' * 12}/attempts?running=true").status_code == 404


def test_pages_lead_to_the_running_attempt(api: Client) -> None:
    task = running()
    for _ in range(2):
        settle("node", [failure(task)])
        [task] = take()
    seen, address = [], f"/api/tasks/{task.id}/attempts?running=true&limit=1"
    while address:
        answer = api.get(address)
        seen += [(each["number"], each["outcome"]) for each in answer.json()]
        address = answer.headers.get("Link", "").partition("<")[2].partition(">")[0]
    assert seen == [(1, "error"), (2, "error"), (3, None)]
    assert attempts(api, task, "?running=true&after=3") == []


@pytest.mark.parametrize("value", ["", "1", "yes", "TRUE"])
def test_running_is_true_or_false(api: Client, value: str) -> None:
    answer = api.get(f"/api/tasks/{running().id}/attempts?running={value}")
    assert answer.status_code == 400
    assert answer.json()["error"] == f'running must be true or false, not "{value}"'


def test_running_is_given_once(api: Client) -> None:
    answer = api.get(f"/api/tasks/{running().id}/attempts?running=true&running=false")
    assert (answer.status_code, answer.json()["error"]) == (400, "running is given twice")


def test_a_list_has_the_progress_of_running_tasks_if_it_is_asked_for(api: Client) -> None:
    silent, runs, over = running(), running(), running()
    for task in (runs, over):
        writes(task, *EVENTS)
    settle("node", [success(over)])
    ids = ",".join(task.id for task in (silent, runs, over))
    listed = api.get(f"/api/tasks?ids={ids}&fields=id,progress").json()
    assert {each["id"]: each["progress"] for each in listed} == {silent.id: None, runs.id: HALF, over.id: None}
    shape = resolved(document(), "TaskPart")
    for each in listed:
        jsonschema.validate(each, shape)
    assert all("progress" not in each for each in api.get(f"/api/tasks?ids={ids}").json())
    assert "progress" not in api.get(f"/api/tasks/{runs.id}").json()


def test_progress_is_that_of_the_running_attempt(api: Client) -> None:
    task = running()
    writes(task, *EVENTS)
    settle("node", [failure(task)])
    [again] = take()
    assert api.get(f"/api/tasks?ids={again.id}&fields=progress").json() == [{"progress": None}]
    assert attempts(api, again)[-1]["progress"] is None
