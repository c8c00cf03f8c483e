"""Schemathesis' hooks, for what the daemon refuses but the document's JSON schemas cannot express."""

from __future__ import annotations

from typing import Any

import schemathesis


@schemathesis.hook
def before_load_schema(context: Any, raw_schema: dict[str, Any]) -> None:
    """Restrict a task's type, any string in the document, to its examples: only these are accepted."""
    kind = raw_schema["components"]["schemas"]["NewTaskRequest"]["properties"]["type"]
    kind["enum"] = kind.pop("examples")


@schemathesis.hook
def map_body(context: Any, body: Any) -> Any:
    """Convert priorities such as 97.0, which JSON Schema takes for integers."""
    tasks = body.get("tasks") if isinstance(body, dict) else None
    for task in (body, *tasks) if isinstance(tasks, list) else (body,):
        if isinstance(task, dict) and isinstance(number := task.get("priority"), float) and number.is_integer():
            task["priority"] = int(number)
    return body
