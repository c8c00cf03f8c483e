"""Acts on all tasks that match, by the API."""

from __future__ import annotations

from typing import Any
from uuid import UUID

import pytest
from django.test import Client

from tasks_app.audit import Actor, AuditEntry
from tasks_app.features.operations.models import Operation
from tasks_app.features.pauses.verbs import pause
from tasks_app.queue.models import Task
from testkit.clients import post
from tests.features.operations.kit import begun, end, over, statuses, tasks, work
from tests.keys.rows import MISSING, Holder, of_type

pytestmark = [pytest.mark.django_db, pytest.mark.database]


def started(answer: Any) -> Operation:
    """The operation of a 202."""
    assert answer.status_code == 202 and list(answer.json()) == ["operation_id"]
    assert answer["Location"] == f"/api/operations/{answer.json()['operation_id']}"
    return Operation.objects.get(pk=answer.json()["operation_id"])


@pytest.mark.parametrize(
    ("verb", "body", "ended"),
    [("redrive", {"failure_reason": "timeout"}, "pending"), ("cancel", {"type": "prime"}, "failed"),
     ("delete", {"status": ["failed"], "type": ["prime"]}, "gone")],
)  # fmt: skip
def test_all_that_match_are_changed_once_a_node_works(api: Client, verb: str, body: Any, ended: str) -> None:
    mine = tasks(3, "pending" if verb == "cancel" else "failed", task_type="prime",
                 **({} if verb == "cancel" else {"failure_reason": "timeout"}))  # fmt: skip
    others = tasks(2, "failed", failure_reason="crash")
    operation = started(post(api, f"/api/tasks/{verb}", {"filter": body}))
    assert (operation.verb, operation.matched, operation.created_via) == (verb, 3, "api")
    found = api.get(f"/api/operations/{operation.pk}").json()
    assert (found["state"], found["matched"], found["done"], found["ended_at"]) == ("running", 3, 0, None)
    over(operation)
    found = api.get(f"/api/operations/{operation.pk}").json()
    assert (found["state"], found["done"], found["skipped"], found["failed"]) == ("completed", 3, {}, 0)
    assert statuses(mine) == [ended] * 3 and statuses(others) == ["failed"] * 2
    assert AuditEntry.objects.get().action == verb


def test_a_dry_run_counts_and_changes_nothing(api: Client) -> None:
    tasks(4, task_type="prime", failure_reason="timeout"), tasks(2, failure_reason="crash", task_type="nobody")
    before = list(Task.objects.order_by("pk").values())
    answer = post(api, "/api/tasks/redrive", {"filter": {"status": "failed"}, "dry_run": True})
    assert answer.status_code == 200
    found = answer.json()
    assert (found["matched"], found["matched_exact"]) == (6, True)
    assert found["by_reason"] == {"timeout": 4, "crash": 2} and found["by_type"] == {"prime": 4, "nobody": 2}
    assert "no handler is named nobody: its tasks will wait until there is one" in found["warnings"]
    assert list(Task.objects.order_by("pk").values()) == before
    assert not Operation.objects.exists() and not AuditEntry.objects.exists()


def test_a_dry_run_says_that_a_type_is_paused(api: Client) -> None:
    tasks(1, task_type="prime")
    pause("prime", Actor("admin", "ada"))
    answer = post(api, "/api/tasks/redrive", {"filter": {"status": "failed"}, "dry_run": True}).json()
    assert answer["warnings"] == ["prime is paused by ada: its tasks will wait until it is resumed"]


