"""The filters of a list: each alone and with every other shows what docs/api.md says, page by page."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from django.test import Client
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from tasks_app.queue import task_search
from tasks_app.queue.models import FailureReason, Status, Task
from tests.api.list_reference import ERRORS, TAGS, TYPES, listed, store_tasks

pytestmark = [pytest.mark.database, pytest.mark.django_db]

TASKS = 60
#: Small enough that a page often ends before it is full.
ROWS_READ = 20
SERVED = {"status", "type", "ids", "limit", "order", "cursor", "fields"}


@pytest.fixture(params=[2, 1000], ids=["pending rows are many", "pending rows are few"])
def tasks(db: None, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> list[Task]:
    monkeypatch.setattr(task_search, "MAX_ROWS_READ", ROWS_READ)
    monkeypatch.setattr(task_search, "MAX_PENDING_READ", request.param)
    return store_tasks(TASKS, seed=19)


def pages(api: Client, query: dict[str, Any]) -> Iterator[list[dict[str, Any]]]:
    """All pages of a list, by their links."""
    address, data = "/api/tasks", query
    for _ in range(TASKS + 10):
        answer = api.get(address, data)
        assert answer.status_code == 200, answer.content
        yield answer.json()
        link = answer.headers.get("Link")
        assert ("Next-Cursor" in answer.headers) == (link is not None)
        if link is None:
            return
        following = parse_qs(urlsplit(link[1 : link.index(">")]).query, keep_blank_values=True)
        data = {name: values if name == "tag" else values[0] for name, values in following.items()}
        assert data == {**query, "cursor": answer.headers["Next-Cursor"]}
    raise AssertionError(f"{query}: the pages do not end")


def check(api: Client, tasks: list[Task], query: dict[str, Any]) -> None:
    """The pages of a list have what it is to show. Only filters without an index may have short pages."""
    found = list(pages(api, query))
    assert [task["id"] for page in found for task in page] == listed(tasks, query), query
    limit = int(query.get("limit", 20))
    assert all(len(page) <= limit for page in found)
    if query.keys() <= SERVED:
        assert all(len(page) == limit for page in found[:-1]), query


def examples(tasks: list[Task]) -> dict[str, list[Any]]:
    """Values of each filter: that most tasks have, that few have, that none has."""
    some = [str(task.pk) for task in tasks[::9]]
    return {
        "status": ["completed", "pending", "processing", "failed", "failed,pending", ",".join(Status.values)],
        "type": ["echo", "gone,prime", "nowhere"],
        "failure_reason": ["oom", "timeout,crash", ",".join(FailureReason.values)],
        "tag": [["a"], ["aa", "A"], ["b:1", "x/y.z@w=-_", "a"], ["b"]],
        "priority_min": ["0", "49"],
        "priority_max": ["100", "49"],
        "created_after": [
            tasks[TASKS // 2].created_at.isoformat(),
            tasks[0].created_at.isoformat(),
            "2999-01-01T00:00:00Z",
        ],
        "created_before": [
            tasks[TASKS // 2].created_at.isoformat(),
            tasks[2].created_at.isoformat(),
            "1969-01-01T00:00:00Z",
        ],
        "ids": [",".join(some), f"{some[3]},{some[3].upper()}"],
        "error": ["out of memory", "%", "_", "'", "\\", "😀", "nothing like it"],
    }


@pytest.mark.long("many rows", seconds=40)
def test_each_filter_and_each_pair_shows_what_a_scan_of_all_tasks_finds(api: Client, tasks: list[Task]) -> None:
    values = examples(tasks)
    values["ids"] = values["ids"][:1]
    turn = itertools.count()
    for one, other in itertools.combinations_with_replacement(values, 2):
        for first in values[one] if one == other else [values[one][next(turn) % len(values[one])]]:
            second = values[other][next(turn) % len(values[other])]
            query = {one: first, **({other: second} if other != one else {})}
            check(api, tasks, {**query, "limit": ("4", "10", "23")[next(turn) % 3]})
            check(api, tasks, {**query, "order": "oldest", "limit": ("23", "3", "10")[next(turn) % 3]})


def some(words: Any) -> st.SearchStrategy[str]:
    return st.lists(st.sampled_from(words), min_size=1, max_size=4).map(",".join)


@pytest.mark.long("many rows", seconds=40)
def test_any_filters_together_show_what_a_scan_of_all_tasks_finds(api: Client, tasks: list[Task]) -> None:
    moments = st.sampled_from([task.created_at.isoformat() for task in tasks])
    priorities = st.integers(0, 100).map(str)

    @settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck), database=None)
    @given(
        st.fixed_dictionaries(
            {"limit": st.integers(1, 25).map(str)},
            optional={
                "status": some(Status.values),
                "type": some((*TYPES, "none")),
                "failure_reason": some(FailureReason.values),
                "tag": st.lists(st.sampled_from([*TAGS, "b"]), min_size=1, max_size=3),
                "priority_min": priorities,
                "priority_max": priorities,
                "created_after": moments,
                "created_before": moments,
                "ids": st.lists(st.sampled_from([str(task.pk) for task in tasks]), min_size=1, max_size=100).map(
                    ",".join
                ),
                "error": st.sampled_from([*ERRORS, "o", "M"]),
                "order": st.sampled_from(["newest", "oldest"]),
            },
        )
    )
    def same(query: dict[str, Any]) -> None:
        assume(int(query.get("priority_min", 0)) <= int(query.get("priority_max", 100)))  # else it is 400
        check(api, tasks, query)

    same()
