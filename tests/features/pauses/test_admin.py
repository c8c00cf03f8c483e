"""Pause and resume in the admin, and what drains have in common with them."""

from __future__ import annotations

import re
from datetime import timedelta
from typing import Any

import pytest
from django.test import Client
from django.utils import timezone

from tasks_app.admin.dashboard import board
from tasks_app.audit import AuditEntry
from tasks_app.queue.node_models import HandlerPause
from tasks_app.queue.submit import submit
from testkit.clients import logged_in
from tests.admin.rows import HOSTILE, staff, task

pytestmark = [pytest.mark.database, pytest.mark.django_db]

PAUSES = "/admin/tasks_app/handlerpause/"
PAUSE, RESUME = f"{PAUSES}pause/?handler=echo", f"{PAUSES}resume/?handler=echo"


def audited() -> list[tuple[str, str, str, str]]:
    return list(AuditEntry.objects.order_by("pk").values_list("actor", "via", "action", "target"))


def test_a_handlers_row_has_a_link_that_pauses_it_after_a_question(admin: Client) -> None:
    submit("echo")
    assert PAUSE in admin.get("/admin/").text
    asked = admin.get(PAUSE)
    assert "Pause echo?" in asked.text and "1 of its tasks wait, 0 run." in asked.text
    assert not HandlerPause.objects.exists()
    done = admin.post(PAUSE, {"until": ""}, follow=True)
    assert "Paused echo: workers stop starting its tasks within 2 s." in done.text
    assert HandlerPause.objects.get().paused_by == "ada" and audited() == [("ada", "admin", "pause", "echo")]


def test_a_pause_is_shown_with_who_and_since_when_and_resumed_after_a_question(admin: Client) -> None:
    admin.post(PAUSE, {"until": "2100-01-31T09:00"})
    page = admin.get("/admin/").text
    since = f"{HandlerPause.objects.get().paused_at:%Y-%m-%d %H:%M:%S}"
    assert f"by ada since {since} UTC, until 2100-01-31 09:00:00 UTC" in page and RESUME in page
    assert "ada" in admin.get(PAUSES).text and "2100-01-31 09:00:00 UTC" in admin.get(PAUSES).text
    assert "<strong>It is paused</strong> by ada" in admin.get(PAUSE).text
    assert "Resume echo?" in admin.get(RESUME).text and HandlerPause.objects.exists()
    assert "Resumed echo: its tasks start." in admin.post(RESUME, follow=True).text
    assert not HandlerPause.objects.exists()
    assert "Not paused: echo." in admin.post(RESUME, follow=True).text


def test_a_bad_end_is_said_in_the_form_and_pauses_nothing(admin: Client) -> None:
    for text, said in (("2020-01-31T09:00", "has passed: by the database"), ("soon", "Enter a valid date/time.")):
        assert said in admin.post(PAUSE, {"until": text}).text
    assert not HandlerPause.objects.exists()


def hidden(page: str) -> str:
    """What the form of a page has seen."""
    found = re.search(r'<input type="hidden" name="seen"(?: value="(\w*)")?', page)
    assert found is not None
    return found[1] or ""


def until() -> timedelta | None:
    """For how long the pause lasts, in whole minutes."""
    at = HandlerPause.objects.get().until
    return None if at is None else timedelta(minutes=round((at - timezone.now()).total_seconds() / 60))


def test_a_pause_ends_in_half_an_hour_in_two_hours_or_at_a_time_in_the_viewers_zone(admin: Client) -> None:
    asked = admin.get(PAUSE).text
    for choice in ("when it is resumed", "in 30 min", "in 2 h", "at a time"):
        assert choice in asked
    for end, length in (("1800", timedelta(minutes=30)), ("7200", timedelta(hours=2)), ("", None)):
        assert admin.post(PAUSE, {"end": end}).status_code == 302 and until() == length
    admin.post(PAUSE, {"end": "at", "until": "2100-01-31T10:30", "offset": "330"})
    assert f"{HandlerPause.objects.get().until}" == "2100-01-31 05:00:00+00:00"
    page = admin.get(PAUSE).text
    assert "as now, at 2100-01-31 05:00:00 UTC" in page
    admin.post(PAUSE, {"end": "keep", "reason": "a bad model"})
    assert f"{HandlerPause.objects.get().until}" == "2100-01-31 05:00:00+00:00"


@pytest.mark.parametrize(("given", "said"), [
    ({"end": "at"}, "Give a time, or choose another end."),
    ({"end": "1800", "until": "2100-01-31T09:00"}, "Choose that it ends at a time, or leave this blank."),
    ({"end": "60"}, "Select a valid choice."),
    ({"end": "at", "until": "2100-01-31T09:00", "offset": "2000"}, "less than or equal to 1080"),
    ({"end": "at", "until": "9999-12-31T23:59", "offset": "-60"}, "There is no such time in UTC."),
    ({"end": "at", "until": "0001-01-01T00:00", "offset": "60"}, "There is no such time in UTC."),
    ({"reason": "x" * 201}, "at most 200 characters"),
])  # fmt: skip
def test_what_the_form_cannot_mean_is_said_and_pauses_nothing(admin: Client, given: Any, said: str) -> None:
    assert said in admin.post(PAUSE, given).text
    assert not HandlerPause.objects.exists()


