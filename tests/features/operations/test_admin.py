"""Operations in the admin: the page before one, its own page, and the list."""

from __future__ import annotations

import re
from dataclasses import replace
from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest
from django.db.models import F
from django.http import QueryDict
from django.test import Client
from django.utils import timezone

from tasks_app.audit import AuditEntry
from tasks_app.features.failures.grouping import group_failures
from tasks_app.features.failures.models import FailureGroup
from tasks_app.features.operations.acts import seconds_left
from tasks_app.features.operations.admin import time_left
from tasks_app.features.operations.models import Operation
from tasks_app.features.operations.plan import plan_of
from tasks_app.queue.models import Task
from tasks_app.queue.node_models import HandlerPause
from tasks_app.queue.task_filter import TaskFilter
from testkit.clients import logged_in
from testkit.rows import node
from tests.admin.rows import HOSTILE, staff, task
from tests.admin.test_acting import LIST, OPTIONS, START
from tests.features.operations.kit import batch_of, begun, end, now, over, statuses, tasks, work

pytestmark = pytest.mark.database
PAGE = "/admin/tasks_app/operation/"


def asked(client: Client, action: str = "redrive_selected", query: str = "") -> Any:
    """The page before an operation on all that the list shows."""
    form = {"action": action, "index": "0", "select_across": "1", "_selected_action": "x"}
    return client.post(f"{LIST}?{query}", form, follow=True)


def begin(client: Client, page: Any, **options: str) -> Operation:
    client.post(START, {"chosen": page.context["chosen"], **OPTIONS, **options})
    return Operation.objects.latest("created_at")


def some_of_each() -> None:
    day = timezone.now() - timedelta(days=2)
    early = UUID(int=(int(day.timestamp() * 1000) << 80) + 5)
    task("failed", pk=early, created_at=day, last_error="early")
    for name in ("echo", "prime"):
        for status in ("pending", "processing", "completed", "failed"):
            task(status, task_type=name, tags=["a", "b"] if name == "echo" else ["ab"], unique_key=f"{name} {status}")
        task("failed", task_type=name, failure_reason="oom", last_error="No ROOM left: 50% of _ it")
        task("failed", task_type=name, completed_at=timezone.now() - timedelta(hours=3), last_error="a room")
        task("failed", task_type=name, failure_group=4711, last_error="one of a group")
    task("completed", failure_group=4711)


QUERIES = [
    "", "status=failed", "status=pending", "status=processing", "status=completed", "reason=oom", "type=echo",
    "created=day", "created=week", "failed=hour", "status=failed&type=prime&reason=oom&failed=day", "q=room",
    "q=room+left", "q=50%25", "q=_", "q=tag:a", "q=tag:a+tag:b", "q=tag:ab+room", "q=key:echo failed",
    "group=4711", "group=4711&type=prime&failed=hour", "group=4712", "group=4711&q=room", "group=4711&status=pending",
    "status=pending&reason=oom", "q=key:prime pending&type=echo", "type=prime&q=room&failed=hour",
]  # fmt: skip


@pytest.mark.parametrize("query", QUERIES)
def test_an_operation_means_the_tasks_that_the_list_shows(admin: Client, query: str) -> None:
    some_of_each()
    address = QueryDict(query).urlencode()
    shown = {one.pk for one in admin.get(f"{LIST}?{address}").context["cl"].result_list}
    page = asked(admin, "delete_selected_tasks", address)
    if not shown:
        assert "chosen" not in page.context and not Operation.objects.exists()
        return
    operation = begin(admin, page, rate="100")
    wanted = plan_of(operation).scope
    assert set(wanted.matching(Task.objects.all()).values_list("pk", flat=True)) == shown
    assert operation.matched == len(shown)
    assert over(operation).done == len(shown) and not Task.objects.filter(pk__in=shown).exists()


def test_an_id_and_its_beginning_mean_what_they_show(admin: Client) -> None:
    one, other = task("failed"), task("failed", pk=UUID(int=77))
    for text in (str(one.pk), str(one.pk)[:20]):
        assert "1: 1 handler error" in asked(admin, "redrive_selected", f"q={text}").text
    begin(admin, asked(admin, "redrive_selected", f"q={str(one.pk)[:20]}"))
    assert statuses([one.pk, other.pk]) == ["pending", "failed"]


def test_the_page_counts_breaks_down_and_warns(admin: Client) -> None:
    tasks(3, failure_reason="timeout", task_type="prime"), tasks(1, failure_reason="crash", task_type="gone")
    text = asked(admin, query="status=failed").text
    assert "4: 3 timeout, 1 crash; types: 3 prime, 1 gone; oldest" in text
    assert "no handler is named gone" in text
    assert 'name="canary"' in text and 'name="priority"' not in text
    text = asked(admin, "delete_selected_tasks").text
    assert 'name="canary"' not in text