BAD: list[tuple[Any, str]] = [
    ({}, "filter is missing"),
    ([], "must be a JSON object"),
    ({"filter": {}}, "filter must have a condition"),
    ({"filter": None}, "filter is missing"),
    ({"filter": [1]}, "filter must be a JSON object"),
    ({"filter": {"colour": "red"}}, 'unknown condition "colour"'),
    ({"filter": {"typ": "echo"}}, 'did you mean "type"'),
    ({"filter": {"type": None}}, "type must be a string"),
    ({"filter": {"type": ""}}, "type must be"),
    ({"filter": {"type": []}}, "type must be a string, or an array of one or more strings, not an empty array"),
    ({"filter": {"type": ["a,b"]}}, "comma"),
    ({"filter": {"type": ["a", 1]}}, "not an array with 1"),
    ({"filter": {"type": {"a": 1}}}, "type must be a string"),
    ({"filter": {"status": "faild"}}, "status must be one of"),
    ({"filter": {"status": "completed"}}, "redrive acts on tasks that are failed"),
    ({"filter": {"priority_min": True}}, "priority_min must be an integer"),
    ({"filter": {"priority_min": 101}}, "priority_min must be an integer"),
    ({"filter": {"created_after": "yesterday"}}, "created_after must be a time"),
    ({"filter": {"ids": ["x"]}}, "ids must be task ids"),
    ({"filter": {"error": ""}}, "error must be a text"),
    ({"filter": {"error": "\x00"}}, "NUL"),
    ({"filter": {"words": ["a"]}}, 'unknown condition "words"'),
    ({"filter": {"type": "echo"}, "dry_run": "yes"}, "dry_run must be true or false"),
    ({"filter": {"type": "echo"}, "rate": 0}, "rate must be a number"),
    ({"filter": {"type": "echo"}, "rate": True}, "rate must be a number"),
    ({"filter": {"type": "echo"}, "limit": 1.5}, "limit must be an integer"),
    ({"filter": {"type": "echo"}, "limits": 5}, 'unknown field "limits"'),
]


@pytest.mark.parametrize(("body", "sentence"), BAD)
def test_a_wrong_request_is_400_that_says_what_is_right_and_changes_nothing(
    api: Client, body: Any, sentence: str
) -> None:
    tasks(2)
    answer = post(api, "/api/tasks/redrive", body)
    assert answer.status_code == 400 and sentence in answer.json()["error"]
    assert not Operation.objects.exists() and set(Task.objects.values_list("status", flat=True)) == {"failed"}


BAD_OPTIONS: list[tuple[str, Any, list[str]]] = [
    ("redrive", {"canary": 0}, ["canary must be an integer from 1 to 100, not 0"]),
    ("redrive", {"canary": 101, "stop_share": 0},
     ["canary must be", "stop_share must be a number above 0, at most 1, not 0"]),
    ("redrive", {"canary": True, "stop_share": 1.01, "rate": "x", "limit": 0, "filter": {"status": "pending"}},
     ["canary must be", "stop_share must be", "rate must be", "limit must be", "acts on tasks that are failed"]),
    ("redrive", {"priority": 5}, ['unknown field "priority"; the fields are filter, dry_run, canary, stop_share']),
    ("cancel", {"canary": 5, "stop_share": 0.5}, ['unknown field "canary"', 'unknown field "stop_share"']),
    ("delete", {"canary": 5}, ['unknown field "canary"']),
    ("priority", {}, ["priority is missing; it must be an integer from 0 to 100"]),
    ("priority", {"priority": 101, "limit": 0}, ["priority must be an integer from 0 to 100", "limit must be"]),
    ("priority", {"priority": 1, "filter": {"status": "failed"}}, ["priority acts on tasks that are pending"]),
    ("priority", {"priority": "9", "filter": {"failure_reason": "oom"}}, ["priority must be", "only failed ones have"]),
    ("priority", {"priority": 9, "canary": 5}, ['unknown field "canary"']),
]  # fmt: skip


@pytest.mark.parametrize(("verb", "body", "sentences"), BAD_OPTIONS)
def test_each_wrong_option_is_named_all_at_once(api: Client, verb: str, body: Any, sentences: list[str]) -> None:
    answer = post(api, f"/api/tasks/{verb}", {"filter": {"type": "echo"}, **body})
    said = answer.json()
    assert answer.status_code == 400 and all(sentence in said["error"] for sentence in sentences), said
    assert len(said.get("details", [0])) == len(sentences) and not Operation.objects.exists()


