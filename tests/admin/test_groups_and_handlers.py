"""The pages of failure groups, handlers and nodes: what they show, to whom, and what they change."""

from __future__ import annotations

import pytest
from django.db.models import F
from django.test import Client

from tasks_app import conf
from tasks_app.audit import AuditEntry
from tasks_app.features.failures.admin import bars
from tasks_app.features.failures.grouping import group_failures
from tasks_app.features.failures.models import FailureGroup
from tasks_app.queue.models import Task
from tasks_app.queue.node_models import Node
from testkit.clients import logged_in
from testkit.rows import node, pool, web
from tests.admin.rows import HOSTILE, staff, task

pytestmark = pytest.mark.django_db
GROUPS, TASKS, HANDLER = "/admin/tasks_app/failuregroup/", "/admin/tasks_app/task/", "/admin/handler/"


def group(error: str = "row 7 is missing", count: int = 1, **fields: str) -> FailureGroup:
    last = [task("failed", last_error=error, **fields).pk for _ in range(count)][-1]
    group_failures()
    return FailureGroup.objects.get(pk__in=Task.objects.filter(pk=last).values("failure_group"))


def serving(name: str = "node-1", handler: str = "echo", **state: object) -> Node:
    """A node with a problem, that serves a handler."""
    problems = ["no connection to the broker"]
    return node(name, pools={handler: {**pool(2, 1), **state}}, problems=problems, digest="0" * 64)


def test_a_group_leads_to_its_tasks_and_a_task_to_its_group(admin: Client) -> None:
    mine = group(count=2)
    group("another error")
    page = admin.get(f"{GROUPS}{mine.pk}/change/")
    assert "row &lt;n&gt; is missing" in page.text and f"{TASKS}?group={mine.pk}" in page.text
    listed = admin.get(f"{TASKS}?group={mine.pk}").context["cl"]
    assert {one.failure_group for one in listed.result_list} == {mine.pk} and listed.result_count == 2
    assert listed.narrowed == ["failure group: row <n> is missing"]
    assert f"{GROUPS}{mine.pk}/change/" in admin.get(f"{TASKS}{listed.result_list[0].pk}/change/").text
    assert "By failure group" not in admin.get(TASKS).text


def test_an_act_on_all_that_match_a_group_acts_on_its_tasks_alone(admin: Client) -> None:
    mine = group(count=2)
    other = group("another error")
    form = {"action": "redrive_selected", "index": "0", "select_across": "1", "_selected_action": "x"}
    page = admin.post(f"{TASKS}?group={mine.pk}", form, follow=True)
    assert "They are all that match: failure group: row &lt;n&gt; is missing." in page.text
    assert admin.post("/admin/tasks_app/operation/start/", {"chosen": page.context["chosen"]}).status_code == 302
    assert Task.objects.filter(status="pending").count() == 2
    assert Task.objects.get(failure_group=other.pk).status == "failed"


def test_the_list_narrows_by_state_handler_and_reason(admin: Client) -> None:
    one = group("error a")
    group("error b", task_type="other", failure_reason="crash")
    FailureGroup.objects.filter(pk=one.pk).update(resolved_at=F("last_seen"))

    def listed(query: str) -> list[str]:
        return [each.normalised for each in admin.get(f"{GROUPS}?{query}").context["cl"].result_list]

    assert sorted(listed("")) == ["error a", "error b"]
    assert (listed("state=open"), listed("state=resolved")) == (["error b"], ["error a"])
    assert (listed("handler=echo"), listed("reason=crash")) == (["error a"], ["error b"])
    assert listed("state=nonsense") == listed("state=open&state=open") == []


def test_resolving_is_recorded_and_can_be_taken_back(admin: Client) -> None:
    mine = group()
    address = f"{GROUPS}{mine.pk}/resolve/"
    assert admin.post(address).status_code == 302
    assert not FailureGroup.objects.get().is_open and FailureGroup.objects.get().resolved_by == "ada"
    assert "resolved" in admin.get(f"{GROUPS}{mine.pk}/change/").text
    admin.post(address, {"reopen": "yes"})
    assert FailureGroup.objects.get().is_open
    form = {"action": "resolve_selected", "_selected_action": [str(mine.pk)], "index": "0"}
    admin.post(GROUPS, form)
    assert not FailureGroup.objects.get().is_open
    entries = AuditEntry.objects.order_by("pk").values_list("action", "actor", "target")
    assert [entry[0] for entry in entries] == ["resolve_failures", "reopen_failures", "resolve_failures"]
    assert entries[0][1:] == ("ada", f"echo: failure group {mine.pk}")


