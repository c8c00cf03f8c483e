"""For a key with types, tasks of other types do not exist."""

from __future__ import annotations

import json
from typing import Any
from uuid import UUID

import pytest
from django.utils import timezone

from tasks_app.queue import task_search
from tasks_app.queue.models import Status, Task
from tests.admin.rows import attempt
from tests.keys.rows import MISSING, Holder, of_type

pytestmark = [pytest.mark.django_db, pytest.mark.database]


@pytest.fixture
def holder() -> Holder:
    """May see and post `echo`."""
    return Holder(types=["echo"])


SINGLY = [
    ("GET", ""), ("HEAD", ""), ("GET", "?wait=5"), ("GET", "?wait=0"), ("DELETE", ""), ("GET", "/attempts"),
    ("GET", "/why"), ("GET", "/events"), ("HEAD", "/events"), ("GET", "/events?after=0.0"),
    ("POST", "/cancel"), ("POST", "/redrive"),
]  # fmt: skip


@pytest.mark.parametrize(("method", "rest"), SINGLY)
def test_another_types_task_is_answered_as_a_missing_one(holder: Holder, method: str, rest: str) -> None:
    for status in Status.values:
        other = of_type("prime", status)
        if status == "failed":
            attempt(other, 1)
        refused = holder.ask(method, f"/api/tasks/{other.pk}{rest}")
        missing = holder.ask(method, f"/api/tasks/{MISSING}{rest}")
        assert (refused.status_code, refused.content) == (missing.status_code, missing.content)
        assert refused.status_code == 404
        assert rest != "/redrive" or refused.json()["error"] == "Task not found"
        assert Task.objects.get(pk=other.pk).status == status


def test_its_own_types_tasks_are_there(holder: Holder) -> None:
    one = of_type("echo")
    for method, path in (("GET", ""), ("GET", "/attempts"), ("POST", "/cancel"), ("POST", "/redrive")):
        assert holder.ask(method, f"/api/tasks/{one.pk}{path}").status_code == 200, path
    assert holder.ask("DELETE", f"/api/tasks/{one.pk}").status_code == 204


def queries(ids: str) -> list[str]:
    return [
        "", "type=prime", "type=echo,prime", "type=Echo,ECHO,prime", "status=pending", "status=failed",
        "failure_reason=handler_error", "status=completed&type=prime", "tag=a", "priority_min=0", f"ids={ids}",
        f"ids={ids}&type=prime", "error=it", "created_after=2020-01-01T00:00:00Z", "order=oldest", "limit=1000",
        "fields=id,task_data", "fields=id&type=prime", "status=failed&type=prime",
        f"cursor={'f' * 8}-ffff-7fff-bfff-{'f' * 12}",
    ]  # fmt: skip


@pytest.mark.parametrize("rows_read", [task_search.MAX_ROWS_READ, 2])
def test_lists_leave_other_types_out(holder: Holder, monkeypatch: pytest.MonkeyPatch, rows_read: int) -> None:
    monkeypatch.setattr(task_search, "MAX_ROWS_READ", rows_read)
    mine, others = set(), []
    for status in Status.values:
        mine.add(str(of_type("echo", status, tags=["a"], task_data={"whose": "mine"}).pk))
        others.append(str(of_type("prime", status, tags=["a"], task_data={"whose": "a secret"}).pk))
    for query in queries(",".join([*mine, *others])):
        found = holder.ask("GET", f"/api/tasks?{query}")
        assert found.status_code == 200, query
        assert {each["id"] for each in found.json()} <= mine, query
        assert b"secret" not in found.content, query
    assert {each["id"] for each in holder.ask("GET", f"/api/tasks?ids={','.join([*mine, *others])}").json()} == mine
    assert {each["id"] for each in holder.ask("GET", "/api/tasks").json()} == mine
    assert holder.ask("GET", "/api/tasks?type=prime").json() == []


@pytest.mark.parametrize("order", ["newest", "oldest"])
def test_a_cursor_is_no_other_types_id(holder: Holder, monkeypatch: pytest.MonkeyPatch, order: str) -> None:
    monkeypatch.setattr(task_search, "MAX_ROWS_READ", 2)
    ids = [UUID(int=(0x0193A5B01C2D + number << 80) | (0x7 << 76) | (0x8 << 60) | 5) for number in range(9)]
    for each in ids:
        of_type("prime", "completed", pk=each)
    cursors, cursor = [], ""
    while "Next-Cursor" in (page := holder.ask("GET", f"/api/tasks?priority_min=0&order={order}{cursor}")).headers:
        cursors.append(UUID(page.headers["Next-Cursor"]))
        cursor = f"&cursor={cursors[-1]}"
    assert len(cursors) >= 4
    assert not {*cursors} & {*ids}
    assert page.json() == []


