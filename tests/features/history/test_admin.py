"""The activity page: what its pictures and tables say, who may see it, and what they say about wrong addresses."""

from __future__ import annotations

import re
from datetime import timedelta
from typing import Any

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from django.utils import timezone

from tasks_app.features.failures.grouping import group_failures
from tasks_app.features.failures.models import FailureGroup
from tasks_app.features.history import pictures as runs_module
from tasks_app.features.history.admin import MAX_SLOTS, slot_rows
from tasks_app.features.history.history import key, present_minute, record
from tasks_app.features.history.models import HistoryRow
from tasks_app.features.history.pictures import MAX_LATEST, MAX_RUNS, latest_runs, runs
from tasks_app.metrics.system_reading import current_reading
from tasks_app.queue.cancel import cancel
from tasks_app.queue.models import Attempt
from tasks_app.queue.submit import submit
from tasks_app.runner.endings import OutcomeKind
from testkit.clients import logged_in
from testkit.rows import node
from tests.admin.rows import HOSTILE, attempt, staff, task
from tests.admin.test_large_tables import rows_read
from tests.metrics import work

pytestmark = [pytest.mark.database, pytest.mark.django_db]

PAGE = "/admin/activity/"
VIEWS = (PAGE, f"{PAGE}trends/", f"{PAGE}runs/", f"{PAGE}slots/")


