"""Drain and undrain in the admin."""

from __future__ import annotations

import re

import pytest
from django.test import Client
from django.utils import timezone

from tasks_app.audit import AuditEntry
from tasks_app.metrics.system_reading import current_reading
from tasks_app.queue.node_models import Node
from testkit.clients import logged_in
from testkit.rows import node, pool
from tests.admin.rows import staff, task

pytestmark = [pytest.mark.database, pytest.mark.django_db]

ONE = "/admin/tasks_app/node/one"


def audited() -> list[tuple[str, str, str, str]]:
    return list(AuditEntry.objects.order_by("pk").values_list("actor", "via", "action", "target"))


def test_a_node_is_drained_and_undrained_from_its_page_after_a_question(admin: Client) -> None:
    node("one", pools={})
    task("processing", node="one")
    assert f"{ONE}/drain/" in admin.get(f"{ONE}/change/").text
    asked = admin.get(f"{ONE}/drain/").text
    assert "Drain one?" in asked and "1 task runs on it." in asked and not Node.objects.get().drain_requested_at
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
    for answer in (admin.get, admin.post):
        for verb in ("drain", "undrain"):
            assert "Node one has ended: nothing was done" in answer(f"{ONE}/{verb}/", follow=True).text
    assert "nothing was done" in admin.post("/admin/tasks_app/node/%3Cb%3E/drain/", follow=True).text


def test_a_drain_of_a_node_that_is_missing_is_not_asked_about(admin: Client) -> None:
    for answer in (admin.get, admin.post):
        assert "There is no node gone" in answer("/admin/tasks_app/node/gone/drain/", follow=True).text


def hidden(page: str) -> str:
    """What the form of a page has seen."""
    found = re.search(r'<input type="hidden" name="seen"(?: value="(\w*)")?', page)
    assert found is not None
    return found[1] or ""


def test_a_reason_is_asked_for_and_shown_wherever_the_drain_is(admin: Client) -> None:
    node("one", pools={})
    page = admin.post(f"{ONE}/drain/", {"reason": "a <new> disk"}, follow=True).text
    assert "(a &lt;new&gt; disk)" in page
    assert "(a &lt;new&gt; disk)" in admin.get("/admin/tasks_app/node/").text
    assert "It is drained</strong> by ada" in admin.get(f"{ONE}/undrain/").text
    assert "at most 200 characters" in admin.post(f"{ONE}/drain/", {"reason": "x" * 201}).text


def test_a_type_is_drained_from_the_page_that_drains_and_undrained_from_the_nodes(admin: Client) -> None:
    node("one", pools={"echo": pool(2, 2), "prime": pool(1, 1)})
    task("processing", node="one", task_type="echo")
    assert f"{ONE}/drain/?type=echo" in admin.get(f"{ONE}/drain/").text
    asked = admin.get(f"{ONE}/drain/?type=echo").text
    assert "Drain one for echo?" in asked and "1 task runs on it." in asked
    page = admin.post(f"{ONE}/drain/?type=echo", {"reason": "new model", "seen": hidden(asked)}, follow=True).text
    assert "Drained one for echo." in page and "drained for echo" in page and "(new model)" in page
    assert f"{ONE}/drain/" in page and f"{ONE}/undrain/?type=echo" in page
    current_reading(refresh=True)
    for elsewhere in ("/admin/", "/admin/tasks_app/node/"):
        assert "drained for echo" in admin.get(elsewhere).text
    assert "(new model)" in admin.get("/admin/handler/?type=echo").text
    assert "Undrained one for echo." in admin.post(f"{ONE}/undrain/?type=echo", follow=True).text
    for answer in (admin.get, admin.post):
        for verb in ("drain", "undrain"):
            refused = answer(f"{ONE}/{verb}/?type=%3Cb%3E", follow=True).text
            assert "does not serve &quot;&lt;b&gt;&quot;: nothing was done" in refused
    assert Node.objects.get().drained_types is None


def test_a_page_that_is_out_of_date_changes_nothing_says_whose_drain_there_is_and_asks_again(admin: Client) -> None:
    node("one", pools={})
    old = hidden(admin.get(f"{ONE}/drain/").text)
    other = logged_in(staff("bob", "change_task", "view_node"))
    other.post(f"{ONE}/drain/", {"reason": "a new disk"})
    page = admin.post(f"{ONE}/drain/", {"reason": "mine", "seen": old}).text
    assert "it is drained by bob" in page and "(a new disk)" in page and 'value="mine"' in page
    assert Node.objects.get().drain_reason == "a new disk"
    assert "Drained one." in admin.post(f"{ONE}/drain/", {"reason": "mine", "seen": hidden(page)}, follow=True).text
    assert Node.objects.get().drain_reason == "mine"
    old = hidden(admin.get(f"{ONE}/undrain/").text)
    other.post(f"{ONE}/undrain/")
    assert "bob has undrained it" in admin.post(f"{ONE}/undrain/", {"seen": old}, follow=True).text
    assert "one is not drained" in admin.get(f"{ONE}/undrain/", follow=True).text


@pytest.mark.parametrize("query", ["handler=echo", "type=echo&type=prime", "type=echo&x=1", "type=%00"])
def test_an_address_that_means_more_than_one_type_is_refused(admin: Client, query: str) -> None:
    node("one", pools={"echo": pool(2, 2), "prime": pool(1, 1)})
    for verb in ("drain", "undrain"):
        for answer in (admin.get, admin.post):
            page = answer(f"{ONE}/{verb}/?{query}")
            assert page.status_code == 400 and "Yes, " not in page.text
    assert audited() == []
