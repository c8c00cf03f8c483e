"""Every list is read page by page in one way: `limit`, `cursor`, a relative `Link`, `Next-Cursor`."""

from __future__ import annotations

from typing import Any

import pytest
from django.test import Client
from django.utils import timezone

from tasks_app.features.operations import api as operations_api
from tasks_app.features.operations.models import Operation, Verb
from tasks_app.queue.idempotency import NO_ID
from tasks_app.queue.models import Attempt, Task
from tasks_app.queue.node_models import Node
from tasks_app.queue.settle import settle
from testkit.rows import node
from tests.keys.rows import Holder
from tests.queue.moves.kit import failure, running, submitted, take

pytestmark = [pytest.mark.django_db, pytest.mark.database]


def pages(ask: Any, address: str) -> list[list[dict[str, Any]]]:
    """The pages of a list, from one to the next."""
    path, found = address.partition("?")[0], []
    while address:
        answer = ask(address)
        assert answer.status_code == 200, answer.content
        found.append(answer.json())
        link, cursor = answer.headers.get("Link", ""), answer.headers.get("Next-Cursor")
        address = link.removeprefix("<").removesuffix('>; rel="next"')
        assert (cursor is not None) == bool(link) and (not link or f"cursor={cursor}" in address)
        assert not link or address.startswith(f"{path}?"), "it is relative"
    return found


def operation(types: list[str] | None = None) -> Operation:
    last = Task.objects.order_by("-pk").values_list("pk", flat=True)[0]
    return Operation.objects.create(
        verb=Verb.DELETE, filter={}, types=types, last_id=last, created_at=timezone.now(), created_by="ada"
    )


def test_every_list_leads_from_page_to_page(api: Client) -> None:
    task = running()
    for _ in range(3):
        settle("node", [failure(task)])
        [task] = take()
    submitted(1, 2, 3)
    for name in ("one", "two", "three", "four"):
        node(name)
    for _ in range(5):
        operation()
    for address, name, count in (
        ("/api/tasks", "id", 4), (f"/api/tasks/{task.id}/attempts", "number", 3), ("/api/operations", "id", 5),
        ("/api/handlers", "type", len(api.get("/api/handlers").json())), ("/api/nodes", "name", 4),
    ):  # fmt: skip
        whole = [each[name] for each in api.get(address).json()]
        assert len(whole) == count, address
        read = pages(api.get, f"{address}?limit=2")
        assert [each[name] for page in read for each in page] == whole, address
        assert [len(page) for page in read] == [2] * (count // 2) + [1] * (count % 2), address
    assert Attempt.objects.count() == 3


def test_more_operations_than_a_page_can_have_are_listed(api: Client) -> None:
    submitted(1)
    made = {str(operation().pk) for _ in range(283)}
    assert {each["id"] for page in pages(api.get, "/api/operations?limit=100") for each in page} == made


def test_pages_of_a_key_with_types_have_all_operations_that_it_knows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(operations_api, "MAX_READ", 3)
    submitted(1)
    holder, mine = Holder(types=["mine"]), []
    for number in range(8):
        operation(["mine", "other"] if number % 2 else None)
        if number in (0, 1, 7):
            mine.append(str(operation(["mine"]).pk))
    read = pages(lambda address: holder.ask("GET", address), "/api/operations?limit=2")
    assert [each["id"] for page in read for each in page] == mine[::-1]


def test_pages_go_on_past_a_row_that_has_been_removed_meanwhile(api: Client) -> None:
    submitted(1, 2, 3, 4)
    for name in ("a", "B", "b", "c"):
        node(name)
    for _ in range(4):
        operation()
    for path, model, name in (("tasks", Task, "id"), ("operations", Operation, "id"), ("nodes", Node, "name")):
        whole = [each[name] for each in api.get(f"/api/{path}").json()]
        first = api.get(f"/api/{path}?limit=2")
        model.objects.filter(pk=first.json()[-1][name]).delete()
        rest = pages(api.get, first.headers["Link"].removeprefix("<").removesuffix('>; rel="next"'))
        assert [each[name] for page in rest for each in page] == whole[2:], path


CURSORS = [
    (path, cursor)
    for path in ("tasks", "operations", "handlers", "nodes", f"tasks/{NO_ID}/attempts")
    for cursor in ("", "x" * 101 if path == "nodes" else "x")
]


@pytest.mark.parametrize(("path", "cursor"), CURSORS)
def test_a_cursor_that_is_none_is_refused(api: Client, path: str, cursor: str) -> None:
    answer = api.get(f"/api/{path}?cursor={cursor}")
    assert answer.status_code == 400
    assert answer.json()["error"].startswith(f'cursor must be the Next-Cursor of the last page, not "{cursor[:60]}')
