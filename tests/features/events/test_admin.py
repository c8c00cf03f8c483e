"""What a task's page asks for each second."""

from __future__ import annotations

from typing import Any

import pytest
from django.test import Client
from django.utils import timezone

from tasks_app.features.events.admin import MAX_EVENTS
from tasks_app.queue.models import LiveEvent, Task
from tests.admin.rows import HOSTILE, task

pytestmark = pytest.mark.django_db


def event(of: Task, sequence: int, kind: str = "log", attempt: int = 1, **body: Any) -> LiveEvent:
    return LiveEvent.objects.create(
        task_id=of.pk, attempt=attempt, sequence=sequence, kind=kind, body=body, at=timezone.now()
    )


def live(client: Client, of: Task, after: str = "0.0") -> dict[str, Any]:
    answer = client.get(f"/admin/tasks_app/task/{of.pk}/live?after={after}")
    assert answer.status_code == 200, answer.content
    assert "no-store" in answer.headers["Cache-Control"]
    return dict(answer.json())


def test_a_running_task_has_its_state_its_progress_and_what_is_new(admin: Client) -> None:
    one = task("processing", attempts=2)
    event(one, 1, stream="stderr", text="old\n")
    event(one, 2, "end", outcome="crash")
    event(one, 1, attempt=2, stream="stdout", text="one\n")
    half = event(one, 2, "progress", attempt=2, progress=0.5, message="half")
    found = live(admin, one, "1.1")
    assert [(each["id"], each["kind"], each["body"]) for each in found.pop("events")] == [
        ("1.2", "end", {"outcome": "crash"}),
        ("2.1", "log", {"stream": "stdout", "text": "one\n"}),
        ("2.2", "progress", half.body),
    ]
    assert found == {"status": "processing", "attempt": 2, "progress": half.body, "next": "2.2", "done": False}
    assert live(admin, one, "2.2") == found | {"events": []}


def test_it_is_done_when_the_task_is_final_and_everything_was_read(admin: Client) -> None:
    one = task("completed")
    for sequence in range(1, MAX_EVENTS + 2):
        event(one, sequence, stream="stdout", text=f"{sequence}\n")
    first = live(admin, one)
    assert (len(first["events"]), first["next"], first["done"]) == (MAX_EVENTS, f"1.{MAX_EVENTS}", False)
    last = live(admin, one, first["next"])
    assert (len(last["events"]), last["progress"], last["done"]) == (1, None, True)


def test_text_is_harmless(admin: Client) -> None:
    one = task("processing")
    event(one, 1, stream="stdout", text=f"\x1b[31m{HOSTILE}\u202e\r\n10 %\r20 %\n")
    event(one, 2, "progress", progress=0.1, message="\x1b]0;title\x07")
    first, second = live(admin, one)["events"]
    assert first["body"]["text"] == f"\\x1b[31m{HOSTILE}\\u202e\n10 %\n20 %\n"
    assert second["body"]["message"] == "\\x1b]0;title\\x07"


@pytest.mark.parametrize("after", ["", "1", "1.", "a.b", "-1.1", "1.1.1", "1.99999999999", "1.1 ", "\u0661.1"])
def test_a_wrong_position_is_refused(admin: Client, after: str) -> None:
    accept = {"accept": "application/json"}  # as the page's script says
    answer = admin.get(f"/admin/tasks_app/task/{task().pk}/live", {"after": after}, headers=accept)
    assert (answer.status_code, answer.json()) == (400, {"error": "after must be the id of an event, such as 1.17"})


@pytest.mark.parametrize("identity", ["0198c5d4-0000-7000-8000-000000000000", "nothing", "x/y"])
def test_a_task_that_does_not_exist_is_a_404(admin: Client, identity: str) -> None:
    assert admin.get(f"/admin/tasks_app/task/{identity}/live").status_code == 404


@pytest.mark.parametrize(
    ("status", "fields", "begins"),
    [("processing", {"attempts": 3}, "3.0"), ("pending", {}, "1.0"), ("pending", {"attempts": 2, "retries": 1}, "3.0")],
)
def test_the_page_of_a_task_that_has_not_ended_follows_it(
    admin: Client, status: str, fields: dict[str, Any], begins: str
) -> None:
    one = task(status, **fields)
    text = admin.get(f"/admin/tasks_app/task/{one.pk}/change/").text
    assert f'data-after="{begins}"' in text and "taskdaemon/live.js" in text
    assert f'data-address="/admin/tasks_app/task/{one.pk}/live"' in text


@pytest.mark.parametrize("status", ["completed", "failed"])
def test_the_page_of_a_task_that_has_ended_does_not(admin: Client, status: str) -> None:
    text = admin.get(f"/admin/tasks_app/task/{task(status).pk}/change/").text
    assert "live.js" not in text and "td-live" not in text
