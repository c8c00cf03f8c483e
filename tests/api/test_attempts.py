"""`GET /api/tasks/{id}/attempts`."""

from __future__ import annotations

import uuid
from typing import Any

import jsonschema
import pytest
from django.db.models.functions import Now
from django.test import Client

from tasks_app.api.document import document
from tasks_app.queue.attempt import ClaimedTask, Policy
from tasks_app.queue.cancel import delete
from tasks_app.queue.node_models import RevisionCommand
from tasks_app.queue.settle import settle
from tasks_app.runner.endings import OutcomeKind
from tests.api.test_openapi import resolved
from tests.queue.moves.kit import AT_ONCE, failure, release, running, success, take

pytestmark = [pytest.mark.database, pytest.mark.django_db]

NEVER_SPENT = Policy(timeout=5.0, max_retries=1000, retry_backoff=0.0, retry_on=AT_ONCE.retry_on)


def attempts(api: Client, task: ClaimedTask, query: str = "") -> list[dict[str, Any]]:
    answer = api.get(f"/api/tasks/{task.id}/attempts{query}")
    assert answer.status_code == 200, answer.content
    return list(answer.json())


def attempted(times: int) -> ClaimedTask:
    """A task with so many failed attempts."""
    task = running(NEVER_SPENT)
    for _ in range(times - 1):
        settle("node", [failure(task, OutcomeKind.CRASH)])
        (task,) = take(policy=NEVER_SPENT)
    settle("node", [failure(task, OutcomeKind.CRASH)])
    return task


def test_each_ended_attempt_is_listed_in_order_with_all_its_fields(api: Client) -> None:
    first = running()
    settle("node", [failure(first, OutcomeKind.CRASH, container="0123456789ab", exit_code=7, seconds=0.25,
                            image="sha256:" + "5" * 64, oom=True, revision="0123456789ab",
                            stdout_tail="half a li", stderr_tail="going\tdown\n")])  # fmt: skip
    RevisionCommand.objects.create(pk="0123456789ab", command="python one.py", used_at=Now())
    (second,) = take()
    settle("node", [success(second, seconds=1.5, container="pid-17")])
    one, two = attempts(api, first)
    moments = [one.pop("started_at"), one.pop("ended_at"), two.pop("started_at"), two.pop("ended_at")]
    assert (one.pop("wait_seconds"), two.pop("wait_seconds")) == (round(first.wait, 3), round(second.wait, 3))
    assert moments == sorted(moments) and all(moment.endswith("Z") for moment in moments)
    assert one == one | {
        "number": 1, "outcome": "crash", "error": "it broke", "node": "node", "container": "0123456789ab",
        "image": "sha256:" + "5" * 64, "oom": True, "exit_code": 7, "revision": "0123456789ab",
        "command": "python one.py",
        "seconds": 0.25, "stdout_tail": "half a li", "stderr_tail": "going\tdown\n",
    }  # fmt: skip
    assert two == two | {
        "number": 2, "outcome": "success", "error": None, "node": "node", "container": "pid-17",
        "image": None, "revision": None, "command": None, "exit_code": None, "oom": None, "seconds": 1.5,
        "stdout_tail": "", "stderr_tail": "",
    }  # fmt: skip


def test_an_attempt_has_its_command_once_its_node_has_written_it(api: Client) -> None:
    task = running()
    settle("node", [success(task, revision="0123456789ab")])
    assert attempts(api, task)[0]["command"] is None
    RevisionCommand.objects.create(pk="0123456789ab", command="python it.py", used_at=Now())
    assert attempts(api, task)[0]["command"] == "python it.py"


def test_an_attempt_matches_the_openapi_document(api: Client) -> None:
    task = running()
    settle("node", [failure(task, exit_code=1)])
    shape = resolved(document(), "AttemptObject")
    for each in attempts(api, task):
        jsonschema.validate(each, shape)
        assert each.keys() == shape["properties"].keys() - {"progress", "note"} == set(shape["required"])


def test_a_new_task_has_no_attempts_and_a_running_attempt_is_not_listed(api: Client) -> None:
    assert attempts(api, running()) == []


def test_a_release_is_an_attempt_too(api: Client) -> None:
    task = running()
    release("node", [task], "drained")
    assert [each["outcome"] for each in attempts(api, task)] == ["released"]


def test_pages_lead_on_and_miss_none(api: Client) -> None:
    task = attempted(7)
    seen, address = [], f"/api/tasks/{task.id}/attempts?limit=3"
    while address:
        answer = api.get(address)
        assert len(answer.json()) <= 3
        seen += [each["number"] for each in answer.json()]
        link = answer.headers.get("Link", "")
        assert not link or link.endswith('>; rel="next"')
        address = link.partition("<")[2].partition(">")[0]
    assert seen == [1, 2, 3, 4, 5, 6, 7]
    assert [each["number"] for each in attempts(api, task, "?after=5")] == [6, 7]


@pytest.mark.parametrize("name", ["0193a5b0-1c2d-7e3f-8a4b-5c6d7e8f9a0b", "x", "%00", "a" * 5000])
def test_a_task_that_does_not_exist_has_no_attempts(api: Client, name: str) -> None:
    answer = api.get(f"/api/tasks/{name}/attempts")
    assert (answer.status_code, answer.json()) == (404, {"error": "Task not found"})


def test_a_deleted_task_has_none_either(api: Client) -> None:
    task = attempted(1)
    delete(uuid.UUID(task.id))
    assert api.get(f"/api/tasks/{task.id}/attempts").status_code == 404


@pytest.mark.parametrize(
    ("query", "sentence"),
    [
        ("limit=0", 'limit must be an integer from 1 to 100, not "0"'),
        ("limit=1&limit=2", "limit is given twice"),
        ("after=-1", "after must be an integer from 0"),
        ("after=" + "9" * 5000, "after must be an integer from 0"),
        ("limt=5", 'unknown parameter "limt"; the parameters are limit, after, cursor, running; did you mean "limit"?'),
    ],
    ids=lambda text: text[:20],
)
def test_a_bad_parameter_is_named(api: Client, query: str, sentence: str) -> None:
    answer = api.get(f"/api/tasks/{running().id}/attempts?{query}")
    assert answer.status_code == 400
    assert sentence in answer.json()["error"]


def test_both_slash_forms_work_and_only_reading(api: Client) -> None:
    address = f"/api/tasks/{running().id}/attempts"
    assert api.get(f"{address}/").status_code == 200
    for slash in ("", "/"):
        answer = api.delete(address + slash)
        assert (answer.status_code, answer.headers["Allow"]) == (405, "GET, HEAD, OPTIONS")
