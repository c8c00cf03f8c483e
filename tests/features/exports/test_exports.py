"""A list of tasks as a file: the same tasks, each once, in bounded parts, and harmless to what opens it."""

from __future__ import annotations

import csv
import io
import json
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.core.signals import request_finished
from django.db import close_old_connections
from django.test import Client, RequestFactory

from tasks_app.admin import table_files
from tasks_app.admin.table_files import csv_lines
from tasks_app.audit import AuditEntry
from tasks_app.features.exports import admin as exports
from tasks_app.queue.cancel import delete
from tasks_app.queue.models import Task
from tasks_app.rights import SEE_PAYLOADS
from testkit.clients import logged_in
from tests.admin.rows import HOSTILE, many, staff, task

pytestmark = pytest.mark.django_db
EXPORT = "/admin/tasks_app/task/export/"


def text(client: Client, query: str = "") -> str:
    answer = client.get(f"{EXPORT}?{query}")
    assert answer.status_code == 200
    return b"".join(answer).decode()


def close(answer: Any) -> None:
    """As a server does, but the test keeps its database connection."""
    request_finished.disconnect(close_old_connections)
    answer.close()
    request_finished.connect(close_old_connections)


def cells(client: Client, query: str = "") -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(text(client, query))))


def objects(client: Client, query: str = "") -> list[dict[str, Any]]:
    return [json.loads(line) for line in text(client, f"_format=jsonl&{query}").splitlines()]


def test_an_export_has_the_tasks_of_the_list_and_no_others(admin: Client) -> None:
    failed = [task("failed", failure_reason="crash", last_error="it broke").pk for _ in range(3)]
    task("failed", failure_reason="oom")
    task("completed", result={"n": 1}, task_type="other")
    newest_first = [str(key) for key in reversed(failed)]
    assert [row["id"] for row in cells(admin, "reason=crash&p=7")] == newest_first
    assert [row["id"] for row in objects(admin, "q=it+broke")] == newest_first
    assert (len(cells(admin)), len(objects(admin, "type=other"))) == (5, 1)
    listed = admin.get("/admin/tasks_app/task/?reason=crash").text
    assert f"{EXPORT}?reason=crash&amp;_format=csv" in listed