def minutes(*completed: int, handler: str = "echo") -> None:
    """Rows of the last minutes with these sums; the last one is of the present minute."""
    now = present_minute()
    for back, count in enumerate(reversed(completed)):
        of = {"completed": count, "failed": {"crash": count // 10}, "wait": [count], "run": [0, count], "ready": back}
        HistoryRow.objects.create(minute=now - back, totals=of, handlers={key(handler): of}, last_attempt=0)


def picture(answer: dict[str, Any], name: str) -> dict[str, list[float | None]]:
    """The values of a picture by label."""
    [found] = [one for one in answer["pictures"] if one["key"] == name]
    return {one["label"]: one["values"] for one in found["series"]}


def test_the_pictures_values_are_those_of_the_history(admin: Client) -> None:
    minutes(100, 130, 170)
    answer = admin.get(f"{PAGE}trends/").json()
    assert picture(answer, "outcomes")["completed"][-2:] == [30.0, 40.0]
    assert picture(answer, "outcomes")["crash"][-2:] == [3.0, 4.0]
    assert picture(answer, "queue")["ready"][-2:] == [1, 0]
    assert {one["key"] for one in answer["pictures"]} == {"outcomes", "queue", "oldest", "wait", "run", "slots"}
    assert picture(admin.get(f"{PAGE}trends/?handler=echo").json(), "outcomes") == picture(answer, "outcomes")


@pytest.mark.parametrize(("span", "values"), [("hour", 60), ("day", 288), ("week", 672)])
def test_each_span_has_a_bounded_number_of_values(admin: Client, span: str, values: int) -> None:
    answer = admin.get(f"{PAGE}trends/?span={span}").json()
    assert len(answer["minutes"]) == values
    assert all(len(each) == values for each in picture(answer, "wait").values())


def test_the_tables_have_the_pictures_figures_without_a_script(admin: Client) -> None:
    now = present_minute()
    for back in range(0, 61):
        of = {"completed": 6000 - 20 * back, "failed": {}, "wait": [], "run": [], "ready": 1234}
        HistoryRow.objects.create(minute=now - back, totals=of, handlers={}, last_attempt=0)
    text = admin.get(PAGE).text
    assert "<td>20.0</td>" in text and "<td>1,234</td>" in text
    assert text.count("<table") == 7
    assert "Nothing" not in text and "no history" not in text


def test_an_empty_page_says_what_is_needed(admin: Client) -> None:
    text = admin.get(PAGE).text
    assert "There is no history of this time yet. A living node writes it once a minute" in text
    assert "the first picture needs 2 minutes" in text
    assert "the first picture needs 30 minutes" in admin.get(f"{PAGE}?span=week").text
    assert "No node lives" in text and "manage.py worker" in text
    assert "No attempt has ended in this time." in text


def test_what_a_node_records_is_shown(admin: Client) -> None:
    node("one", pools={"echo": {"slots": 4, "warm": 3, "problem": None}})
    submit("echo")
    record(present_minute() - 1)
    record(present_minute())
    assert "no history" not in admin.get(PAGE).text


def test_the_slots_over_time_end_with_the_sum_of_the_strip(admin: Client) -> None:
    node("one", pools={"echo": {"slots": 4, "warm": 3, "problem": None}})
    node("two", pools={"echo": {"slots": 3, "warm": 1, "problem": "no image"}}, draining=True)
    node("quiet", seen_before=300, pools={"echo": {"slots": 2, "warm": 2, "problem": None}})
    task("processing", node="one")
    task("processing", node="quiet")
    record(present_minute())
    rows = slot_rows("echo")
    strip = {state: sum(getattr(row, state) for row in rows) for state in ("warm", "starting", "dead")}
    strip["busy"] = sum(len(row.busy) for row in rows)
    assert strip == {"busy": 2, "warm": 3, "starting": 1, "dead": 3}
    answer = admin.get(f"{PAGE}trends/?handler=echo").json()
    # The minute may have changed since, and the present one has no row then.
    last = {
        state: [value for value in values if value is not None][-1]
        for state, values in picture(answer, "slots").items()
    }
    assert last == strip


def test_runs_lead_to_their_tasks(admin: Client) -> None:
    one = task("failed")
    attempt(one, 1, "crash", ended_at=timezone.now(), seconds=2.5)
    attempt(one, 2, "worker_lost", started_at=timezone.now() - timedelta(seconds=7), ended_at=timezone.now())
    attempt(one, 3, "error", ended_at=timezone.now() - timedelta(hours=2))
    answer = admin.get(f"{PAGE}runs/").json()
    assert [run[1:] for run in answer["runs"]] == [
        [pytest.approx(7, abs=0.1), "worker_lost", str(one.pk), "echo", 2],
        [2.5, "crash", str(one.pk), "echo", 1],
    ]
    assert not answer["sampled"]
    assert f'href="{reverse("admin:tasks_app_task_change", args=(one.pk,))}"' in admin.get(PAGE).text
    assert admin.get(f"{PAGE}runs/?handler=prime").json()["runs"] == []
    assert len(admin.get(f"{PAGE}runs/?handler=echo&span=day").json()["runs"]) == 3


def test_of_many_runs_evenly_spaced_ones_are_read(admin: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runs_module, "MAX_RUNS", 10)
    one = task("failed")
    for number in range(1, 101):
        attempt(one, number, ended_at=timezone.now(), seconds=float(number))
    found, sampled = runs(0, timezone.now() - timedelta(hours=1))
    assert sampled
    tens = [int(run.seconds - 1) // 10 for run in found]
    assert tens == list(range(9, -1, -1)), "one of each ten, at a random place"
    assert len({int(run.seconds) % 10 for run in found}) > 2
    assert [run.seconds for run in runs(Attempt.objects.order_by("-pk")[5].pk, one.created_at)[0]] == [
        float(number) for number in range(100, 95, -1)
    ]


def test_the_latest_runs_are_listed(admin: Client) -> None:
    echo, prime = task("failed"), task("failed", task_type="prime")
    now = timezone.now()
    for number in range(1, 60):
        attempt(prime if number == 30 else echo, number, ended_at=now, seconds=float(number))
    assert [run.seconds for run in latest_runs(now - timedelta(hours=1))] == [float(n) for n in range(59, 9, -1)]
    assert [run.seconds for run in latest_runs(now - timedelta(hours=1), "prime")] == [30.0]
    assert latest_runs(now + timedelta(hours=1)) == []


@pytest.mark.long("many rows", seconds=40)
@pytest.mark.parametrize("handler", [None, "echo"])
def test_runs_are_read_along_the_key_however_many_there_are(handler: str | None) -> None:
    one = task("failed")
    now = timezone.now()
    Attempt.objects.bulk_create(
        (
            Attempt(task=one, number=number, node="n", started_at=now, ended_at=now, outcome="error", seconds=1.0)
            for number in range(1, 30_001)
        ),
        batch_size=1_000,  # a transaction in which nothing is sent for ten seconds is ended
    )
    with connection.cursor() as cursor:
        cursor.execute("ANALYZE taskdaemon_attempt")
    last = Attempt.objects.order_by("-pk").values_list("pk", flat=True)[0]
    for after in (0, last - 100):
        with CaptureQueriesContext(connection) as captured:
            found, _ = runs(after, now - timedelta(hours=1), handler)
            assert len(latest_runs(now - timedelta(hours=1), handler)) == MAX_LATEST
        assert len(found) == (MAX_RUNS if after == 0 else 100)
        for sent in captured:
            plan = explained(sent["sql"])
            assert not re.search(r"SCAN taskdaemon_(attempt|task)(?! USING)|Seq Scan on taskdaemon_attempt", plan), plan
            assert rows_read(sent["sql"]) < 5_000, sent["sql"]


def explained(sql: str) -> str:
    word = "EXPLAIN QUERY PLAN" if connection.vendor == "sqlite" else "EXPLAIN"
    with connection.cursor() as cursor:
        cursor.execute(f"{word} {sql}".replace("%", "%%"), [])
        return "\n".join(str(line) for line in cursor.fetchall())


def test_slots_say_what_they_do_and_lead_to_their_tasks(admin: Client) -> None:
    node("one", pools={"echo": {"slots": 5, "warm": 3, "problem": None}})
    node(
        "two",
        pools={
            "echo": {"slots": 2, "warm": 0, "problem": "no image"},
            "prime": {"slots": 1, "warm": 1, "problem": None},
        },
    )
    node("quiet", seen_before=300, pools={"echo": {"slots": 3, "warm": 3, "problem": None}})
    one = task("processing", node="one")
    lost = task("processing", node="quiet")
    rows = {(row.handler, row.node): row for row in slot_rows()}
    first, broken, silent = rows["echo", "one"], rows["echo", "two"], rows["echo", "quiet"]
    assert ([busy["task"] for busy in first.busy], first.warm, first.starting, first.dead) == ([str(one.pk)], 2, 2, 0)
    assert (broken.warm, broken.starting, broken.dead, broken.problem) == (0, 0, 2, "no image")
    assert (silent.state, [busy["task"] for busy in silent.busy], silent.dead) == ("silent", [str(lost.pk)], 2)
    assert {row.handler for row in slot_rows("prime")} == {"prime"}
    [answered, *_] = admin.get(f"{PAGE}slots/?handler=echo").json()["rows"]
    assert (answered["node"], answered["busy"][0]["link"]) == ("one", f"/admin/tasks_app/task/{one.pk}/change/")
    assert f'class="td-slot td-slot-busy" href="/admin/tasks_app/task/{one.pk}/change/"' in admin.get(PAGE).text


def test_a_row_of_slots_is_bounded(admin: Client) -> None:
    node("one", pools={"echo": {"slots": 5000, "warm": 5000, "problem": None}})
    [row] = slot_rows()
    assert (row.warm, row.more) == (MAX_SLOTS, 5000 - MAX_SLOTS)
    assert f"and {5000 - MAX_SLOTS} more" in admin.get(PAGE).text


@pytest.mark.parametrize("view", VIEWS)
def test_only_who_may_see_tasks_sees_it(view: str) -> None:
    assert logged_in(staff("vic", "view_node")).get(view).status_code == 403
    assert logged_in(staff("val", "view_task")).get(view).status_code == 200
    assert Client(SERVER_NAME="localhost").get(view).status_code == 302
    assert logged_in(staff("vin", "view_task")).post(view).status_code == 405


@pytest.mark.parametrize("query", ["span=year", "span=", f"span={HOSTILE}", "handler=ecco", f"handler={HOSTILE}"])
def test_an_address_that_is_not_understood_is_refused_with_what_there_is(admin: Client, query: str) -> None:
    page = admin.get(f"{PAGE}?{query}")
    assert (page.status_code, "<script>alert" in page.text) == (400, False)
    good = "hour, day, week" if query.startswith("span") else "echo"
    scripts = (admin.get(f"{view}?{query}", headers={"accept": "application/json"}) for view in VIEWS[1:])
    for answer in (page.text, *(answer.json()["error"] for answer in scripts)):
        assert good in answer


def test_hostile_names_and_texts_are_text(admin: Client) -> None:
    node(HOSTILE, pools={HOSTILE: {"slots": 1, "warm": 0, "problem": f"{HOSTILE}\u202e"}})
    one = task("failed", task_type=HOSTILE)
    attempt(one, 1, ended_at=timezone.now())
    minutes(1, 2, handler=HOSTILE)
    for query in ("", f"?handler={HOSTILE}"):
        text = admin.get(f"{PAGE}{query}").text
        assert "<script>alert" not in text and "&lt;script&gt;alert(1)" in text
        assert "\u202e" not in text and "\\u202e" in text
        for view in VIEWS[1:]:
            answer = admin.get(f"{view}{query}")
            assert (answer.status_code, answer.headers["Content-Type"]) == (200, "application/json")


def test_the_dashboard_names_handlers_without_slots_beside_no_problems(
    admin: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Those of this process, which may have met some in other tests.
    monkeypatch.setattr("tasks_app.admin.dashboard.problems", lambda reading: [])
    node("one", pools={"prime": {"slots": 1, "warm": 1, "problem": None}})
    submit("prime")
    cancel(submit("echo"))
    text = admin.get("/admin/").text
    assert "No problems. No node has slots for echo, and no task waits for them." in text


def test_the_dashboard_has_who_fails_now_with_links_to_the_errors_and_the_pause(admin: Client) -> None:
    work.submit(20)
    work.submit(1, "prime")
    record(present_minute() - 15)
    work.end(work.take(3), OutcomeKind.ERROR, retryable=False)
    work.end(work.take(1), OutcomeKind.SUCCESS)
    work.end(work.take(1, "prime"), OutcomeKind.ERROR, retryable=False)
    group_failures()
    current_reading(refresh=True)
    page = admin.get("/admin/").text
    assert "Failed in 15 min" in page and page.index("75% of 4") < page.index("100% of 1")
    echo, prime = FailureGroup.objects.order_by("handler")
    for link in (
        "/admin/tasks_app/task/?type=echo&amp;failed=quarter", f"/admin/tasks_app/failuregroup/{echo.pk}/change/",
        f"/admin/tasks_app/failuregroup/{prime.pk}/change/", "/admin/tasks_app/handlerpause/pause/?handler=echo",
    ):  # fmt: skip
        assert f'href="{link}"' in page.split("Failing now")[1].split("</section>")[0]
    assert admin.get("/admin/tasks_app/task/?type=echo&failed=quarter").context["cl"].result_count == 3
    viewer = logged_in(staff("nina", "view_task")).get("/admin/").text
    assert "75% of 4" in viewer and "failuregroup" not in viewer and "handlerpause/pause" not in viewer


def test_without_failures_the_dashboard_says_for_how_long(admin: Client) -> None:
    assert "Failing now" not in admin.get("/admin/").text, "no row says it"
    record(present_minute() - 7)
    assert "No task failed in the last 7 minutes." in admin.get("/admin/").text