def test_options_become_the_operations(admin: Client) -> None:
    tasks(5)
    operation = begin(admin, asked(admin), rate="2.5", limit="4", canary="2", stop_share="30")
    assert (operation.rate, operation.limit, operation.canary, operation.stop_share) == (2.5, 4, 2, 0.3)
    assert (operation.created_by, operation.created_via) == ("ada", "admin")


@pytest.mark.parametrize("options", [{"rate": "-1"}, {"canary": "9999"}, {"limit": "x"}, {"stop_share": "101"}])
def test_a_wrong_option_is_said_and_nothing_begins(admin: Client, options: dict[str, str]) -> None:
    tasks(2)
    page = admin.post(START, {"chosen": asked(admin).context["chosen"], **OPTIONS, **options}, follow=True)
    assert page.status_code == 200 and "errorlist" in page.text
    assert not Operation.objects.exists() and not AuditEntry.objects.exists()


def test_a_form_that_was_changed_does_nothing(admin: Client) -> None:
    one = task("failed")
    chosen = asked(admin, query="type=nothing-else").context
    good = asked(admin).context["chosen"]
    for text in (good[:-2], good + "x", "", "[]"):
        admin.post(START, {"chosen": text, **OPTIONS})
    assert not Operation.objects.exists() and Task.objects.get(pk=one.pk).status == "failed"
    assert chosen is None or "chosen" not in chosen


def test_a_form_that_is_sent_twice_starts_one_operation(admin: Client) -> None:
    tasks(4)
    form = {"chosen": asked(admin, "delete_selected_tasks").context["chosen"], **OPTIONS, "limit": "2"}
    admin.post(START, form)
    again = admin.post(START, form, follow=True)
    assert str(Operation.objects.get().pk) in again.request["PATH_INFO"] and "was sent before" in again.text
    assert Task.objects.count() == 2 and AuditEntry.objects.count() == 1


def test_the_page_of_a_running_operation_shows_progress_and_can_abort(admin: Client) -> None:
    tasks(5)
    operation = begun(statuses=frozenset({"failed"}), canary=2)
    text = admin.get(f"{PAGE}{operation.pk}/change/").text
    assert "0 redriven, of 5: begins as soon as a node is there." in text and 'http-equiv="refresh"' in text
    work(operation)
    found = admin.get(f"{PAGE}{operation.pk}/change/")
    assert (
        '<progress max="5" value="2"' in found.text
        and "2 redriven, of 5: waits for the end of the canary." in found.text
    )
    admin.post(f"{PAGE}{operation.pk}/abort/")
    text = admin.get(f"{PAGE}{operation.pk}/change/").text
    assert "Aborted by ada: 2 redriven. The other 3 are as they were." in text
    assert re.search(r"<p>At \d{4}-\d\d-\d\d \d\d:\d\d:\d\d: Aborted", text) and "Its tasks now" in text
    assert "Abort</button>" not in text and "refresh" not in text
    assert 'data-state="aborted"' in text
    assert "was over already" in admin.post(f"{PAGE}{operation.pk}/abort/", follow=True).text


def test_beside_a_living_node_it_begins_within_a_second(admin: Client) -> None:
    tasks(1)
    node()
    operation = begun(statuses=frozenset({"failed"}), canary=1)
    assert "0 redriven, of 1: begins within a second." in admin.get(f"{PAGE}{operation.pk}/change/").text


def test_the_page_says_that_a_pause_holds_the_canary(admin: Client) -> None:
    tasks(5)
    operation = work(begun(statuses=frozenset({"failed"}), canary=2))
    assert "is paused" not in admin.get(f"{PAGE}{operation.pk}/change/").text
    HandlerPause.objects.create(handler="echo", paused_at=timezone.now(), paused_by="vera")
    text = admin.get(f"{PAGE}{operation.pk}/change/").text
    assert "“echo” is paused by vera since" in text and "the canary waits until it is resumed" in text