def test_a_redrive_takes_a_canary_that_brings_a_stop_share(api: Client) -> None:
    ids = tasks(4)
    for given, kept in (
        ({"canary": 2}, (2, 0.5)), ({"canary": 2, "stop_share": 0.2}, (2, 0.2)), ({"stop_share": 1}, (None, 1.0)),
        ({}, (None, None)), ({"canary": None, "stop_share": None}, (None, None)),
    ):  # fmt: skip
        operation = started(post(api, "/api/tasks/redrive", {"filter": {"type": "echo"}, **given}))
        found = api.get(f"/api/operations/{operation.pk}").json()
        assert (found["canary"], found["stop_share"]) == (operation.canary, operation.stop_share) == kept
        assert api.post(f"/api/operations/{operation.pk}/abort").status_code == 200
    operation = started(post(api, "/api/tasks/redrive", {"filter": {"type": "echo"}, "canary": 2}))
    assert work(operation).done == 2
    end(ids[:2], "failed", "crash")
    found = api.get(f"/api/operations/{over(operation).pk}").json()
    assert (found["state"], found["done"]) == ("stopped", 2) and "2 of the 2 canary tasks failed again" in found[
        "sentence"
    ]
    assert statuses(ids) == ["failed"] * 4


def test_all_that_match_get_another_priority(api: Client) -> None:
    waiting, running = tasks(3, "pending", priority=10), tasks(1, "processing", priority=10)
    body = {"filter": {"priority_max": 10}, "priority": 90}
    assert post(api, "/api/tasks/priority", {**body, "dry_run": True}).json()["matched"] == 3
    operation = started(post(api, "/api/tasks/priority", {**body, "rate": 1000, "limit": 2}))
    assert (operation.verb, operation.priority, operation.limit) == ("priority", 90, 2)
    assert over(operation).done == 2
    found = list(Task.objects.filter(pk__in=[*waiting, *running]).order_by("pk").values_list("priority", flat=True))
    assert found == [90, 90, 10, 10]
    assert api.get(f"/api/operations/{operation.pk}").json()["priority"] == 90
    assert AuditEntry.objects.get().action == "priority"
    assert api.get("/api/tasks/priority").status_code == api.delete("/api/tasks/priority").status_code == 405


def test_which_words_of_errors_others_looked_for_only_keys_see_that_may_see_errors() -> None:
    begun(words=("secret-word",), error="secret-part", types=None, priority_min=7)
    operation = Operation.objects.get()
    for scopes, seen in ((["operate"], False), (["operate", "tasks:read"], True), (None, True)):
        holder = Holder(f"{scopes}", **({} if scopes is None else {"scopes": scopes}))
        for answer in (
            holder.ask("GET", "/api/operations"), holder.ask("GET", f"/api/operations/{operation.pk}"),
            holder.ask("POST", f"/api/operations/{operation.pk}/abort"),
        ):  # fmt: skip
            assert ("secret" in answer.text) == (seen and answer.status_code == 200)
        (found,) = holder.ask("GET", "/api/operations").json()
        words = (["secret-word"], "secret-part") if seen else (None, None)
        assert (found["filter"]["words"], found["filter"]["error"]) == words and found["filter"]["priority_min"] == 7


@pytest.mark.parametrize("path", ["/queue", "/queue/batch", "/api/tasks/redrive"])
def test_an_empty_body_is_not_answered_with_what_another_call_takes(api: Client, path: str) -> None:
    answer = api.post(path, "", content_type="application/json")
    assert answer.status_code == 400
    assert answer.json() == {"error": "the body is empty; send a JSON object (/docs has examples)"}


def test_an_abort_ends_it_and_a_second_one_is_409(api: Client) -> None:
    tasks(3)
    operation = started(post(api, "/api/tasks/redrive", {"filter": {"status": "failed"}}))
    answer = api.post(f"/api/operations/{operation.pk}/abort")
    assert (answer.status_code, answer.json()["state"]) == (200, "aborted")
    assert api.post(f"/api/operations/{operation.pk}/abort").status_code == 409
    assert work(operation).done == 0


