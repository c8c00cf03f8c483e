"""Callbacks in the admin: the list and its filters, a page for each, those of a task, sending them again."""

from __future__ import annotations

from typing import Any
from uuid import uuid4

import pytest
from django.test import Client

from tasks_app.features.callbacks import admin as pages
from tasks_app.features.callbacks.models import Delivery, State
from tasks_app.keys.api_keys import ApiKey, create
from testkit.clients import logged_in
from tests.admin.rows import HOSTILE, in_role, task
from tests.features.callbacks.rows import URL, delivery

pytestmark = [pytest.mark.database, pytest.mark.django_db]

LIST = "/admin/tasks_app/delivery/"


def listed(client: Client, query: str = "") -> list[Delivery]:
    answer = client.get(f"{LIST}{query}")
    assert answer.status_code == 200, answer.text
    return list(answer.context["cl"].result_list)


def test_the_list_has_the_newest_first_with_what_became_of_each(admin: Client) -> None:
    failed = delivery(State.FAILED, tries=8, last_status=503, last_error="HTTP 503")
    waits = delivery(tries=1, last_error="connection refused", due_in=300.5)
    assert listed(admin) == [waits, failed]
    page = admin.get(LIST).text
    for shown in ("HTTP 503", "connection refused", "in 5 min", "hooks.example.org:443", str(failed.task)):
        assert shown in page
    assert "S3CRET" not in page


@pytest.mark.parametrize(("query", "expected"), [
    ("?status=failed", "one"), ("?host=Other.example:80", "two"), ("?type=prime", "three"),
    ("?status=pending&host=other.example:80", ""), ("?host=none.example:1", ""),
])  # fmt: skip
def test_the_list_is_narrowed_by_status_host_and_type(admin: Client, query: str, expected: str) -> None:
    rows = {
        "one": delivery(State.FAILED), "two": delivery(State.DELIVERED, host="other.example:80"),
        "three": delivery(task_type="prime"), "": None,
    }  # fmt: skip
    assert listed(admin, query) == [row for row in (rows[expected],) if row]


@pytest.mark.parametrize("query", ["?status=lost", "?host=a&host=b"])
def test_a_filter_that_is_not_understood_matches_nothing(admin: Client, query: str) -> None:
    delivery()
    assert listed(admin, query) == []
    assert "nothing matches" in admin.get(f"{LIST}{query}").text


def test_a_filter_looks_at_the_newest_only_and_says_so(admin: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pages, "MAX_LOOKED_AT", 2)
    old, _, new = delivery(State.FAILED), delivery(State.DELIVERED), delivery(State.FAILED)
    assert listed(admin, "?status=failed") == [new]
    assert "Looked at the newest 2 callbacks" in admin.get(f"{LIST}?status=failed").text
    assert old in listed(admin)
    waits = [delivery() for _ in range(3)]
    assert listed(admin, "?status=pending") == [waits[2], waits[1]]


def test_the_admin_counts_and_asks_before_it_sends_again_what_is_selected_or_all_that_match(admin: Client) -> None:
    first, second, other = delivery(State.FAILED), delivery(State.DELIVERED, host="b.example:1"), delivery(State.FAILED)
    form = {"action": "retry_selected", "_selected_action": [str(first.pk), str(second.pk)]}
    page = admin.post(LIST, form).text
    assert "Send again 2 callbacks: 1 to " in page and "1 to b.example:1" in page
    assert not Delivery.objects.filter(status=State.PENDING).exists(), "nothing is sent before the answer"
    assert "2 callbacks will be sent now" in admin.post(LIST, {**form, "sure": "yes"}, follow=True).text
    assert set(Delivery.objects.filter(status=State.PENDING)) == {first, second}
    every = {"action": "retry_selected", "_selected_action": [str(other.pk)], "select_across": "1"}
    asked = admin.post(f"{LIST}?status=failed", every).text
    assert "Send again 1 callback: 1 to" in asked and 'name="select_across" value="1"' in asked
    every["sure"] = "yes"
    assert "1 callback will be sent now" in admin.post(f"{LIST}?status=failed", every, follow=True).text
    assert not Delivery.objects.exclude(status=State.PENDING).exists()
    Delivery.objects.update(sender="node-1")
    assert "0 callbacks will be sent now" in admin.post(LIST, form, follow=True).text