def test_a_reason_is_shown_wherever_the_pause_is(admin: Client) -> None:
    submit("echo")
    admin.post(PAUSE, {"reason": "a <bad> model"})
    for page in ("/admin/", PAUSES, PAUSE, RESUME, "/admin/handlers/", "/admin/handler/?type=echo"):
        assert "a &lt;bad&gt; model" in admin.get(page).text, page


def test_a_page_that_is_out_of_date_changes_nothing_says_by_whom_and_asks_again(admin: Client) -> None:
    old = hidden(admin.get(PAUSE).text)
    other = logged_in(staff("bob", "change_task"))
    other.post(PAUSE, {"reason": "a bad model"})
    page = admin.post(PAUSE, {"end": "1800", "reason": "mine", "seen": old}).text
    assert "it is paused by bob" in page and "(a bad model)" in page and 'value="mine"' in page
    assert HandlerPause.objects.get().paused_by == "bob"
    assert admin.post(PAUSE, {"end": "1800", "reason": "mine", "seen": hidden(page)}).status_code == 302
    assert HandlerPause.objects.get().paused_by == "ada"
    old = hidden(admin.get(PAUSE).text)
    other.post(PAUSE, {"end": "7200"})
    page = admin.post(PAUSE, {"end": "keep", "reason": "mine", "seen": old}).text
    assert re.search(r'value="keep"[^>]* checked', page) and until() == timedelta(hours=2)
    old = hidden(admin.get(RESUME).text)
    other.post(RESUME)
    kept = admin.post(PAUSE, {"end": "keep", "seen": old})
    assert kept.status_code == 200 and "bob has resumed it" in kept.text and not HandlerPause.objects.exists()
    other.post(PAUSE)
    page = admin.post(RESUME, {"seen": old}).text
    assert "it is paused by bob" in page and HandlerPause.objects.exists()
    assert "Resumed echo" in admin.post(RESUME, {"seen": hidden(page)}, follow=True).text


def test_a_handler_that_nothing_knows_is_refused_in_a_sentence(admin: Client) -> None:
    for verb in ("pause", "resume"):
        for query in ("handler=%3Cb%3E", "", "handler=", f"handler={'x' * 3_000}"):
            for answer in (admin.get, admin.post):
                page = answer(f"{PAUSES}{verb}/?{query}")
                assert page.status_code == 404 and "No handler is named" in page.text and "<b>" not in page.text
                assert "Yes, " not in page.text
    assert audited() == []


@pytest.mark.parametrize("query", ["type=echo", "handler=echo&handler=prime", "handler=echo&until=x", "handler=%00"])
def test_an_address_that_means_more_than_one_type_is_refused(admin: Client, query: str) -> None:
    for verb in ("pause", "resume"):
        for answer in (admin.get, admin.post):
            page = answer(f"{PAUSES}{verb}/?{query}")
            assert page.status_code == 400 and "Yes, " not in page.text
    assert not HandlerPause.objects.exists()


@pytest.mark.parametrize("name", [HOSTILE, "", "a/b?c&d#e", "‮", "ä" * 100])
def test_a_type_of_any_name_can_be_paused_from_its_row(admin: Client, name: str) -> None:
    task(task_type=name)
    mine = f"handler={name[:1]}"[:8]
    rows = board(acts=True)["handlers"]
    [row] = [row for row in rows if mine in row["acts"][0].address and row["tasks"][0][1] == "1"]
    assert admin.post(row["acts"][0].address, {"until": ""}).status_code == 302
    assert HandlerPause.objects.get().handler == name
    page = admin.get("/admin/").text
    assert HOSTILE not in page and "paused" in page


def test_a_pause_that_has_ended_is_not_listed(admin: Client) -> None:
    HandlerPause.objects.create(handler="echo", paused_at=timezone.now(), paused_by="alice", until=timezone.now())
    assert "alice" not in admin.get(PAUSES).text and "alice" not in admin.get("/admin/").text


def test_without_a_permission_on_tasks_pauses_are_not_shown() -> None:
    user = logged_in(staff("nina"))
    assert user.get(PAUSES).status_code == 403 and user.post(PAUSE).status_code == 403


@pytest.mark.parametrize("page", ["node/%00/change", "node/%00/history", "node/%00/drain", "handlerpause/%00/change"])
def test_an_id_with_a_nul_is_one_that_is_missing(admin: Client, page: str) -> None:
    assert admin.get(f"/admin/tasks_app/{page}/").status_code == 302
