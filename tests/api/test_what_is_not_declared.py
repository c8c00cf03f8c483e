"""What a call does not declare is refused, everywhere: a parameter that it does not know, a body where it has none."""

from __future__ import annotations

from typing import Any
from uuid import uuid4

import pytest
from django.test import Client

from tasks_app.api.document import document
from tasks_app.queue.idempotency import NO_ID
from tasks_app.queue.models import Task
from tests.keys.rows import Holder
from tests.queue.moves.kit import row, submitted

pytestmark = pytest.mark.one_leg("what is refused before the database is asked")

#: Probes and scrapers send what they like.
LENIENT = {"/health", "/health/live", "/health/ready", "/metrics"}
#: Pages that browsers open.
PAGES = ("/docs", "/redoc", "/openapi.json")
EMPTY = ("", " \n", "{}", "null")


def calls(with_body: bool | None = None) -> list[tuple[str, str]]:
    """The methods and addresses of the document; of those with a body, or of those without."""
    return [
        (method.upper(), path.format(task_id=uuid4(), operation_id=uuid4(), type="echo", name="none"))
        for path, item in document()["paths"].items()
        for method, operation in item.items()
        if path not in LENIENT and with_body in (None, "requestBody" in operation)
    ]


@pytest.mark.django_db
def test_no_call_ignores_a_parameter(api: Client) -> None:
    for method, address in calls():
        answer = api.generic(method, f"{address}?wiat=5", "{}")
        assert answer.status_code == 400, (method, address)
        assert answer.json()["error"].startswith('unknown parameter "wiat"; th'), (method, address)


@pytest.mark.django_db
def test_the_nearest_parameter_and_all_of_the_call_are_named(api: Client) -> None:
    for method, address, sentence in (
        ("POST", "/queue?wiat=5", 'unknown parameter "wiat"; the parameters are wait; did you mean "wait"?'),
        ("DELETE", f"/api/tasks/{uuid4()}?force=1", 'unknown parameter "force"; this call has no parameters'),
        ("GET", f"/api/tasks/{uuid4()}?wait=1&wait=2", "wait is given twice"),
    ):
        body = '{"type": "echo"}' if method == "POST" else ""
        assert api.generic(method, address, body).json() == {"error": sentence}
    assert not Task.objects.exists(), "a refused POST has stored nothing"


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("address", "body", "named"),
    [
        ("/queue", {"type": "echo", "prioriy": 1, "data": []}, ["wiat", "prioriy", "data"]),
        ("/queue/batch", {"tasks": []}, ["wiat", "tasks"]),
        ("/api/tasks/cancel", {"filter": {"status": "x"}, "rate": 0}, ["wiat", "filter.status", "rate"]),
        (f"/api/tasks/{NO_ID}/redrive", {"data": 1}, ["wiat", "data"]),
        (f"/api/tasks/{NO_ID}/cancel", {"data": 1}, ["wiat", ""]),
        ("/api/handlers/echo/pause", {"for": -1}, ["wiat", "for"]),
    ],
)  # fmt: skip
def test_faults_of_the_address_and_of_the_body_are_told_together(
    api: Client, address: str, body: Any, named: list[str]
) -> None:
    answer = api.post(f"{address}?wiat=5", body, "application/json")
    assert answer.status_code == 400
    assert [fault.get("field") for fault in answer.json()["details"]] == named


@pytest.mark.django_db
def test_probes_scrapers_and_browsers_may_send_what_they_like(api: Client) -> None:
    for address in LENIENT:
        assert api.generic("GET", f"{address}?x=1", '{"x": 1}').status_code in (200, 503), address
    for address in PAGES:
        assert api.get(f"{address}?utm_source=mail").status_code == 200


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("body", "sentence"),
    [
        ('{"data": {"a": 1}}', 'this call takes no body: send none, {} or null, not the field "data"'),
        ("[]", "this call takes no body: send none, {} or null, not an array"),
        ("0", "this call takes no body: send none, {} or null, not 0"),
        ('{"data": ', "malformed JSON: "),
    ],
)
def test_no_call_ignores_a_body(api: Client, body: str, sentence: str) -> None:
    for method, address in calls(with_body=False):
        answer = api.generic(method, address, body)
        assert answer.status_code == 400, (method, address, body)
        assert answer.json()["error"].startswith(sentence), (method, address, body)


@pytest.mark.django_db
def test_what_stands_for_no_body_is_none(api: Client) -> None:
    for method, address in calls(with_body=False):
        for body in EMPTY:
            assert api.generic(method, address, body).status_code != 400, (method, address, body)


@pytest.mark.django_db
def test_a_refused_act_changes_nothing(api: Client) -> None:
    [task] = submitted(50)
    for method, address in (("POST", f"/api/tasks/{task}/cancel"), ("DELETE", f"/api/tasks/{task}")):
        assert api.generic(method, address, '{"force": true}').status_code == 400
        assert api.generic(method, f"{address}?dry_run=true").status_code == 400
    assert row(task).status == "pending"


@pytest.mark.django_db
def test_a_refused_post_still_says_how_much_its_key_may_post() -> None:
    answer = Holder(rate=5.0).ask("POST", "/queue?wiat=5", {"type": "echo"})
    assert answer.status_code == 400 and answer.headers["RateLimit"].startswith('"key";r=5')


@pytest.mark.django_db
def test_a_smallest_priority_above_the_largest_is_refused(api: Client) -> None:
    sentence = "priority_min (51) must be at most priority_max (50)"
    assert api.get("/api/tasks?priority_min=51&priority_max=50").json() == {"error": sentence}
    wanted = {"filter": {"priority_min": 51, "priority_max": 50}, "dry_run": True}
    assert api.post("/api/tasks/cancel", wanted, "application/json").json() == {"error": sentence}
    assert api.get("/api/tasks?priority_min=50&priority_max=50").status_code == 200


@pytest.mark.django_db
def test_who_posts_to_another_address_is_told_the_right_one(api: Client) -> None:
    for address, status, sentence in (
        ("/api/tasks", 405, "POST is not allowed here; use GET, HEAD, OPTIONS; tasks are posted to /queue"),
        ("/api/queue", 404, "no such page: /api/queue; see /docs; tasks are posted to /queue"),
    ):
        answer = api.generic("POST", address, '{"type": "echo"}')
        assert (answer.status_code, answer.json()) == (status, {"error": sentence})
    assert api.put("/api/tasks").json()["error"].endswith("OPTIONS")
    assert api.get("/api/queue").json()["error"].endswith("see /docs")


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("given", "meant"),
    [("task_type", "type"), ("task_data", "data"), ("payload", "data"), ("Type", "type"), ("priorty", "priority")],
)
def test_a_field_of_an_answer_is_understood_as_one_of_a_request(api: Client, given: str, meant: str) -> None:
    answer = api.post("/queue", {"type": "echo", given: {}}, "application/json").json()
    assert answer["error"].endswith(f'did you mean "{meant}"?'), answer


@pytest.mark.django_db
@pytest.mark.parametrize(("given", "meant"), [("type", "task_type"), ("data", "task_data"), ("payload", "task_data")])
def test_a_field_of_a_request_is_understood_as_one_of_an_answer(api: Client, given: str, meant: str) -> None:
    answer = api.get(f"/api/tasks?fields=id,{given}").json()
    assert answer["error"].endswith(f'not "{given}"; did you mean "{meant}"?'), answer