def test_a_page_shows_what_is_sent_and_what_came_of_it(admin: Client) -> None:
    create("shop")
    key = ApiKey.objects.get()
    ApiKey.objects.update(callback_secret="whsec_x")
    of = task("completed")
    body = '{"type":"task.completed","data":{"result":"</pre><script>"}}'
    row = delivery(tries=2, last_status=500, last_error="HTTP 500", task=of.pk, key=key.pk, body=body)
    page = admin.get(f"{LIST}{row.pk}/change/").text
    for shown in (
        URL,
        "HTTP 500",
        "the secret of the API key shop",
        f"/task/{of.pk}/change/",
        str(row.pk),
        "Send again",
    ):
        assert shown in page
    assert "</pre><script>" not in page
    key.delete(), of.delete()
    page = admin.get(f"{LIST}{row.pk}/change/").text
    assert "the secrets of DAEMON_CALLBACK_SECRETS" in page and f"/task/{of.pk}/change/" not in page
    assert "no callback" in admin.get(f"{LIST}{uuid4()}/change/", follow=True).text


def test_a_tasks_page_has_its_callbacks_with_a_button_for_each(admin: Client) -> None:
    of = task("completed", callback_url=URL)
    page = f"/admin/tasks_app/task/{of.pk}/change/"
    assert "It is written within a second or two of the end." in admin.get(page).text
    row = delivery(State.FAILED, task=of.pk, tries=8, last_error=HOSTILE)
    shown = admin.get(page).text
    assert URL in shown and "Send again" in shown and HOSTILE not in shown and "failed" in shown
    answer = admin.post(f"{LIST}{row.pk}/retry/", {"task": "yes"}, follow=True)
    assert answer.redirect_chain[-1][0] == page and "will be sent now" in answer.text
    Delivery.objects.update(sender="node-1")
    assert "It is being sent already" in admin.post(f"{LIST}{row.pk}/retry/", follow=True).text
    assert admin.get(f"{LIST}{row.pk}/retry/").status_code == 405
    assert "no callback" in admin.post(f"{LIST}{uuid4()}/retry/", follow=True).text


def test_a_task_that_tells_nobody_has_no_word_of_it(admin: Client) -> None:
    assert "Callbacks</h2>" not in admin.get(f"/admin/tasks_app/task/{task('completed').pk}/change/").text
    waits = admin.get(f"/admin/tasks_app/task/{task('pending', callback_url=URL).pk}/change/").text
    assert "the task has not ended" in waits


def test_of_many_callbacks_of_a_task_the_newest_are_shown(admin: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pages, "MAX_OF_TASK", 2)
    of = task("failed", callback_url=URL)
    rows = [delivery(State.DELIVERED, task=of.pk) for _ in range(3)]
    page = admin.get(f"/admin/tasks_app/task/{of.pk}/change/").text
    assert [str(row.pk) in page for row in rows] == [False, True, True] and "Earlier ones are not shown" in page


def test_viewers_see_callbacks_without_addresses_and_bodies_and_send_none(admin: Client) -> None:
    of = task("completed", callback_url=URL)
    row = delivery(State.FAILED, task=of.pk, body='{"secret": 1}')
    viewer: Any = logged_in(in_role("viewer"))
    for address in (LIST, f"{LIST}{row.pk}/change/", f"/admin/tasks_app/task/{of.pk}/change/"):
        page = viewer.get(address).text
        assert "hooks.example.org:443" in page and "S3CRET" not in page and "secret&quot;" not in page
        assert "Send again" not in page and "Send the selected" not in page
    assert viewer.post(f"{LIST}{row.pk}/retry/").status_code == 403
    viewer.post(LIST, {"action": "retry_selected", "_selected_action": [str(row.pk)]})
    assert Delivery.objects.get().status == State.FAILED
    operator = logged_in(in_role("operator"))
    assert "S3CRET" in operator.get(f"{LIST}{row.pk}/change/").text
    assert "will be sent now" in operator.post(f"{LIST}{row.pk}/retry/", follow=True).text
