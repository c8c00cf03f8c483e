"""Schemathesis' hooks, for what the daemon refuses but the document's JSON schemas cannot express."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import schemathesis

from tasks_app.api.moments import moment_of

#: The handlers' own limits.
MAX_TIMEOUT, MAX_RETRIES = 30, 3
MAX_SECONDS, MAX_METADATA_BYTES = 31_536_000, 4096


@schemathesis.hook
def before_load_schema(context: Any, raw_schema: dict[str, Any]) -> None:
    """Restrict a task's type, any string in the document, to its examples: only these are accepted."""
    kind = raw_schema["components"]["schemas"]["NewTaskRequest"]["properties"]["type"]
    kind["enum"] = kind.pop("examples")


@schemathesis.hook
def map_headers(context: Any, headers: Any) -> Any:
    """Give each request with the document's example of a key one of its own: they are different requests."""
    if headers and headers.get("Idempotency-Key") == "order-7-thumbnails":
        headers["Idempotency-Key"] = str(uuid4())
    return headers


@schemathesis.hook
def map_body(context: Any, body: Any) -> Any:
    """Convert tasks that are valid by the document and refused by the daemon."""
    tasks = body.get("tasks") if isinstance(body, dict) else None
    for task in (body, *tasks) if isinstance(tasks, list) else (body,):
        if isinstance(task, dict):
            _integers(task)
            _limits(task)
            _times(task)
    return body


def _integers(task: dict[str, Any]) -> None:
    """Numbers such as 97.0, which JSON Schema takes for integers."""
    for name in ("priority", "max_retries"):
        if isinstance(number := task.get(name), float) and number.is_integer():
            task[name] = int(number)


def _limits(task: dict[str, Any]) -> None:
    if _is_number(seconds := task.get("timeout")) and (seconds == 0 or seconds > MAX_TIMEOUT):
        task["timeout"] = MAX_TIMEOUT
    if _is_number(retries := task.get("max_retries")) and retries > MAX_RETRIES:
        task["max_retries"] = MAX_RETRIES
    if isinstance(data := task.get("metadata"), dict) and len(json.dumps(data)) > MAX_METADATA_BYTES:
        task["metadata"] = {}


def _times(task: dict[str, Any]) -> None:
    """Moments that are none or too late, and two fields that do not go together. What is no moment at all stays."""
    latest = datetime.now(UTC) + timedelta(seconds=MAX_SECONDS / 2)
    for name in ("run_at", "expires_at"):
        if isinstance(text := task.get(name), str) and text[:4].isdigit():
            moment = moment_of(text)
            if moment is None or moment > latest:
                task[name] = latest.isoformat()
    for name, partners in (("run_at", ["delay"]), ("expires_at", ["expires_in", "run_at"]), ("expires_in", ["delay"])):
        good = isinstance(task.get(name), str) or _is_number(task.get(name))
        if good and any(task.get(partner) is not None for partner in partners):
            del task[name]
    if task.get("expires_in") == 0:
        task["expires_in"] = 1


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and value >= 0
