"""POST /api/tasks/{id}/redrive while nodes wait for tasks."""

from __future__ import annotations

import pytest
from django.test import Client

from tasks_app.queue.settle import settle
from tests.queue.moves.kit import failure, row, submitted, take


@pytest.mark.database
@pytest.mark.django_db(transaction=True)
def test_the_answer_says_pending_however_fast_a_node_is(api: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    submitted(50)
    [task] = take()
    settle("node", [failure(task, retryable=False)])

    def begin(*_: object) -> None:
        take()

    monkeypatch.setattr("tasks_app.broker.notification.notify", begin)  # called after the commit
    answer = api.post(f"/api/tasks/{task.id}/redrive")
    assert (answer.status_code, answer.json()["status"]) == (200, "pending")
    assert row(task).status == "processing"
