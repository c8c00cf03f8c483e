"""Drain and undrain in the admin."""

from __future__ import annotations

import pytest
from django.test import Client
from django.utils import timezone

from tasks_app.audit.models import AuditEntry
from tasks_app.queue.node_models import Node
from testkit.rows import node
from tests.admin.rows import task

pytestmark = [pytest.mark.database, pytest.mark.django_db]

ONE = "/admin/tasks_app/node/one"


def audited() -> list[tuple[str, str, str, str]]:
    return list(AuditEntry.objects.order_by("pk").values_list("actor", "via", "action", "target"))


def test_a_node_is_drained_and_undrained_from_its_page_after_a_question(admin: Client) -> None:
    node("one", pools={})
    task("processing", node="one")
    assert f"{ONE}/drain/" in admin.get(f"{ONE}/change/").text
    asked = admin.get(f"{ONE}/drain/").text
    assert "Drain one?" in asked and "1 task runs on it." in asked and not Node.objects.get().drain_requested
    page = admin.post(f"{ONE}/drain/", follow=True).text
    assert "Drained one." in page and "drain asked for" in page and f"{ONE}/undrain/" in page
    Node.objects.update(draining=True)
    assert "drained, 1 runs" in admin.get(f"{ONE}/change/").text
    assert "Nothing changed: one was drained before." in admin.post(f"{ONE}/drain/", follow=True).text
    assert "Undrained one." in admin.post(f"{ONE}/undrain/", follow=True).text
    assert audited() == [("ada", "admin", "drain", "one"), ("ada", "admin", "undrain", "one")]


def test_an_empty_node_says_so_on_its_page_and_on_the_dashboard(admin: Client) -> None:
    node("one", pools={}, draining=True, drain_requested_at=timezone.now(), drain_requested_by="alice")
    assert "drained, empty" in admin.get(f"{ONE}/change/").text
    assert "drained, empty" in admin.get("/admin/tasks_app/node/").text
    assert "drained, empty" in admin.get("/admin/").text


def test_a_node_that_has_ended_has_no_button_and_cannot_be_drained(admin: Client) -> None:
    node("one", pools={}, stopped_at=timezone.now())
    assert "/drain/" not in admin.get(f"{ONE}/change/").text
    assert "Node one has ended: nothing was done" in admin.post(f"{ONE}/drain/", follow=True).text
    assert "nothing was done" in admin.post("/admin/tasks_app/node/%3Cb%3E/drain/", follow=True).text


def test_a_drain_of_a_node_that_is_missing_is_not_asked_about(admin: Client) -> None:
    for answer in (admin.get, admin.post):
        assert "There is no node gone" in answer("/admin/tasks_app/node/gone/drain/", follow=True).text