def test_only_who_may_change_tasks_resolves() -> None:
    mine = group()
    viewer = logged_in(staff("vic", "view_task", "view_payload"))
    assert "Resolve" not in viewer.get(f"{GROUPS}{mine.pk}/change/").text
    assert viewer.post(f"{GROUPS}{mine.pk}/resolve/").status_code == 403
    viewer.post(GROUPS, {"action": "resolve_selected", "_selected_action": [str(mine.pk)], "index": "0"})
    assert FailureGroup.objects.get().is_open
    nobody = logged_in(staff("nina", "view_node", "view_failuregroup", "change_failuregroup", "view_payload"))
    for address in (GROUPS, f"{GROUPS}{mine.pk}/change/", "/admin/handlers/", f"{HANDLER}?type=echo"):
        assert nobody.get(address).status_code == 403, address
    assert Client(SERVER_NAME="localhost").get("/admin/handlers/").status_code == 302


def test_without_the_permission_to_see_payloads_no_error_is_shown() -> None:
    mine = group("a secret")
    viewer = logged_in(staff("vera", "view_task", "change_task"))
    failed = Task.objects.get()
    for address in (GROUPS, f"{GROUPS}{mine.pk}/change/"):
        assert viewer.get(address).status_code == 403
    assert viewer.post(f"{GROUPS}{mine.pk}/resolve/").status_code == 403
    pages = (f"{TASKS}?group={mine.pk}", f"{TASKS}{failed.pk}/change/", f"{HANDLER}?type=echo", "/admin/")
    for address in pages:
        answer = viewer.get(address)
        assert answer.status_code == 200 and "a secret" not in answer.text, address
    exported = b"".join(viewer.get(f"{TASKS}export/?_payloads=yes"))
    assert str(failed.pk).encode() in exported and b"secret" not in exported and b"last_error" not in exported


@pytest.mark.parametrize("key", ["0", "9" * 19, "9" * 30, "-1", "x", "٣"])
def test_a_group_that_is_gone_leads_to_the_list(admin: Client, key: str) -> None:
    assert admin.get(f"{GROUPS}{key}/change/")["Location"] == GROUPS
    assert admin.post(f"{GROUPS}{key}/resolve/")["Location"] == GROUPS


def test_a_picture_has_a_bar_for_each_hour_and_says_its_numbers() -> None:
    picture = bars({"100": 4, "102": 1, "7": 99}, 102, 4)
    assert picture.count("M") == 3 and "5 in 4 hours, at most 4 in one hour, 1 in this one" in picture


def test_a_handlers_page_shows_its_slots_tasks_and_failures(admin: Client) -> None:
    serving(images=["sha256:" + "a" * 64, "sha256:" + "b" * 64], problem="its image is missing")
    running = task("processing")
    task("processing", task_type="other")
    mine = group()
    text = admin.get(f"{HANDLER}?type=echo").text
    for part in (
        "aaaaaaaaaaaa", "2 versions of its image", "its image is missing", "differs", str(running.pk), "1 / 1 / 2",
        f"{GROUPS}{mine.pk}/change/", "failuregroup/?handler=echo", "?type=echo&amp;status=failed",
    ):  # fmt: skip
        assert part in text, part
    assert text.count("/admin/tasks_app/task/0") == 1
    pause = "/admin/tasks_app/handlerpause/pause/?handler=echo"
    assert pause in admin.get("/admin/handlers/").text
    assert pause not in logged_in(staff("vic", "view_task")).get("/admin/handlers/").text
    assert f"{HANDLER}?type=echo" in admin.get("/admin/").text
    assert admin.get(f"{HANDLER}?type=unknown").status_code == 404
    assert admin.get(HANDLER).status_code == 404


