"""The audit log: what is recorded, what its page finds, and its export."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
from django.contrib.auth.models import Group, User
from django.db import DatabaseError, connection
from django.db.models.functions import Now
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from tasks_app.admin import table_files
from tasks_app.audit import Actor, AuditEntry, BulkLine, record
from tasks_app.features.audit import admin as audit_pages
from tasks_app.keys.api_keys import create
from tasks_app.queue.current import writing
from tasks_app.queue.models import Task
from testkit.clients import post
from tests.admin.rows import HOSTILE, task
from tests.admin.test_large_tables import rows_read

pytestmark = [pytest.mark.django_db, pytest.mark.database]

LOG = "/admin/tasks_app/auditentry/"


def entry(**fields: Any) -> AuditEntry:
    given = {"at": timezone.now(), "actor": "ada", "via": "admin", "action": "redrive", "target": "x", "count": 1}
    return AuditEntry.objects.create(**{**given, **fields})


def listed(client: Client, query: str) -> list[int]:
    return [one.pk for one in client.get(f"{LOG}?{query}").context["cl"].result_list]


def exported(client: Client, query: str) -> str:
    answer = client.get(f"{LOG}export/?{query}")
    assert answer.streaming, answer.headers
    return b"".join(answer).decode()


def test_the_latest_line_is_first_and_each_filter_narrows(admin: Client) -> None:
    old = entry(at=timezone.now() - timedelta(days=8))
    api = entry(actor="ci", via="api", action="delete", target="y")
    bulk = entry(action="cancel", count=412, target="selected tasks")
    assert listed(admin, "") == [bulk.pk, api.pk, old.pk]
    for query, found in (
        ("actor=ci", [api]), ("actor=nobody", []), ("via=api", [api]), ("act=cancel", [bulk]),
        ("time=week", [bulk, api]), ("time=month", [bulk, api, old]), ("q=y", [api]),
        ("q=selected+tasks", [bulk]), ("q=selected", []),
        ("actor=ada&act=redrive&time=month", [old]), ("o=1.2", [bulk, api, old]),
    ):  # fmt: skip
        assert listed(admin, query) == [one.pk for one in found], query
    assert "412" in admin.get(LOG).text


@pytest.mark.parametrize("query", ["via=phone", "time=soon", "via=api&via=admin", "actor=", "act=" + "x" * 151])
def test_what_is_not_understood_matches_nothing_and_exports_nothing(admin: Client, query: str) -> None:
    entry(via="api")
    page = admin.get(f"{LOG}?{query}")
    assert page.context["cl"].result_count == 0 and "nothing matches" in page.text
    answer = admin.get(f"{LOG}export/?format=csv&{query}", follow=True)
    assert "Nothing was exported." in answer.text


def test_the_filter_by_who_knows_actors_that_are_no_users_any_more(admin: Client) -> None:
    entry(actor="root", via="command")
    entry(actor="gone", at=timezone.now() - timedelta(days=8))
    page = admin.get(LOG).text
    assert "actor=root" in page and "actor=gone" in page and page.count("actor=ada") == 1


def test_an_export_has_what_the_filters_show_in_either_format(admin: Client) -> None:
    lines = [entry(target=f"t{number}", details={"n": number}) for number in range(5)]
    entry(actor="ci", via="api")
    page = admin.get(f"{LOG}?actor=ada")
    addresses = dict(page.context["cl"].exports)
    assert list(addresses) == ["CSV", "JSON lines"]
    for address in addresses.values():
        assert address.replace("&", "&amp;") in page.text
    query = addresses["JSON lines"].partition("?")[2]
    rows = [json.loads(row) for row in exported(admin, query).splitlines()]
    assert [row["target"] for row in rows] == ["t4", "t3", "t2", "t1", "t0"]
    assert rows[0] == {
        "at": f"{lines[4].at:%Y-%m-%dT%H:%M:%S.%fZ}", "actor": "ada", "via": "admin", "action": "redrive",
        "target": "t4", "count": 1, "details": {"n": 4},
    }  # fmt: skip
    table = list(csv.reader(io.StringIO(exported(admin, addresses["CSV"].partition("?")[2]))))
    assert table[0] == list(audit_pages.COLUMNS)
    assert [row[4] for row in table[1:]] == ["audit-log", "t4", "t3", "t2", "t1", "t0"], "with the export before it"
    assert table[2][6] == '{"n": 4}'


def test_an_export_reads_pages_and_loses_no_line_of_one_moment(admin: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(audit_pages, "ROWS_PER_PAGE", 3)
    for number in range(10):
        record(Actor("admin", "ada"), "redrive", str(number))
    lines = list(AuditEntry.objects.order_by("pk"))
    AuditEntry.objects.update(at=Now())
    with CaptureQueriesContext(connection) as captured:
        rows = [json.loads(row) for row in exported(admin, "format=jsonl").splitlines()]
    assert [row["target"] for row in rows] == [one.target for one in reversed(lines)]
    pages = [one["sql"] for one in captured if "taskdaemon_audit_entry" in one["sql"] and "LIMIT 3" in one["sql"]]
    assert len([sql for sql in pages if "LIMIT 30" not in sql]) == 5


def test_an_export_that_the_database_cuts_says_so(admin: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    entry()

    def pages(_: Any) -> Iterator[list[AuditEntry]]:
        yield []
        raise DatabaseError("the server closed the connection")

    monkeypatch.setattr(audit_pages, "_pages", pages)
    assert table_files.INCOMPLETE in exported(admin, "format=csv")
    assert json.loads(exported(admin, "format=jsonl"))["at"] == table_files.INCOMPLETE


@pytest.mark.parametrize("begins", ["=", "+", "-", "@"])
def test_a_spreadsheet_runs_nothing_of_an_export(admin: Client, begins: str) -> None:
    entry(actor=f"{begins}cmd|'/c calc'!A1", target='x,"y"\nz')
    _, row = csv.reader(io.StringIO(exported(admin, "format=csv")))
    assert row[1].startswith(f"'{begins}cmd") and row[4] == 'x,"y"\nz'


def test_hostile_text_is_shown_as_text(admin: Client) -> None:
    one = entry(actor=HOSTILE, target=HOSTILE, action=HOSTILE[:40], details={HOSTILE: HOSTILE})
    for address in (LOG, f"{LOG}{one.pk}/change/", "/admin/"):
        text = admin.get(address).text
        assert "<script>alert" not in text and "&lt;script&gt;" in text, address


def test_a_line_tells_its_details_in_words_and_leads_to_the_operation_or_the_task(admin: Client) -> None:
    of = "0192f0c1-1111-7111-8111-111111111111"
    entry(
        target=of,
        details={"operation": True, "filter": {"statuses": ["failed"], "type": "echo"}, "rate": 5, "limit": None},
    )
    text = admin.get(LOG).text
    assert "filter: statuses failed and type echo, operation: yes, rate: 5</td>" in text
    assert f"/admin/tasks_app/operation/{of}/change/" in text and f"/task/{of}" not in text
    AuditEntry.objects.update(action="edit", details={"data": ["{}", '{"n":1}'], "priority": [50, 7]})
    assert "data: {} → {&quot;n&quot;:1}, priority: 50 → 7</td>" in admin.get(LOG).text
    AuditEntry.objects.update(details={})
    assert f"/admin/tasks_app/task/{of}/change/" in admin.get(LOG).text


def test_a_bulk_act_is_one_line_that_counts_what_was_done() -> None:
    line = BulkLine(Actor("admin", "ada"), "redrive", "selected tasks", types=["echo"])
    assert not AuditEntry.objects.exists()
    for count in (20, 20, 2):
        with writing():
            line.add(count)
    one = AuditEntry.objects.get()
    assert (one.actor, one.action, one.target, one.count, one.details) == (
        "ada", "redrive", "selected tasks", 42, {"types": ["echo"]},
    )  # fmt: skip


@pytest.mark.django_db(transaction=True)
def test_a_bulk_act_whose_first_commit_fails_has_a_line_all_the_same() -> None:
    line = BulkLine(Actor("admin", "ada"), "redrive", "selected tasks")

    def undone() -> None:
        with writing():
            line.add(20)
            raise RuntimeError

    with pytest.raises(RuntimeError):
        undone()
    with writing():
        line.add(7)
    assert [one.count for one in AuditEntry.objects.all()] == [7]


def test_long_names_are_cut_and_not_refused() -> None:
    record(Actor("api", "k" * 200), "pause", "t" * 400)
    one = AuditEntry.objects.get()
    assert (len(one.actor), len(one.target)) == (150, 300)


def test_calls_of_the_api_are_recorded_with_the_keys_name() -> None:
    key = create("ci")
    client = Client(SERVER_NAME="localhost", headers={"Authorization": f"Bearer {key}"})
    failed, waits, done = task("failed"), task(), task("completed")
    assert post(client, f"/api/tasks/{failed.pk}/redrive").status_code == 200
    assert post(client, f"/api/tasks/{waits.pk}/cancel").status_code == 200
    assert client.delete(f"/api/tasks/{done.pk}").status_code == 204
    # What is refused is not recorded.
    assert post(client, f"/api/tasks/{failed.pk}/redrive").status_code == 404
    assert post(client, f"/api/tasks/{waits.pk}/cancel").status_code == 409
    assert client.delete(f"/api/tasks/{done.pk}").status_code == 404
    found = AuditEntry.objects.order_by("pk").values_list("via", "actor", "action", "target")
    assert list(found) == [
        ("api", "ci", "redrive", str(failed.pk)), ("api", "ci", "cancel", str(waits.pk)),
        ("api", "ci", "delete", str(done.pk)),
    ]  # fmt: skip


def test_an_act_and_its_line_are_one_commit(admin: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    one = task("failed")

    def broken(*_: Any, **__: Any) -> None:
        raise DatabaseError("no room")

    monkeypatch.setattr("tasks_app.audit.record", broken)
    admin.post(f"/admin/tasks_app/task/{one.pk}/redrive/")
    assert Task.objects.get(pk=one.pk).status == "failed"
    post(admin, f"/api/tasks/{one.pk}/redrive")
    assert Task.objects.get(pk=one.pk).status == "failed"
    admin.delete(f"/api/tasks/{one.pk}")
    assert Task.objects.filter(pk=one.pk).exists()


def test_users_and_groups_are_recorded_without_their_passwords(admin: Client) -> None:
    word = "a good passphrase"
    form = {"username": "bob", "password1": word, "password2": word, "usable_password": "true"}
    admin.post("/admin/auth/user/add/", form)
    admin.post("/admin/auth/group/add/", {"name": "night"})
    bob, night = User.objects.get(username="bob"), Group.objects.get(name="night")
    change = {"username": "bob", "is_staff": "on"}
    admin.post(f"/admin/auth/user/{bob.pk}/change/", change)
    admin.post(f"/admin/auth/user/{bob.pk}/password/", {"password1": word + "!", "password2": word + "!"})
    admin.post(f"/admin/auth/group/{night.pk}/delete/", {"post": "yes"})
    admin.post("/admin/auth/user/", {"action": "delete_selected", "_selected_action": str(bob.pk), "post": "yes"})
    found = AuditEntry.objects.order_by("pk").values_list("actor", "action", "target")
    assert list(found) == [
        ("ada", "add_user", "bob"), ("ada", "add_group", "night"), ("ada", "change_user", "bob"),
        ("ada", "change_user", "bob"), ("ada", "delete_group", "night"), ("ada", "delete_user", "bob"),
    ]  # fmt: skip
    details = list(AuditEntry.objects.filter(action="change_user").order_by("pk").values_list("details", flat=True))
    assert (details[0]["is_staff"], details[1]) == ({"old": False, "new": True}, {"password": "changed"})
    assert word not in str(list(AuditEntry.objects.values()))


LINES = 60_000
_MANY = {
    "sqlite": """
WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < %(count)s)
INSERT INTO taskdaemon_audit_entry (at, actor, via, action, target, count, details)
SELECT strftime('%%Y-%%m-%%d %%H:%%M:%%f', '2026-01-01', '+' || i || ' seconds'), 'key-' || (i %% 3), 'api', 'delete',
  'task-' || i, 1, '{}' FROM n
""",
    "postgresql": """
INSERT INTO taskdaemon_audit_entry (at, actor, via, action, target, count, details)
SELECT timestamptz '2026-01-01' + i * interval '1 second', 'key-' || (i %% 3), 'api', 'delete', 'task-' || i, 1, '{}'
FROM generate_series(1, %(count)s) AS i
""",
}


def test_no_page_of_the_log_reads_all_of_it(admin: Client) -> None:
    with connection.cursor() as cursor:
        cursor.execute(_MANY[connection.vendor], {"count": LINES})
        cursor.execute("ANALYZE taskdaemon_audit_entry" if connection.vendor == "postgresql" else "SELECT 1")
    entry(via="command", action="prune", target="completed"), entry()
    assert rows_read("SELECT count(details) FROM taskdaemon_audit_entry") > LINES // 2, "what this test would notice"
    for query in (
        "", "actor=key-1", "actor=ada", "actor=nobody", "via=api", "via=command", "act=delete", "act=prune",
        "act=none", "time=hour", "q=task-500", "q=completed", "q=nothing", "actor=key-1&act=prune",
        "via=command&act=delete", "p=90",
    ):  # fmt: skip
        with CaptureQueriesContext(connection) as captured:
            assert admin.get(f"{LOG}?{query}").status_code == 200
        for one in captured:
            if "taskdaemon_audit_entry" in one["sql"]:
                assert rows_read(one["sql"]) < LINES // 2, f"{query}: {one['sql']}"
    with CaptureQueriesContext(connection) as captured:
        rows = exported(admin, "format=csv&actor=key-1").count("\n")
    assert rows == LINES // 3 + 1
    last = [one["sql"] for one in captured if "LIMIT 1000" in one["sql"]][-1]
    assert rows_read(last) < LINES // 4, last
