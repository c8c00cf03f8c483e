"""The OpenAPI document is true, and Swagger UI and ReDoc load nothing from other servers."""

from __future__ import annotations

import json
import os
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from django.test import Client

from tasks_app.api.document import document
from tasks_app.conf import handlers
from tasks_app.handlers.handlers_toml import Handlers

FIXTURE = Path(__file__).with_name("openapi.json")
API = Path(__file__).resolve().parents[2] / "docs" / "api.md"
REWRITE = "REWRITE=1 python -m pytest tests/api/test_openapi.py"


@pytest.fixture(scope="module")
def described() -> dict[str, Any]:
    return document()


def operations(described: dict[str, Any]) -> list[tuple[str, str, dict[str, Any]]]:
    return [(method, path, each) for path, item in described["paths"].items() for method, each in item.items()]


def test_the_document_is_the_reviewed_one(described: dict[str, Any]) -> None:
    text = json.dumps(described, indent=2, ensure_ascii=False) + "\n"
    if os.environ.get("REWRITE") == "1":
        FIXTURE.write_text(text, encoding="utf-8")
    assert text == FIXTURE.read_text(encoding="utf-8"), f"it has changed: {REWRITE}, then read the diff"


def test_it_is_served_as_it_is_and_not_made_anew(api: Client, described: dict[str, Any], monkeypatch: Any) -> None:
    first = api.get("/openapi.json")
    assert first.json() == described
    monkeypatch.setattr("tasks_app.api.document.document", None)
    assert api.get("/openapi.json").content == first.content
    again = api.get("/openapi.json", headers={"if-none-match": first.headers["ETag"]})
    assert (again.status_code, again.content) == (304, b"")


def test_calls_come_in_the_order_of_the_docs(described: dict[str, Any]) -> None:
    rows = [line.split("|")[1] for line in API.read_text(encoding="utf-8").splitlines() if line.startswith("| `")]
    documented = [found for row in rows for found in re.findall(r"`(GET|POST|PUT|DELETE) (\S+)`", row)]
    shown = [(method.upper(), path.replace("{task_id}", "{id}")) for method, path, _ in operations(described)]
    assert shown == documented
    assert shown[0] == ("POST", "/queue")


@pytest.mark.django_db
@pytest.mark.database
def test_the_examples_work_as_they_stand(api: Client, described: dict[str, Any]) -> None:
    body = described["paths"]["/queue"]["post"]["requestBody"]["content"]["application/json"]
    assert len(body["examples"]) >= 3
    for example in body["examples"].values():
        answer = api.post("/queue", example["value"], content_type="application/json")
        assert answer.status_code == 200, example
        task = api.get(answer.headers["Location"])
        jsonschema.validate(task.json(), resolved(described, "TaskObject"))


@pytest.mark.django_db
def test_the_examples_of_requests_name_handlers_that_there_are(api: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    """Swagger UI sends the first one when "Execute" is pressed."""
    mine = Handlers(
        {"thumbnail": replace(handlers()["echo"], name="thumbnail", timeout=2.0, timeout_limit=None)}, Path(), {}
    )
    for reader in ("tasks_app.conf.handlers", "tasks_app.api.document.handlers"):
        monkeypatch.setattr(reader, lambda: mine)
    described = document()
    posts = {path: item["post"] for path, item in described["paths"].items() if path.startswith("/queue")}
    for path, operation in posts.items():
        for example in operation["requestBody"]["content"]["application/json"]["examples"].values():
            answer = api.post(path, example["value"], content_type="application/json")
            assert answer.status_code == 200, (example, answer.content)
    asked = [
        content.get("examples")
        for item in described["paths"].values()
        for operation in item.values()
        for content in operation.get("requestBody", {}).get("content", {}).values()
    ]
    parameters = [
        each for item in described["paths"].values() for one in item.values() for each in one.get("parameters", ())
    ]
    text = json.dumps([asked, parameters])
    assert "thumbnail" in text
    assert not {name for name in ("prime", "echo", "resize") if f'"{name}"' in text}


@pytest.mark.django_db
def test_a_client_may_repeat_a_parameter_instead_of_a_comma(api: Client) -> None:
    one = api.post("/queue", {"type": "echo"}, content_type="application/json").json()["task_id"]
    for query in ("status=pending,failed", "status=failed&status=pending"):
        assert [task["id"] for task in api.get(f"/api/tasks?{query}").json()] == [one]


def examples(parameter: dict[str, Any]) -> list[Any]:
    schema = parameter["schema"]
    return [*schema.get("examples", []), *([schema["default"]] if "default" in schema else [])]


@pytest.mark.django_db
@pytest.mark.database
def test_the_examples_of_parameters_work_as_they_stand(api: Client, described: dict[str, Any]) -> None:
    parameters = described["paths"]["/api/tasks"]["get"]["parameters"]
    shown = {each["name"]: examples(each) for each in parameters if each["in"] == "query"}
    assert {"status", "type", "failure_reason", "created_after", "ids", "error", "fields"} <= {
        *filter(shown.get, shown)
    }
    for name, values in shown.items():
        for value in values:
            assert api.get("/api/tasks", {name: value}).status_code == 200, (name, value)
    (kind,) = described["paths"]["/api/handlers/{type}"]["get"]["parameters"]
    for value in examples(kind):
        assert api.get(f"/api/handlers/{value}").status_code == 200


@pytest.mark.django_db
@pytest.mark.database
def test_the_answers_of_lists_are_as_described(api: Client, described: dict[str, Any]) -> None:
    api.post("/queue", {"type": "echo"}, content_type="application/json")
    for address, name in (
        ("/api/tasks", "TaskObject"),
        ("/api/tasks?fields=id,result", "ListedTask"),
        ("/api/tasks?fields=failure_reason,last_error", "TaskPart"),
        ("/api/handlers", "HandlerObject"),
    ):
        for each in api.get(address).json():
            jsonschema.validate(each, resolved(described, name))
    content = described["paths"]["/api/handlers"]["get"]["responses"]["200"]["content"]["application/json"]
    for example in content["examples"].values():
        for each in example["value"]:
            jsonschema.validate(each, resolved(described, "HandlerObject"))


def resolved(described: dict[str, Any], name: str) -> dict[str, Any]:
    """A component with its references resolved."""

    def resolve(node: Any) -> Any:
        if isinstance(node, list):
            return [resolve(each) for each in node]
        if not isinstance(node, dict):
            return node
        if "$ref" in node:
            return resolve(described["components"]["schemas"][node["$ref"].rpartition("/")[2]])
        return {key: resolve(value) for key, value in node.items()}

    return dict(resolve({"$ref": f"#/components/schemas/{name}"}))


@pytest.mark.parametrize("page", ["/docs", "/redoc"])
def test_a_page_takes_nothing_from_elsewhere(api: Client, page: str) -> None:
    answer = api.get(page)
    html = answer.content.decode()
    assert "://" not in html
    assets = re.findall(r'(?:src|href)="([^"]+)"', html)
    assert assets
    for asset in assets:
        assert asset.startswith("/static/")
        assert api.get(asset).status_code == 200, asset
    policy = answer.headers["Content-Security-Policy"]
    assert policy.startswith("default-src 'self'; ")
    assert "://" not in policy
    assert '"/openapi.json"' in html