def test_a_nodes_page_shows_what_it_serves_and_runs(admin: Client) -> None:
    serving(problem="its image is missing")
    mine, others = task("processing"), task("processing", node="node-2")
    text = admin.get("/admin/tasks_app/node/node-1/change/").text
    for part in (
        "its image is missing",
        "no connection to the broker",
        "1 / 1 / 2",
        str(mine.pk),
        f"{HANDLER}?type=echo",
    ):
        assert part in text, part
    assert str(others.pk) not in text
    without = logged_in(staff("nora", "view_node")).get("/admin/tasks_app/node/node-1/change/")
    assert without.status_code == 200 and str(mine.pk) not in without.text
    assert admin.get("/admin/tasks_app/node/gone/change/").status_code == 302
    assert admin.post("/admin/tasks_app/node/node-1/change/").status_code == 405


def test_the_handlers_page_says_which_revision_each_process_uses(admin: Client) -> None:
    serving()
    web("host:1", "1" * 64, fault=f"handlers.toml:3: {HOSTILE}")
    text = admin.get("/admin/handlers/").text
    assert "/admin/tasks_app/node/node-1/change/" in text and "web server host:1" in text
    assert f"<code>{'1' * 12}</code>" in text and "handlers.toml:3: " in text
    assert HOSTILE not in text


def known() -> str:
    return next(iter(conf.handlers()))


def test_a_test_task_is_queued_recorded_and_shown(admin: Client) -> None:
    answer = admin.post(f"{HANDLER}?type={known()}", {"data": ' {"n": [1, "ü"]} ', "priority": "70"})
    sent = Task.objects.get()
    assert answer["Location"] == f"{TASKS}{sent.pk}/change/"
    assert (sent.task_type, sent.task_data, sent.priority, sent.status) == (known(), {"n": [1, "ü"]}, 70, "pending")
    entry = AuditEntry.objects.get()
    assert (entry.action, entry.actor, entry.target) == ("test_task", "ada", str(sent.pk))
    admin.post(f"{HANDLER}?type={known()}", {"data": " ", "priority": ""})
    assert Task.objects.filter(task_data={}, priority=50).count() == 1


@pytest.mark.parametrize(
    ("data", "priority", "said"),
    [
        ("[1]", "50", "data must be a JSON object"),
        ("{", "50", "malformed JSON"),
        ('{"a": "\\u0000"}', "50", "NUL"),
        ("{}", "101", "priority must be an integer from 0 to 100"),
        ("{}", "٣", "priority must be an integer"),
        ('{"a": [' + ",".join(["1e308"] * 4000) + "]}", "50", "all its digits"),
        ('{"a": ' + "[" * 5000 + "]" * 5000 + "}", "50", "nested"),
    ],
    ids=lambda value: value[:20],
)
def test_a_test_task_that_post_would_refuse_is_refused(admin: Client, data: str, priority: str, said: str) -> None:
    answer = admin.post(f"{HANDLER}?type={known()}", {"data": data, "priority": priority})
    assert answer.status_code == 400 and said in answer.text
    assert not Task.objects.exists() and not AuditEntry.objects.exists()


def test_a_test_task_needs_a_permission_and_a_full_queue_refuses_it(monkeypatch: pytest.MonkeyPatch) -> None:
    viewer = logged_in(staff("vic", "view_task", "view_payload"))
    assert "Queue it" not in viewer.get(f"{HANDLER}?type={known()}").text
    assert viewer.post(f"{HANDLER}?type={known()}", {"data": "{}"}).status_code == 403
    tester = logged_in(staff("tess", "view_task", "add_task"))
    assert tester.post(f"{HANDLER}?type={known()}", {"data": "{}"}).status_code == 302
    strict = Client(SERVER_NAME="localhost", enforce_csrf_checks=True)
    strict.force_login(staff("rob", "view_task", "change_task"))  # type: ignore[arg-type]
    assert strict.post(f"{HANDLER}?type={known()}", {"data": "{}"}).status_code == 403
    env = conf.environment().model_copy(update={"max_queue": 0})
    monkeypatch.setattr("tasks_app.api.tasks.conf.environment", lambda: env)
    full = tester.post(f"{HANDLER}?type={known()}", {"data": "{}"})
    assert full.status_code == 400 and "the queue is full" in full.text
    assert Task.objects.count() == 1