def test_the_page_names_a_failure_group_and_links_to_it_for_who_may_see_errors(admin: Client) -> None:
    one = task("failed", last_error="the disk is full")
    group_failures()
    group = FailureGroup.objects.get()
    operation = begun(statuses=frozenset({"failed"}), group=group.pk)
    text = admin.get(f"{PAGE}{operation.pk}/change/").text
    assert text.count(f"failure group: {one.task_type}: the disk is full") >= 2 and str(group.pk) not in text.replace(
        f"/failuregroup/{group.pk}/", ""
    )
    assert f'href="/admin/tasks_app/failuregroup/{group.pk}/change/"' in text
    assert "the disk is full" in admin.get(PAGE).text
    assert f"&rsaquo; {group.pk}" not in admin.get(f"/admin/tasks_app/failuregroup/{group.pk}/change/").text
    viewer = logged_in(staff("vic", "view_task"))
    for page in (PAGE, f"{PAGE}{operation.pk}/change/"):
        shown = viewer.get(page).text
        assert "failure group" in shown and "the disk is full" not in shown and "/failuregroup/" not in shown


def test_the_page_says_what_became_of_its_tasks_those_that_failed_again_first(
    admin: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    batch_of(monkeypatch, 90)
    ids = tasks(250, last_error="a secret")
    operation = over(begun(statuses=frozenset({"failed"}), stop_share=0.5))
    assert (operation.done, [UUID(key) for key in operation.first_moved or ()]) == (250, ids[:200])
    end(ids[100:103], "failed", "crash")
    end(ids[:50])
    Task.objects.filter(pk=ids[60]).delete()
    page = admin.get(f"{PAGE}{operation.pk}/change/")
    assert "Of the first 200: 146 pending, 50 completed, 3 failed again, 1 deleted." in page.text
    rows = page.text.split("<tbody>")[-1].split("</tr>")[:-1]
    assert len(rows) == 50 and "data-going" in page.text
    for row, key in zip(rows, [*ids[100:103], *ids[:47]], strict=True):
        assert f'href="/admin/tasks_app/task/{key}/change/"' in row
        assert ("a secret" in row) == ("crash" in row) == (key in ids[100:103])
    viewer = logged_in(staff("vic", "view_task")).get(f"{PAGE}{operation.pk}/change/").text
    assert "3 failed again" in viewer and "a secret" not in viewer


def test_the_page_of_a_deletion_and_of_an_earlier_versions_operation_lists_no_tasks(admin: Client) -> None:
    tasks(2, "completed")
    deleted = over(begun("delete", statuses=frozenset({"completed"})))
    tasks(2)
    earlier = begun(statuses=frozenset({"failed"}))
    Operation.objects.filter(pk=earlier.pk).update(first_moved=None)
    for operation in (deleted, over(earlier)):
        assert operation.done == 2 and "Its tasks" not in admin.get(f"{PAGE}{operation.pk}/change/").text


@pytest.mark.django_db
def test_the_time_left_is_without_the_wait_for_the_canary(monkeypatch: pytest.MonkeyPatch) -> None:
    ids = tasks(110)
    operation = work(begun(statuses=frozenset({"failed"}), canary=10))
    assert seconds_left(operation, timezone.now()) is None
    Operation.objects.update(due=None, canary_at=F("canary_at") - 500.0)
    end(ids[:10])
    batch_of(monkeypatch, 50)
    operation = work(operation, steps=1)
    assert operation.done == 60 and operation.canary_passed and operation.canary_at is not None
    operation.created_at -= timedelta(hours=1)
    operation.canary_at -= 20.0
    left = seconds_left(operation, timezone.now())
    assert left is not None and 15 < left < 40, "50 took 20 s; 50 are left"
    operation.clock = "another boot"
    assert seconds_left(operation, timezone.now()) is None


def test_the_page_before_an_operation_has_an_address_that_starts_nothing_twice(admin: Client) -> None:
    tasks(5)
    before = asked(admin, query="status=failed")
    address = f"{before.request['PATH_INFO']}?{before.request['QUERY_STRING']}"
    assert "5: 5 handler error" in admin.get(address).text
    wrong = admin.get(f"{address}&rate=-1&limit=0&canary=&stop_share=x&priority=200")
    assert wrong.text.count("errorlist") == 3 and not Operation.objects.exists()
    operation = begin(admin, before, rate="100")
    again = admin.get(address)
    assert "it has started" in again.text and f"{PAGE}{operation.pk}/change/" in again.text
    assert 'name="chosen"' not in again.text and Operation.objects.count() == 1
    other = logged_in(staff("vic", "view_task"))
    assert other.get(address).status_code == 403


def test_operations_are_listed_with_their_ends(admin: Client) -> None:
    tasks(2)
    over(begun(statuses=frozenset({"failed"})))
    begun("delete", types=None, priority_min=90)
    text = admin.get(PAGE).text
    assert "2 redriven." in text and "status: failed" in text and "priority from: 90" in text and "ada (admin)" in text


def test_a_get_starts_and_aborts_nothing(admin: Client) -> None:
    tasks(1)
    page = asked(admin).request
    operation = begun(statuses=frozenset({"failed"}))
    assert admin.get(f"{page['PATH_INFO']}?{page['QUERY_STRING']}&rate=5").status_code == 200
    assert admin.get(f"{PAGE}{operation.pk}/abort/").status_code == 405
    assert now(operation).state == "running" and Operation.objects.count() == 1
    strict = Client(enforce_csrf_checks=True, SERVER_NAME="localhost")
    strict.cookies = admin.cookies
    for address in (START, f"{PAGE}{operation.pk}/abort/"):
        assert strict.post(address).status_code == 403


def test_each_act_needs_its_permission(admin: Client) -> None:
    ids = tasks(2)
    redrive, delete = asked(admin).context["chosen"], asked(admin, "delete_selected_tasks").context["chosen"]
    operation = begun(statuses=frozenset({"failed"}), rate=0.01)
    viewer, changer = logged_in(staff("vic", "view_task")), logged_in(staff("otto", "change_task"))
    for client, chosen in ((viewer, redrive), (viewer, delete), (changer, delete)):
        assert client.post(START, {"chosen": chosen, **OPTIONS}).status_code == 403
    assert viewer.post(f"{PAGE}{operation.pk}/abort/").status_code == 403
    assert "Abort</button>" not in viewer.get(f"{PAGE}{operation.pk}/change/").text
    deletion = begun("delete", statuses=frozenset({"completed"}))
    assert changer.post(f"{PAGE}{deletion.pk}/abort/").status_code == 403
    nobody = logged_in(staff("nina"))
    for address in (PAGE, f"{PAGE}{operation.pk}/change/"):
        assert nobody.get(address).status_code == 403
    assert statuses(ids) == ["failed"] * 2
    changer.post(START, {"chosen": redrive, **OPTIONS})
    assert statuses(ids) == ["pending"] * 2


def test_hostile_text_is_escaped(admin: Client) -> None:
    task("failed", task_type=HOSTILE[:90], last_error=HOSTILE)
    page = asked(admin, query="status=failed")
    assert "<script>alert" not in page.text
    operation = begun(error=HOSTILE)
    for address in (f"{PAGE}{operation.pk}/change/", PAGE):
        assert "<script>alert" not in admin.get(address).text


def test_a_missing_operation_gives_a_message(admin: Client) -> None:
    for wrong in (UUID(int=1), "x"):
        assert "There is no such operation." in admin.get(f"{PAGE}{wrong}/change/", follow=True).text


def test_two_filters_are_combined_to_what_both_let_through() -> None:
    one = TaskFilter(statuses=frozenset({"failed", "pending"}), first_id=UUID(int=3), tags=frozenset({"a"}))
    two = TaskFilter(statuses=frozenset({"failed"}), first_id=UUID(int=5), tags=frozenset({"b"}), priority_max=7)
    both = TaskFilter(frozenset({"failed"}), tags=frozenset({"a", "b"}), first_id=UUID(int=5), priority_max=7)
    assert one.both(two) == two.both(one) == both
    assert one.both(TaskFilter()) == one
    assert replace(one).both(replace(two, priority_max=None)).priority_max is None


def test_the_dashboard_has_the_operations_that_run_with_their_progress_and_the_time_left(admin: Client) -> None:
    tasks(400, last_error="a secret")
    assert "Operations that run" not in admin.get("/admin/").text
    slow, fresh = begun(words=("secret",), rate=10.0), begun("cancel")
    over(begun("delete", types=frozenset({"none"})))
    Operation.objects.filter(pk=slow.pk).update(done=100)
    page = admin.get("/admin/").text.split("Operations that run")[1].split("</section>")[0]
    assert f'href="{PAGE}{slow.pk}/change/">Redrive</a>: ' in page and "error has: secret" in page
    assert '<progress max="400" value="100"' in page and "about 30 s left" in page
    assert f"{PAGE}{fresh.pk}/change/" in page and page.count("<progress") == 2
    assert "secret" not in logged_in(staff("nina", "view_task")).get("/admin/").text


def test_the_time_left_is_that_of_the_rate_or_as_it_was_so_far() -> None:
    now = timezone.now()
    running = Operation(verb="redrive", matched=400, done=100, created_at=now - timedelta(seconds=40))
    assert time_left(running, now) == "about 2 min left"
    running.matched_exact = False
    assert time_left(running, now) == "at least about 2 min left"
    running.canary = 10
    assert time_left(running, now) == "", "it waits for its canary"
    assert time_left(Operation(verb="redrive", matched=400, created_at=now), now) == "", "it has not begun"
    assert time_left(Operation(verb="redrive", matched=9, done=1, created_at=now, state="aborted"), now) == ""
