"""`GET /api/tasks/{id}/events`, without a web server: what a request asks for, and what it is refused."""

from __future__ import annotations

from uuid import UUID

import pytest
from django.test import Client

from tasks_app.api.waiting import VARIABLE, Deferred, Places
from tasks_app.features.events.api import EventsFollow
from tasks_app.features.events.reading import BEGINNING, EventId, read_events
from tasks_app.queue.cancel import cancel
from tasks_app.queue.redrive import redrive
from tests.queue.moves.kit import submitted


@pytest.fixture
def deferred(api: Client) -> Deferred:
    """The `Deferred` of the client's one request, with the only place for a stream."""
    deferred = Deferred(Places(1), Places(1))
    api.defaults[VARIABLE] = deferred  # type: ignore[assignment]
    return deferred


@pytest.fixture
def task(db: None) -> UUID:
    """A task that waits."""
    [task] = submitted(50)
    return task


def test_a_request_follows_its_task_in_a_place(api: Client, deferred: Deferred, task: UUID) -> None:
    answer = api.get(f"/api/tasks/{task}/events")
    assert (answer.status_code, answer.content) == (200, b"")
    assert (answer.headers["Cache-Control"], answer.headers["X-Accel-Buffering"]) == ("no-store", "no")
    assert isinstance(answer, EventsFollow) and deferred.wait is None
    assert answer.stream[:2] == (task, BEGINNING) and answer.stream.key.refusal() is None
    refused = api.get(f"/api/tasks/{task}/events")
    assert (refused.status_code, refused.headers["Retry-After"]) == (503, "2")
    assert "too many event streams" in refused.json()["error"]
    deferred.release()
    deferred.release()
    assert api.get(f"/api/tasks/{task}/events/").status_code == 200
    assert api.get(f"/api/tasks/{task}/events").status_code == 503


@pytest.mark.parametrize("accept", ["text/event-stream", "application/json", "text/html", "image/png", "", "nonsense"])
def test_what_a_client_accepts_changes_nothing(api: Client, deferred: Deferred, task: UUID, accept: str) -> None:
    assert api.get(f"/api/tasks/{task}/events", headers={"accept": accept}).status_code == 200


@pytest.mark.parametrize("slash", ["", "/"])
@pytest.mark.parametrize("identity", ["x", "0198c5d4-0000-7000-8000-000000000000", "0" * 5000, "%00"])
def test_an_unknown_task_is_404_and_takes_no_place(api: Client, deferred: Deferred, identity: str, slash: str) -> None:
    for after in ("", "?after=1.0"):
        answer = api.get(f"/api/tasks/{identity}/events{slash}{after}")
        assert (answer.status_code, answer.json()) == (404, {"error": "Task not found"})
    assert deferred.reserve_stream()


def test_the_header_counts_more_than_the_parameter(api: Client, deferred: Deferred, task: UUID) -> None:
    def after(query: str = "", header: str | None = None) -> EventId:
        answer = api.get(
            f"/api/tasks/{task}/events{query}", headers={} if header is None else {"last-event-id": header}
        )
        assert isinstance(answer, EventsFollow)
        deferred.release()
        return answer.stream.after

    assert after("?after=1.2") == after("?after=0001.0002") == EventId(1, 2)
    assert after("?after=1.2", "3.4") == after("", "3.4") == EventId(3, 4)
    assert after("", "") == BEGINNING
    assert api.get(f"/api/tasks/{task}/events?after=").json()["error"] == (
        'after must be the id of an event, such as 1.0, not ""'
    )
    assert after("?after=1.2", "") == EventId(1, 2)


@pytest.mark.parametrize(
    "text",
    [
        "1", "1.", ".1", "-1.0", "1.-1", "1.0.0", "1,0", "1.0, 1.1", " 1.0", "1.0\n", "1e3.0", "0x1.0", "٣.٤", "1.٤",
        "1000000000.0", "1." + "9" * 18, "9" * 11 + ".0", "1.0" * 3000,
        "null", "\x00", "1.0\x00", "'; DROP TABLE x; --", "<b>", "true",
    ],
)  # fmt: skip
def test_what_is_no_id_is_refused(api: Client, deferred: Deferred, task: UUID, text: str) -> None:
    for answer in (
        api.get(f"/api/tasks/{task}/events", {"after": text}),
        api.get(f"/api/tasks/{task}/events", headers={"last-event-id": text}),
    ):
        assert answer.status_code == 400
        assert "must be the id of an event, such as 1.0, not" in answer.json()["error"]
    assert deferred.reserve_stream()


def test_other_parameters_are_refused(api: Client, deferred: Deferred, task: UUID) -> None:
    answer = api.get(f"/api/tasks/{task}/events?aftr=1.0&wait=5")
    assert answer.status_code == 400 and 'did you mean "after"?' in answer.content.decode().replace("\\", "")
    assert "after is given twice" in api.get(f"/api/tasks/{task}/events?after=1.0&after=1.0").json()["error"]


def test_after_its_end_a_client_is_told_to_come_no_more(api: Client, deferred: Deferred, task: UUID) -> None:
    cancel(task)
    end = read_events(task, BEGINNING).last
    answer = api.get(f"/api/tasks/{task}/events", headers={"last-event-id": str(end)})
    assert (answer.status_code, answer.content, deferred.reserve_stream()) == (204, b"", True)
    deferred.release()
    redrive(task)
    assert api.get(f"/api/tasks/{task}/events", headers={"last-event-id": str(end)}).status_code == 200


def test_another_server_says_that_it_cannot(api: Client, task: UUID) -> None:
    answer = api.get(f"/api/tasks/{task}/events")
    assert (answer.status_code, list(answer.json())) == (501, ["error"])
    assert api.head(f"/api/tasks/{task}/events").status_code == 501
    assert api.post(f"/api/tasks/{task}/events").status_code == 405
    assert api.options(f"/api/tasks/{task}/events").status_code == 204