def test_unknown_operations_are_404(api: Client) -> None:
    for path in (f"/api/operations/{MISSING}", "/api/operations/x"):
        assert (api.get(path).status_code, api.get(path).json()) == (404, {"error": "Operation not found"})
        assert api.post(f"{path}/abort").status_code == 404


def test_the_newest_operations_are_listed_first(api: Client) -> None:
    three = [started(post(api, "/api/tasks/delete", {"filter": {"type": "echo"}})) for _ in range(3)]
    listed = [each["id"] for each in api.get("/api/operations?limit=2").json()]
    assert listed == [str(each.pk) for each in reversed(three[1:])]
    for wrong in ("limit=0", "limit=101", "limit=x", "page=2", "limit=1&limit=2"):
        assert api.get(f"/api/operations?{wrong}").status_code == 400


def test_a_single_task_keeps_its_addresses(api: Client) -> None:
    [one] = tasks(1)
    assert post(api, f"/api/tasks/{one}/redrive").status_code == 200
    assert api.delete("/api/tasks/redrive").status_code == 405
    assert post(api, "/api/tasks/redrive/redrive").status_code == 404


@pytest.mark.parametrize("verb", ["redrive", "cancel", "delete", "priority"])
def test_it_needs_the_scope_operate(verb: str) -> None:
    body = {"filter": {"type": "echo"}, **({"priority": 7} if verb == "priority" else {})}
    refused = Holder("others", scopes=["tasks:read", "tasks:write", "metrics:read"]).ask(
        "POST", f"/api/tasks/{verb}", body
    )
    assert (refused.status_code, refused.json()["error"]) == (403, "this API key lacks the scope operate")
    assert Holder("operator", scopes=["operate"]).ask("POST", f"/api/tasks/{verb}", body).status_code == 202


def test_of_a_key_with_types_only_their_tasks_are_touched_and_counted() -> None:
    mine, other = of_type("mine", "failed"), of_type("other", "failed")
    holder = Holder(types=["mine"])
    body = {"filter": {"status": "failed"}}
    counted = holder.ask("POST", "/api/tasks/delete", {**body, "dry_run": True}).json()
    assert (counted["matched"], counted["by_type"]) == (1, {"mine": 1})
    named = {"filter": {"ids": [str(mine.pk), str(other.pk)]}, "dry_run": True}
    assert holder.ask("POST", "/api/tasks/cancel", named).json()["skipped"] == {"failed": 1}
    operation = started(holder.ask("POST", "/api/tasks/delete", body))
    assert (over(operation).done, statuses([mine.pk, other.pk])) == (1, ["gone", "failed"])
    foreign = {"filter": {"type": "other"}, "dry_run": True}
    assert holder.ask("POST", "/api/tasks/delete", foreign).json()["matched"] == 0


def test_a_key_with_types_knows_only_operations_of_these_types() -> None:
    everyone, mine, both = Holder("all"), Holder("mine", types=["mine"]), Holder("both", types=["mine", "other"])
    ids: dict[str, UUID] = {}
    for name, holder in (("all", everyone), ("mine", mine), ("both", both)):
        ids[name] = started(holder.ask("POST", "/api/tasks/delete", {"filter": {"priority_min": 1}})).pk
    for name, holder, known in (
        ("all", everyone, {"all", "mine", "both"}), ("mine", mine, {"mine"}), ("both", both, {"mine", "both"}),
    ):  # fmt: skip
        listed = {UUID(each["id"]) for each in holder.ask("GET", "/api/operations").json()}
        assert listed == {ids[each] for each in known}, name
        for each, identity in ids.items():
            status = 200 if each in known else 404
            assert holder.ask("GET", f"/api/operations/{identity}").status_code == status
    assert mine.ask("POST", f"/api/operations/{ids['all']}/abort").status_code == 404
    assert Operation.objects.get(pk=ids["all"]).state == "running"
    assert {each.created_by for each in Operation.objects.all()} == {"all", "mine", "both"}