def test_payloads_come_only_when_asked_for_and_as_they_are(admin: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    one = task("completed", task_data={"a": [1, None, "ü"]}, result=[{"deep": True}], tags=["x"])
    (row,) = objects(admin)
    assert (row["tags"], row["status"]) == (["x"], "completed") and "task_data" not in row
    (row,) = objects(admin, "_payloads=yes")
    assert (row["task_data"], row["result"], row["metadata"]) == (one.task_data, one.result, None)
    (cell,) = cells(admin, "_payloads=yes")
    assert json.loads(cell["task_data"]) == one.task_data
    monkeypatch.setattr(exports, "may", lambda request, right: right is not SEE_PAYLOADS)
    assert "result" not in objects(admin, "_payloads=yes")[0]


@pytest.mark.parametrize(
    "word", ["=1+1", "+1", "-1", "@x", "\t=1", "\r=1", "  =1", "\uff1d1", '=HYPERLINK("http://x")']
)
def test_no_cell_is_a_formula(word: str) -> None:
    ((cell,),) = csv.reader(io.StringIO(csv_lines([[word]]).decode()))
    assert cell[0] == "'" or cell[0] == "\\"
    ((number,),) = csv.reader(io.StringIO(csv_lines([[-1]]).decode()))
    assert number == "-1", "a number is one"


def test_hostile_text_has_no_control_characters_in_an_export(admin: Client) -> None:
    hostile = f'{HOSTILE}\x1b[2J\u202e,"\n=1'
    task("failed", last_error=hostile, task_type=HOSTILE, task_data={hostile: hostile}, unique_key=hostile, tags=["="])
    for query in ("_payloads=yes", "_payloads=yes&_format=jsonl"):
        found = text(admin, query)
        assert not any(char in found for char in "\x1b\u202e\x00")
    (row,) = objects(admin, "_payloads=yes")
    assert row["task_data"] == {hostile: hostile}, "escapes mean the same"
    assert len(cells(admin)) == 1


def test_a_large_row_and_a_deep_one_come_whole(admin: Client) -> None:
    task("completed", result="x" * 10_000_000)
    task("failed", last_error="e" * 1_000_000)
    sizes = [len(row["result"] or "") for row in objects(admin, "_payloads=yes")]
    assert sizes == [0, 10_000_000]


def test_parts_are_bounded_and_each_task_comes_once_while_rows_change(admin: Client) -> None:
    many(3_000)
    for _ in range(5):
        task("failed", last_error="x" * 200_000)
    answer = admin.get(f"{EXPORT}?_format=jsonl")
    parts = iter(answer)
    begun = [next(parts) for _ in range(3)]
    new, gone = task(), Task.objects.earliest("pk")
    assert delete(gone.pk)
    sizes = [len(part) for part in begun]
    ids = [json.loads(line)["id"] for part in begun for line in part.splitlines()]
    Task.objects.filter(pk=ids[0]).update(priority=99)
    for part in parts:
        sizes.append(len(part))
        ids += [json.loads(line)["id"] for line in part.splitlines()]
    assert len(ids) == len(set(ids)) == 3_004
    assert str(new.pk) not in ids
    assert max(sizes) < 2 * exports.BYTES_PER_PAGE and len(sizes) > 4


def audited() -> list[tuple[str, str, int, dict[str, Any]]]:
    lines = AuditEntry.objects.filter(action="export").order_by("pk")
    return [(line.actor, line.target, line.count, line.details) for line in lines]


def test_an_export_is_in_the_audit_log_with_its_filter_its_rows_and_whether_payloads_were_in_it(admin: Client) -> None:
    for _ in range(3):
        task("failed", failure_reason="crash")
    assert (len(cells(admin, "reason=crash&p=7")), len(objects(admin, "status=failed&_payloads=yes"))) == (3, 3)
    assert audited() == [
        ("ada", "tasks", 3, {"filter": {"reason": "crash"}, "payloads": False, "format": "csv"}),
        ("ada", "tasks", 3, {"filter": {"status": "failed"}, "payloads": True, "format": "jsonl"}),
    ]
    vic = logged_in(staff("vic", "view_task"))
    assert len(objects(vic, "_payloads=yes")) == 3
    assert audited()[-1][3]["payloads"] is False, "as they were asked for, but not given"
    shown = admin.get("/admin/tasks_app/auditentry/?act=export").text
    assert "filter: reason crash" in shown and "payloads: no" in shown


def test_an_export_that_its_client_leaves_counts_the_rows_that_were_made(admin: Client, rf: RequestFactory) -> None:
    many(3_000)
    request = rf.get(EXPORT, {"_format": "jsonl"})
    request.user = User.objects.get(username="ada")
    answer = exports.export_view(request)
    assert audited()[0][2] == 0, "the line comes before the first row"
    rows = len(next(iter(answer)).splitlines())
    close(answer)
    assert 0 < rows < 3_000 and audited()[0][2] == rows


def test_beyond_the_places_it_is_503_and_a_place_is_free_once_one_is_closed(admin: Client) -> None:
    task()
    running = [admin.get(EXPORT) for _ in range(table_files.MAX_EXPORTS)]
    refused = admin.get(EXPORT)
    assert (refused.status_code, refused["Retry-After"]) == (503, "30") and "exports run already" in refused.text
    close(running[0])
    close(running[0])
    again = admin.get(EXPORT)
    assert again.status_code == 200 and admin.get(EXPORT).status_code == 503
    for answer in (*running, again):
        close(answer)


@pytest.mark.parametrize(
    "query",
    ["_format=xml", "_payloads=1", "status=unknown", "status=failed&status=failed", "nonsense=1", "q=%00", "group=x",
     "task_data__icontains=x"],
)  # fmt: skip
def test_what_is_not_understood_exports_nothing(admin: Client, query: str) -> None:
    task()
    answer = admin.get(f"{EXPORT}?{query}")
    assert answer.status_code == 400 and ("errornote" in answer.text or "not allowed" in answer.text)
    assert admin.post(EXPORT).status_code == 405


def test_it_needs_the_permission_to_see_tasks() -> None:
    task()
    assert logged_in(staff("nina", "view_node")).get(EXPORT).status_code == 403
    assert len(cells(logged_in(staff("vic", "view_task")))) == 1
    assert Client(SERVER_NAME="localhost").get(EXPORT).status_code == 302
    assert User.objects.count() == 2
