"""A key does what its scopes allow, and nothing else."""

from __future__ import annotations

from typing import Any

import pytest
from django.urls import URLPattern

from tasks_app.api.view import PublicAPI
from tasks_app.queue.models import Task
from tasks_app.urls import urlpatterns
from tests.keys.rows import EVERY_SCOPE, MISSING, Holder, of_type

pytestmark = [pytest.mark.django_db, pytest.mark.database]

ECHO = '{"type": "echo"}'
CALLS = [
    ("tasks:read", "GET", "/api/tasks", None), ("tasks:read", "GET", f"/api/tasks/{MISSING}", None),
    ("tasks:read", "GET", f"/api/tasks/{MISSING}/attempts", None), ("tasks:read", "GET", "/api/handlers", None),
    ("tasks:read", "GET", f"/api/tasks/{MISSING}/why", None),
    ("tasks:read", "GET", f"/api/tasks/{MISSING}/events", None),
    ("tasks:read", "GET", "/api/handlers/echo", None), ("tasks:write", "POST", "/queue", ECHO),
    ("tasks:write", "POST", "/queue/batch", '{"tasks": [{"type": "echo"}]}'),
    ("tasks:write", "DELETE", f"/api/tasks/{MISSING}", None),
    ("tasks:write", "POST", f"/api/tasks/{MISSING}/cancel", None),
    ("tasks:write", "POST", f"/api/tasks/{MISSING}/redrive", None),
    ("operate", "GET", "/api/operations", None), ("operate", "GET", f"/api/operations/{MISSING}", None),
    ("operate", "POST", f"/api/operations/{MISSING}/abort", None),
    ("operate", "POST", "/api/tasks/redrive", '{"filter": {"type": "echo"}, "dry_run": true}'),
    ("operate", "POST", "/api/tasks/priority", '{"filter": {"type": "echo"}, "priority": 1, "dry_run": true}'),
    ("operate", "POST", "/api/handlers/echo/pause", ""), ("operate", "POST", "/api/handlers/echo/resume", ""),
    ("metrics:read", "GET", "/metrics", None), ("metrics:read", "GET", "/api/metrics", None),
]  # fmt: skip


@pytest.mark.parametrize(("scope", "method", "path", "body"), CALLS)
def test_a_missing_scope_is_403_that_names_it(scope: str, method: str, path: str, body: str | None) -> None:
    others = [each for each in EVERY_SCOPE if each != scope]
    for address in (path, f"{path}/"):
        refused = Holder(address, scopes=others).ask(method, address, body)
        assert (refused.status_code, refused.json()["error"]) == (403, f"this API key lacks the scope {scope}")
    assert Holder("has it", scopes=[scope]).ask(method, path, body).status_code in (200, 404)


def test_every_method_of_every_call_needs_a_scope() -> None:
    for route in urlpatterns:
        view: Any = getattr(getattr(route, "callback", None), "cls", None)
        if isinstance(route, URLPattern) and view is not None and not issubclass(view, PublicAPI):
            methods = {name.upper() for name in ("get", "post", "put", "patch", "delete") if hasattr(view, name)}
            assert methods == set(view.scopes), route


@pytest.mark.parametrize("verb", ["redrive", "cancel", "delete"])
@pytest.mark.parametrize("dry_run", ["true", "false"])
def test_a_key_that_may_not_read_cannot_find_out_what_is_in_errors(verb: str, dry_run: str) -> None:
    path, body = f"/api/tasks/{verb}", f'{{"filter": {{"error": "x"}}, "dry_run": {dry_run}}}'
    refused = Holder(scopes=["operate"]).ask("POST", path, body)
    assert (refused.status_code, refused.json()["error"]) == (403, "this API key lacks the scope tasks:read")
    assert Holder("reads", scopes=["operate", "tasks:read"]).ask("POST", path, body).status_code in (200, 202)


@pytest.mark.parametrize(
    "path", ["/api/tasks", *(f"/api/tasks/{MISSING}{each}" for each in ("", "/events")), "/metrics"]
)
def test_head_needs_what_get_needs(path: str) -> None:
    assert Holder(scopes=["operate"]).ask("HEAD", path).status_code == 403


def test_no_method_that_pretends_to_be_another_passes() -> None:
    one = of_type("echo")
    reader = Holder(scopes=["tasks:read"])
    for name in ("x_http_method_override", "x_http_method", "x_method_override"):
        assert reader.ask("GET", f"/api/tasks/{one.pk}", **{name: "DELETE"}).status_code == 200
        assert reader.ask("POST", f"/api/tasks/{one.pk}", "{}", **{name: "DELETE"}).status_code == 405
    assert reader.ask("POST", f"/api/tasks/{one.pk}?_method=DELETE", '{"_method": "DELETE"}').status_code == 405
    assert reader.client.generic("delete", f"/api/tasks/{one.pk}", headers=reader.headers).status_code == 403
    assert Task.objects.filter(pk=one.pk).exists()


def test_options_and_unknown_addresses_need_a_key_and_no_scope() -> None:
    holder = Holder(scopes=["operate"])
    assert (holder.ask("OPTIONS", "/queue").status_code, holder.ask("OPTIONS", "/queue").content) == (204, b"")
    assert holder.ask("GET", "/no/such/page").status_code == 404


def test_a_key_without_scopes_of_its_own_has_all_of_them() -> None:
    everything = Holder()
    for _, method, path, body in CALLS:
        assert everything.ask(method, path, body).status_code in (200, 404), path


def test_a_key_that_may_only_write_reads_nothing_of_the_tasks_that_it_changes() -> None:
    fields = {"task_data": {"a": "secret"}, "last_error": "a secret", "tags": ["secret"], "unique_key": "secret"}
    writer = Holder(scopes=["tasks:write"])
    for verb, status in (("cancel", "pending"), ("redrive", "failed")):
        answer = writer.ask("POST", f"/api/tasks/{of_type('echo', status, **fields).pk}/{verb}")
        assert answer.status_code == 200
        assert b"secret" not in answer.content
        found = answer.json()
        assert (found["task_data"], found["result"], found["last_error"]) == ({}, None, None)
        assert found["status"] == {"cancel": "failed", "redrive": "pending"}[verb]
        Task.objects.all().delete()


@pytest.mark.parametrize(("query", "headers"), [("?wait=0", {}), ("?wait=1", {}), ("", {"prefer": "wait=1"})])
def test_a_post_that_waits_needs_the_scope_to_read(query: str, headers: dict[str, str]) -> None:
    writer = Holder(scopes=["tasks:write"])
    refused = writer.ask("POST", f"/queue{query}", ECHO, **headers)
    assert (refused.status_code, refused.json()["error"]) == (403, "this API key lacks the scope tasks:read")
    assert not Task.objects.exists()
