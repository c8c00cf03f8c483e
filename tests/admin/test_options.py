"""Tasks with all that their callers may ask for: their pages, and the searches by tag and by unique key."""

from __future__ import annotations

from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest
from django.test import Client
from django.utils import timezone

from tasks_app.admin.detail import MAX_UNFOLDED_CHARS
from tasks_app.audit import AuditEntry
from tasks_app.queue import task_search
from tasks_app.queue.models import Task
from tests.admin.rows import HOSTILE, task
from tests.admin.test_acting import act, counted
from tests.admin.test_detail import events, page
from tests.admin.test_list import LIST, found

pytestmark = pytest.mark.database


def with_everything(status: str = "pending", **fields: Any) -> Task:
    """A task with a value in every optional column that its status allows."""
    given = {
        "requested_timeout": 90.0,
        "requested_max_retries": 7,
        "tags": ["nightly", "customer:42/eu"],
        "metadata": {"order": 4711},
        "unique_key": "invoice 4711",
    }
    if status == "pending":
        soon = timezone.now() + timedelta(hours=1)
        given |= {"due": 1e9, "due_at": soon, "expires_at": soon + timedelta(hours=1)}
    return task(status, **given | fields)


def test_a_tasks_page_shows_all_that_its_caller_asked_for(admin: Client) -> None:
    one = with_everything()
    text = page(admin, one).text
    for part in (
        *("Scheduled", "in 60 min", "Expires", "Requested timeout", "90 s", "Requested retries", ">7<", "4711"),
        *('href="/admin/tasks_app/task/?q=tag%3Anightly"', ">customer:42/eu</a>", ">invoice 4711</a>"),
    ):
        assert part in text, part
    assert "Next retry" not in text
    assert events(admin, one)[-1].startswith("scheduled in ")
    assert "scheduled in " in admin.get(LIST).text


def test_a_scheduled_task_whose_time_has_come_is_ready_for_the_first_time(admin: Client) -> None:
    assert "ready" in events(admin, with_everything(due=None, due_at=None, ready_at=timezone.now()))


def test_nothing_is_shown_of_what_no_caller_asked_for(admin: Client) -> None:
    text = page(admin, task()).text
    for name in ("Scheduled", "Expires", "Requested", "Tags", "Unique key", "Metadata"):
        assert name not in text


def test_long_metadata_is_folded_and_short_metadata_is_not(admin: Client) -> None:
    assert '<details class="td-fold" open>' in page(admin, with_everything()).text
    text = page(admin, with_everything(unique_key=None, metadata={"note": "x" * MAX_UNFOLDED_CHARS})).text
    assert '<details class="td-fold">' in text and "xxx" in text


@pytest.mark.parametrize("wrong", [7, "nightly", {"a": 1}, [None, [1]]])
def test_tags_that_are_no_list_of_texts_break_no_page(admin: Client, wrong: object) -> None:
    page(admin, with_everything(tags=wrong))


def test_a_tag_finds_its_tasks_and_several_those_that_have_all(admin: Client) -> None:
    one = with_everything(tags=["a", "b"], unique_key=None)
    two = with_everything("completed", tags=["b", "a/b"], unique_key=None)
    task()
    assert found(admin, q="tag:b") == {one.pk, two.pk}
    assert found(admin, q="tag:b tag:a") == {one.pk}
    assert found(admin, q="tag:b", status="completed") == {two.pk}
    for nothing in ("tag:A", "tag:a/", "tag:%", 'tag:a"', 'tag:","', "tag:b tag:nightly"):
        assert found(admin, q=nothing) == set(), nothing


def test_tags_and_words_find_failed_tasks_with_both(admin: Client) -> None:
    one = with_everything("failed", last_error="the disk is full")
    with_everything("failed", last_error="no route"), with_everything("completed")
    assert found(admin, q="tag:nightly disk") == {one.pk}


def test_a_unique_key_finds_the_living_task_and_the_final_ones_of_every_type(admin: Client) -> None:
    living, ended = with_everything(unique_key="a b"), with_everything("failed", unique_key="a b")
    other = with_everything(task_type="prime", unique_key="a b")
    with_everything(unique_key="a")
    assert found(admin, q="key:a b") == {living.pk, ended.pk, other.pk}
    assert found(admin, q="key:a b", type="prime") == {other.pk}
    assert found(admin, q="key:a b", reason="handler_error") == {ended.pk}
    assert found(admin, q="key:a b ") == set(), "a blank is part of a key"
    assert found(admin, q="key:" + " ".join("abcdefghij")) == set(), "it may have many blanks"


def test_the_newest_tasks_are_searched_and_living_ones_with_a_key_however_old(
    admin: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(task_search, "MAX_ROWS_READ", 2)
    _, old, _, _ = (with_everything("completed", pk=UUID(int=n)) for n in (1, 2, 4, 5))
    living, failed = with_everything(pk=UUID(int=3)), with_everything("failed", pk=UUID(int=6))
    assert found(admin, q="tag:nightly") == {UUID(int=5), failed.pk}
    assert found(admin, q="key:invoice 4711") == {living.pk, UUID(int=5), failed.pk}
    assert found(admin, q="tag:nightly", status="failed") == {failed.pk}
    assert old.pk in found(admin)
    for query, sentence in (
        ("q=tag:nightly", "Looked at the newest 2 tasks, back to 1970-01-01 00:00:00 UTC."),
        (f"q=tag:nightly&older={living.pk}", "2 tasks among 2 tasks further back"),
        ("q=key:nightly", "Looked at the newest 2 tasks, and at all that have not ended."),
        ("q=nothing", ""),
    ):
        text = admin.get(f"{LIST}?{query}").text
        assert sentence in text and ("Looked at" in text) == bool(sentence), query


def test_a_redrive_names_the_living_task_with_the_same_unique_key_and_does_nothing(admin: Client) -> None:
    failed, living = with_everything("failed", task_type=HOSTILE), with_everything(task_type=HOSTILE)
    answer = admin.post(f"{LIST}{failed.pk}/redrive/", follow=True)
    assert f'<a href="{LIST}{living.pk}/change/">the task {living.pk}</a> has the same unique key' in answer.text
    assert "<script>alert" not in answer.text and "was redriven" not in answer.text
    assert Task.objects.get(pk=failed.pk).status == "failed"
    assert not AuditEntry.objects.exists()


def test_selected_tasks_whose_unique_key_a_living_task_has_are_skipped_and_counted(admin: Client) -> None:
    with_everything(unique_key="one")
    twin = with_everything("failed", unique_key="one")
    first, second = (with_everything("failed", unique_key="two") for _ in range(2))
    others = [task("failed") for _ in range(3)]
    done = task("completed")
    ids = [each.pk for each in (others[0], twin, first, others[1], second, done, others[2])]
    assert act(admin, "redrive_selected", *ids) == (
        "4 redriven, 1 skipped: already completed, "
        "2 skipped: a task that has not ended has the same type and unique key."
    )
    still = set(Task.objects.filter(status="failed").values_list("pk", flat=True))
    assert still == {twin.pk, second.pk}, "the older of two goes first"
    assert AuditEntry.objects.get().count == 4 and counted("redriven|echo") == 4
