"""Schemathesis' hooks, for what the daemon refuses but the document's JSON schemas cannot express."""

from __future__ import annotations

import json
import urllib.request
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from http.client import HTTPException
from typing import Any
from uuid import uuid4

import schemathesis

from tasks_app.handlers.words import moment_of

#: The handlers' own limits.
MAX_TIMEOUT, MAX_RETRIES = 30, 3
MAX_SECONDS, MAX_METADATA_BYTES = 31_536_000, 4096
#: Of all tasks that have one: few URLs are allowed, and nothing listens at this one.
CALLBACK_URL = "http://127.0.0.1:9/"
#: The statuses of the tasks that an operation changes.
FITTING = {
    "cancel": "pending,processing", "redrive": "failed", "priority": "pending", "retry": "completed,failed"
}  # fmt: skip


@schemathesis.hook
def before_load_schema(context: Any, raw_schema: dict[str, Any]) -> None:
    """Restrict a task's type, any string in the document, to its examples: only these are accepted."""
    schemas = raw_schema["components"]["schemas"]
    known = schemas["NewTaskRequest"]["properties"]["type"].pop("examples")
    for name in ("NewTaskRequest", "NewScheduleRequest"):
        schemas[name]["properties"]["type"]["enum"] = known


@schemathesis.hook
def before_call(context: Any, case: Any, kwargs: Any) -> None:
    """Convert tasks that are valid by the document and refused by the daemon. A key must be new for each request.

    Nothing waits long: a client gives up after ten seconds, and a task may be for next year. So a task that is to be
    followed is cancelled: its stream ends.
    """
    if case.operation.path.endswith("/events") and case.method.upper() == "GET":
        _cancel(case, kwargs)
    if str((case.query or {}).get("wait", "")).isdigit():
        case.query["wait"] = min(int(case.query["wait"]), 1)
    if "wait" in str((case.headers or {}).get("Prefer", "")):
        case.headers["Prefer"] = "wait=1"
    if case.meta is None or not case.meta.generation.mode.is_positive:
        return
    if case.headers and "Idempotency-Key" in case.headers:
        case.headers["Idempotency-Key"] = str(uuid4())
    if case.operation.path == "/api/tasks" and case.query:
        _list(case.query)
    if isinstance(case.body, dict):
        _pause(case.body)
        _drain(case.operation.path, case.body)
        _schedule(case.operation.path, case.body)
        _operation(case.operation.path.rpartition("/")[2], case.body)
    tasks = case.body.get("tasks") if isinstance(case.body, dict) else None
    for task in (case.body, *tasks) if isinstance(tasks, list) else (case.body,):
        if isinstance(task, dict):
            _integers(task)
            _limits(task)
            _times(task)


@schemathesis.hook
def filter_case(context: Any, case: Any) -> bool:
    """Leave out `null` for the fields that a call may have: it means none of them, and no schema has a type of null."""
    return not (case.body is None and case.operation.path.endswith(("/pause", "/redrive", "/drain", "/undrain")))


def _cancel(case: Any, kwargs: Any) -> None:
    address = str(case.as_transport_kwargs()["url"]).removesuffix("/events") + "/cancel"
    with suppress(OSError, ValueError, HTTPException):
        headers = dict(kwargs.get("headers") or {})
        urllib.request.urlopen(urllib.request.Request(address, b"", headers), timeout=10).close()


def _pause(body: dict[str, Any]) -> None:
    """The end of a pause that has passed, or is given twice."""
    if body.get("until") is not None:
        body["until"] = (datetime.now(UTC) + timedelta(hours=1)).isoformat()
        body.pop("for", None)


def _drain(path: str, body: dict[str, Any]) -> None:
    """A type that no node serves: which there are, the handlers say."""
    if path.startswith("/api/nodes/") and body.get("type") is not None:
        body["type"] = "echo"


def _schedule(path: str, body: dict[str, Any]) -> None:
    """Times that are none, of which one is needed, and a jitter that is longer than what it must be shorter than."""
    if not path.startswith("/api/schedules/"):
        return
    if body.get("every") is not None:
        body["every"] = "15m"
        body.pop("cron", None)
        body.pop("timezone", None)
    else:
        body["cron"] = "0 6 * * *"
        if body.get("timezone") is not None:
            body["timezone"] = "Europe/Berlin"
    if body.get("jitter") is not None:
        body["jitter"] = min(body["jitter"], 60)
    if body.get("expires_in") is not None:
        body["expires_in"] = max(body["expires_in"], 61)


def _operation(verb: str, body: dict[str, Any]) -> None:
    """Conditions that no task fulfils on which the verb acts."""
    _integers(body)
    wanted = body.get("filter")
    if not isinstance(wanted, dict):
        return
    _integers(wanted)
    _bounds(wanted)
    if verb in FITTING:
        wanted["status"] = FITTING[verb]
    if verb in ("cancel", "priority"):
        wanted.pop("failure_reason", None)


def _list(query: dict[str, Any]) -> None:
    """A wait without ids: no schema of a parameter says that it needs another one."""
    if "ids" not in query:
        query.pop("wait", None)
        query.pop("wait_for", None)
    _bounds(query)


def _bounds(wanted: dict[str, Any]) -> None:
    """A smallest priority above the largest one: no schema compares two values."""
    low, high = (wanted.get(name) for name in ("priority_min", "priority_max"))
    if low is not None and high is not None and int(low) > int(high):
        wanted["priority_min"], wanted["priority_max"] = high, low


def _integers(task: dict[str, Any]) -> None:
    """Numbers such as 97.0, which JSON Schema takes for integers."""
    for name in ("priority", "max_retries", "limit", "priority_min", "priority_max", "canary"):
        if isinstance(number := task.get(name), float) and number.is_integer():
            task[name] = int(number)


def _limits(task: dict[str, Any]) -> None:
    if task.get("callback_url") is not None:
        task["callback_url"] = CALLBACK_URL
    if (seconds := task.get("timeout")) is not None and seconds > MAX_TIMEOUT:
        task["timeout"] = MAX_TIMEOUT
    if (retries := task.get("max_retries")) is not None and retries > MAX_RETRIES:
        task["max_retries"] = MAX_RETRIES
    if (metadata := task.get("metadata")) is not None and len(json.dumps(metadata)) > MAX_METADATA_BYTES:
        task["metadata"] = {}


def _times(task: dict[str, Any]) -> None:
    """Moments that are too late or none, and fields that do not go together."""
    latest = datetime.now(UTC) + timedelta(seconds=MAX_SECONDS / 2)
    for name in ("run_at", "expires_at"):
        if (text := task.get(name)) is not None and ((moment := moment_of(text)) is None or moment > latest):
            task[name] = latest.isoformat()
    for name, others in (("run_at", ["delay"]), ("expires_at", ["expires_in", "run_at"]), ("expires_in", ["delay"])):
        if any(task.get(other) is not None for other in others):
            task.pop(name, None)
