"""Schedules in the admin: the list, the page with its day, the form, the acts."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest
from django.test import Client

from tasks_app.features.schedules import admin as pages
from tasks_app.features.schedules.day import PARTS, marks
from tasks_app.features.schedules.definition import Definition
from tasks_app.features.schedules.firing import fire_due
from tasks_app.features.schedules.models import Firing, Schedule, Source
from tasks_app.queue.models import Task
from testkit.clients import logged_in
from tests.admin.rows import HOSTILE, staff
from tests.features.schedules.kit import move, schedule

pytestmark = [pytest.mark.database, pytest.mark.django_db]

LIST = "/admin/tasks_app/schedule/"
NEW = {
    "name": "report", "type": "echo", "cron": "0 6 * * *", "timezone": "Europe/Berlin", "overlap": "allow",
    "catch_up": "one", "enabled": "on", "data": '{"n": 1}', "options": '{"priority": 70}',
}  # fmt: skip
DAY = date(2026, 1, 1)
NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)


def line(outcome: str, at: datetime, name: str = "nightly", **more: Any) -> None:
    Firing.objects.create(schedule=name, scheduled_for=at, outcome=outcome, at=at, **more)


def test_a_schedule_is_made_and_edited_in_a_form(admin: Client) -> None:
    assert "Next ticks" in admin.post(f"{LIST}add/", NEW, follow=True).text
    row = Schedule.objects.get()
    assert row.definition == {
        "type": "echo", "cron": "0 6 * * *", "timezone": "Europe/Berlin", "data": {"n": 1}, "priority": 70
    }  # fmt: skip
    edit = admin.get(f"{LIST}report/edit/")
    shown = {name: field.value() for name, field in ((f.name, f) for f in edit.context["form"])}
    same = {name: value for name, value in shown.items() if value not in (None, False)}
    admin.post(f"{LIST}report/edit/", same)
    assert Schedule.objects.get().revision == row.revision, "what is saved unchanged goes on as it was"
    admin.post(f"{LIST}report/edit/", {**same, "jitter": "5"})
    assert Schedule.objects.get().definition["jitter"] == 5
    late = admin.post(f"{LIST}report/edit/", {**same, "jitter": "7"}).text
    assert "it has changed since the page was loaded. Nothing was done." in late
    assert Schedule.objects.get().definition["jitter"] == 5


def test_the_form_says_what_is_wrong_beside_each_field(admin: Client) -> None:
    wrong = NEW | {"name": "a b", "type": "ecoh", "cron": "0 0 30 2 *", "data": "{", "options": '{"tag": 1}'}
    page = admin.post(f"{LIST}add/", wrong)
    errors = page.context["form"].errors
    assert {"name", "type", "cron", "data", "options"} <= errors.keys() and not Schedule.objects.exists()
    assert "never comes" in errors["cron"][0] and 'did you mean "echo"' in errors["type"][0]
    schedule("report")
    assert "a schedule of this name already" in admin.post(f"{LIST}add/", NEW).text


def test_acts_ask_first(admin: Client) -> None:
    schedule()
    done = {"pause": "is paused", "resume": "fires again", "run": "has made a task", "delete": "is deleted"}
    for act, said in done.items():
        assert f"Yes, {act} it" in admin.get(f"{LIST}nightly/{act}/").text
        assert said in admin.post(f"{LIST}nightly/{act}/", follow=True).text
    assert Task.objects.count() == 1 and not Schedule.objects.exists()
    assert "no schedule" in admin.post(f"{LIST}nightly/pause/", follow=True).text


def test_a_schedule_of_handlers_toml_is_paused_but_neither_edited_nor_deleted(admin: Client) -> None:
    schedule()
    Schedule.objects.update(source=Source.FILE)
    page = admin.get(f"{LIST}nightly/change/").text
    assert "Pause…" in page and "Edit" not in page and "Delete…" not in page
    assert "handlers.toml defines" in admin.post(f"{LIST}nightly/delete/", follow=True).text


def test_a_day_shows_what_ran_and_why_not(admin: Client) -> None:
    row = schedule(cron="0 * * * *")
    line("made", NOON)
    line("skipped", NOON + timedelta(minutes=1), reason="a task of the schedule is not final")
    line("missed", NOON - timedelta(hours=20), until=NOON - timedelta(hours=10), count=11)
    row.next_at = NOON + timedelta(hours=1)
    found = marks(row, Definition.of(row.definition).timing, DAY, NOON + timedelta(minutes=30))
    assert [(mark.first, mark.last) for mark in found if mark.outcome is not None] == [(0, 8), (48, 48), (48, 48)]
    assert [mark.first for mark in found if mark.outcome is None] == list(range(52, PARTS, 4))
    page = admin.get(f"{LIST}nightly/change/?day=2026-01-01").text
    assert "01:45: missed" in page and "11 missed, 1 made, 1 skipped" in page
    assert "12:00: 1 made, 1 skipped" in page and "a task of the schedule is not final" in page
    assert "2025-12-31 16:00:00 to 2026-01-01 02:00:00 (11)" in page
    assert "Nothing became due" in admin.get(f"{LIST}nightly/change/?day=2026-01-09").text
    for day in ("tomorrow", "9999-12-31", "0001-01-01"):
        assert admin.get(f"{LIST}nightly/change/?day={day}").status_code == 400, day


def test_a_tasks_page_names_its_schedule(admin: Client) -> None:
    schedule()
    move("nightly", 1.0)
    fire_due()
    page = admin.get(f"/admin/tasks_app/task/{Task.objects.get().pk}/change/").text
    assert "Made by the schedule" in page and f"{LIST}nightly/change/" in page
    assert "made" in admin.get(LIST).text


def test_viewers_see_schedules_without_data_and_change_none(admin: Client) -> None:
    schedule(data={"secret": HOSTILE}, type="echo", callback_url="https://example.org/secret")
    viewer = logged_in(staff("view_task"))
    page = viewer.get(f"{LIST}nightly/change/").text
    assert "secret" not in page and "Pause…" not in page and "Edit" not in page
    for address in ("add/", "nightly/edit/", "nightly/pause/"):
        assert viewer.post(f"{LIST}{address}", NEW).status_code == 403
    assert "secret" in admin.get(f"{LIST}nightly/change/").text
    assert HOSTILE not in admin.get(f"{LIST}nightly/change/").text


def test_a_definition_of_a_newer_version_has_a_page_that_says_so(admin: Client) -> None:
    schedule()
    line("made", NOON)
    Schedule.objects.update(definition={"type": "echo", "every": "1 moon", "phase": "full"})
    page = admin.get(f"{LIST}nightly/change/?day=2026-01-01").text
    assert "does not understand it" in page and "every 1 moon" in page and "12:00: 1 made" in page
    assert ">Edit<" not in page and "every 1 moon" in admin.get(LIST).text
    admin.post(f"{LIST}nightly/pause/")
    for act in ("run", "resume"):
        assert "does not understand it" in admin.post(f"{LIST}nightly/{act}/", follow=True).text, act
    assert "does not understand it" in admin.get(f"{LIST}nightly/edit/", follow=True).text
    assert not Task.objects.exists()


def test_a_day_with_many_lines_shows_the_newest_and_says_how_many_there_are(
    admin: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pages, "MAX_LINES", 2)
    schedule()
    for minutes in range(5):
        line("made", NOON + timedelta(minutes=minutes))
    page = admin.get(f"{LIST}nightly/change/?day=2026-01-01").text
    assert "12:04:00" in page and "12:02:00" not in page and "12:00: 5 made" in page
    assert "3 earlier lines of this day are not shown" in page