@pytest.mark.parametrize("order", ["newest", "oldest"])
@pytest.mark.parametrize("query", ["", "tag=a", "status=completed"])
def test_all_pages_together_have_all_its_tasks(
    holder: Holder, monkeypatch: pytest.MonkeyPatch, order: str, query: str
) -> None:
    monkeypatch.setattr(task_search, "MAX_ROWS_READ", 3)
    mine = [str(of_type(name, "completed", tags=["a"]).pk) for name in ("echo", "prime", "prime") * 4]
    mine = [each for number, each in enumerate(mine) if not number % 3]
    found: list[str] = []
    cursor = ""
    for _ in range(20):
        page = holder.ask("GET", f"/api/tasks?limit=2&order={order}&{query}{cursor}")
        found += [each["id"] for each in page.json()]
        if "Next-Cursor" not in page.headers:
            break
        cursor = f"&cursor={page.headers['Next-Cursor']}"
    assert found == sorted(mine, reverse=order == "newest")


def test_a_post_of_another_type_is_403_that_names_it(holder: Holder) -> None:
    refused = holder.ask("POST", "/queue", '{"type": "prime"}')
    assert (refused.status_code, refused.json()["error"]) == (403, 'this API key is not for the type "prime"')
    assert holder.ask("POST", "/queue", '{"type": "echo"}').status_code == 200
    assert [task.task_type for task in Task.objects.all()] == ["echo"]


def test_one_task_of_another_type_refuses_its_batch(holder: Holder) -> None:
    tasks = [{"type": "echo"}, {"type": "prime"}, {"type": "echo"}, {"type": "resize"}]
    refused = holder.ask("POST", "/queue/batch", json.dumps({"tasks": tasks}))
    assert refused.status_code == 403
    assert refused.json()["error"] == (
        'this API key is not for the type "prime", "resize": tasks[1], tasks[3]; none was stored'
    )
    assert not Task.objects.exists()
    many = holder.ask("POST", "/queue/batch", json.dumps({"tasks": [{"type": "prime"}] * 1000}))
    assert (many.status_code, len(many.content) < 400) == (403, True)
    assert holder.ask("POST", "/queue/batch", json.dumps({"tasks": [{"type": "echo"}] * 2})).status_code == 200


def test_a_type_in_another_case_is_another_type() -> None:
    of_type("echo")
    holder = Holder(types=["Echo"])
    assert holder.ask("GET", "/api/tasks").json() == []
    assert holder.ask("POST", "/queue", '{"type": "echo"}').status_code == 403
    assert holder.ask("POST", "/queue", '{"type": "Echo"}').status_code == 400
    assert holder.ask("GET", "/api/handlers").json() == []
    assert Holder("good", types=["echo"]).ask("GET", "/api/handlers/Echo").status_code == 404


def test_handlers_are_those_of_its_types(holder: Holder) -> None:
    assert [each["type"] for each in holder.ask("GET", "/api/handlers").json()] == ["echo"]
    assert holder.ask("GET", "/api/handlers/echo").status_code == 200
    refused = holder.ask("GET", "/api/handlers/prime")
    assert (refused.status_code, refused.json()["error"]) == (
        404,
        'no handler is named "prime"; handlers.toml has echo',
    )


def test_a_repeated_request_does_not_name_another_keys_task(holder: Holder) -> None:
    other = Holder("other", types=["prime"])
    first = other.ask("POST", "/queue", '{"type": "prime"}', idempotency_key="k").json()["task_id"]
    mine = holder.ask("POST", "/queue", '{"type": "echo"}', idempotency_key="k")
    assert (mine.status_code, "Idempotent-Replayed" in mine.headers) == (200, False)
    for body in ('{"type": "prime"}', '{"type": "prime", "priority": 1}'):
        refused = holder.ask("POST", "/queue", body, idempotency_key="k")
        assert refused.status_code == 403
        assert first not in refused.text
    assert (
        other.ask("POST", "/queue", '{"type": "prime"}', idempotency_key="k").headers["Idempotent-Replayed"] == "true"
    )


def test_a_unique_key_finds_no_task_of_another_type(holder: Holder) -> None:
    of_type("prime", unique_key="k")
    posted = holder.ask("POST", "/queue", '{"type": "echo", "unique_key": "k"}').json()
    assert posted["existing"] is False


def test_a_key_with_an_empty_list_of_types_has_none(holder: Holder) -> None:
    from tasks_app.keys.api_keys import ApiKey

    ApiKey.objects.update(types=[])
    of_type("echo")
    assert holder.ask("GET", "/api/tasks").json() == []
    assert holder.ask("GET", "/api/tasks?type=echo").json() == []
    assert holder.ask("POST", "/queue", '{"type": "echo"}').status_code == 403


def test_types_do_not_open_what_scopes_close() -> None:
    reader: Any = Holder(types=["echo"], scopes=["tasks:read"], expires_at=timezone.now().replace(year=2100))
    assert reader.ask("POST", "/queue", '{"type": "echo"}').status_code == 403
    assert reader.ask("GET", "/api/tasks").status_code == 200
