"""Alerts on the dashboard: a row each, with what is so now and links to what it is about."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.test import Client
from django.utils import timezone

from tasks_app.features.alerts.alerts import ROUND
from tasks_app.features.alerts.models import Alert
from testkit.clients import logged_in
from tests.admin.rows import HOSTILE, staff

pytestmark = [pytest.mark.database, pytest.mark.django_db]


def fires(key: str, sentence: str = "it is so", **fields: object) -> None:
    Alert.objects.create(
        key=key, firing=True, sentence=sentence, since=timezone.now() - timedelta(minutes=12), **fields
    )


def test_each_alert_is_a_row_with_what_is_so_now_since_when_and_links(admin: Client) -> None:
    Alert.objects.create(key=ROUND, seen_at=timezone.now() - timedelta(minutes=5))
    fires("oldest_age|echo", "handler echo: the oldest ready task has waited for 6 min")
    fires("failed_share|echo", differs_since=timezone.now() - timedelta(minutes=3))
    fires("no_node", HOSTILE)
    page = admin.get("/admin/").text
    assert "the oldest ready task has waited for 6 min</td>" in page
    assert page.count(", for 12 min</td>") == 3
    assert page.count(">over for 3 min<") == 1
    assert page.count(">fires<") == 2
    for link in (
        "/admin/handler/?type=echo", "/admin/tasks_app/task/?type=echo&amp;status=pending",
        "/admin/tasks_app/task/?type=echo&amp;failed=quarter", "/admin/tasks_app/node/",
    ):  # fmt: skip
        assert f'href="{link}"' in page and admin.get(link.replace("&amp;", "&")).status_code == 200
    assert "Evaluated 5 min ago." in page and HOSTILE not in page


def test_what_the_webhook_was_not_told_says_why_and_no_longer_what_is_so_now(admin: Client) -> None:
    fires("failed_share|echo", "9 of 20 failed", told=False, send_error="http://hook/... answered 500")
    page = admin.get("/admin/").text
    assert ">9 of 20 failed<" in page and "Not sent yet: http://hook/... answered 500" in page
    Alert.objects.update(differs_since=timezone.now())
    assert "when it fired, 9 of 20 failed" in admin.get("/admin/").text


def test_of_many_alerts_the_first_are_shown_and_the_others_counted(admin: Client) -> None:
    for number in range(23):
        fires(f"cannot_start|h{number:02}")
    page = admin.get("/admin/").text
    assert page.count("cannot start <") == 20 and "3 more alerts fire." in page


def test_without_alerts_there_is_no_word_of_them_and_nodes_are_only_for_who_may_see_them(admin: Client) -> None:
    assert "Alerts" not in admin.get("/admin/").text
    fires("no_node")
    viewer = logged_in(staff("nina", "view_task")).get("/admin/").text
    assert "no node <" in viewer and 'href="/admin/tasks_app/node/"' not in viewer
