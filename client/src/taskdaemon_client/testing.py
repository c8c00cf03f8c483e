"""A platform in memory, for tests of programs that use the client.

```python
platform = FakePlatform({"resize": lambda data: {"width": data["width"]}})
with platform.client() as client:
    assert client.run("resize", {"width": 100}) == {"width": 100}
```
"""

from __future__ import annotations

import json
import re
import uuid
from collections.abc import Callable, Mapping
from datetime import datetime, timedelta, timezone
from typing import Any
from urllib.parse import unquote

import httpx2

from taskdaemon_client._async.client import AsyncClient
from taskdaemon_client._options import SHOWN
from taskdaemon_client._sync.client import Client
from taskdaemon_client.options import NewTask

Handler = Callable[[dict[str, Any]], Any]
URL = "http://fake.invalid"
_FINAL = ("completed", "failed")


class _Refused(Exception):
    def __init__(self, status: int, error: str) -> None:
        super().__init__(error)
        self.status = status


class FakePlatform:
    """Answers as the platform does: submits, batches, reads, lists, waits, cancel, redrive, priority, delete.

    `handlers`: for each type a function from a task's data to its result; its error fails the task (`handler_error`).
    A task runs in the call that submits it. With `immediately=False`, or if it has a `delay`, it is pending until
    `run_next`. A wait for a pending task answers at once. `tasks`: the JSON of all tasks by id, oldest first. `calls`:
    the method and path of each request.
    """

    def __init__(self, handlers: Mapping[str, Handler], *, immediately: bool = True) -> None:
        self.handlers = dict(handlers)
        self.immediately = immediately
        self.tasks: dict[str, dict[str, Any]] = {}
        self.calls: list[tuple[str, str]] = []
        self._remembered: dict[str, tuple[str, dict[str, Any]]] = {}

    def client(self, *, retries: int = 0) -> Client:
        """A client of this platform."""
        return Client(URL, retries=retries, transport=self.transport)

    def async_client(self, *, retries: int = 0) -> AsyncClient:
        """An async client of this platform."""
        return AsyncClient(URL, retries=retries, transport=self.transport)

    @property
    def transport(self) -> httpx2.MockTransport:
        """The transport for a client that your program makes by itself."""
        return httpx2.MockTransport(self._answer)

    def run_next(self) -> str | None:
        """Run the next pending task. Answers its id, or None if no task is pending."""
        task = next((task for task in self.tasks.values() if task["status"] == "pending"), None)
        if task is None:
            return None
        self._run(task)
        return str(task["id"])

    def _run(self, task: dict[str, Any]) -> None:
        task.update(status="processing", attempts=task["attempts"] + 1, started_at=_now(), due_at=None)
        try:
            result = self.handlers[task["task_type"]](task["task_data"])
            task.update(status="completed", result=json.loads(json.dumps(result)))
        except Exception as error:
            task.update(status="failed", failure_reason="handler_error", last_error=str(error) or type(error).__name__)
        task["completed_at"] = _now()

    def _answer(self, request: httpx2.Request) -> httpx2.Response:
        method, path = request.method, unquote(request.url.path)
        self.calls.append((method, path))
        try:
            body = json.loads(request.content) if request.content else {}
            key = request.headers.get("Idempotency-Key") if method == "POST" else None
            same = f"{path} {json.dumps(body, sort_keys=True)}"
            if key and key in self._remembered:
                before, answer = self._remembered[key]
                if before != same:
                    raise _Refused(422, f'the Idempotency-Key "{key}" was used for another request')
                return httpx2.Response(200, json=answer, headers={"Idempotent-Replayed": "true"})
            answer, headers = self._call(method, path, body, request.url.params)
            if key:
                self._remembered[key] = same, answer
        except _Refused as refused:
            return httpx2.Response(refused.status, json={"error": str(refused)})
        return httpx2.Response(204) if answer is None else httpx2.Response(200, json=answer, headers=headers)

    def _call(
        self, method: str, path: str, body: dict[str, Any], parameters: httpx2.QueryParams
    ) -> tuple[Any, dict[str, str]]:
        if (method, path) == ("POST", "/queue"):
            return self._queue(body, "wait" in parameters), {}
        if (method, path) == ("POST", "/queue/batch"):
            return self._batch(body["tasks"]), {}
        if (method, path) == ("GET", "/api/tasks"):
            return self._list(parameters)
        if (method, path) == ("GET", "/health"):
            pending = sum(task["status"] == "pending" for task in self.tasks.values())
            return {"status": "healthy", "queue_size": pending, "workers": 1, "timestamp": _now()}, {}
        if found := re.fullmatch(r"/api/tasks/([^/]+)(?:/(cancel|redrive|priority))?", path):
            return self._act(method, found[1], found[2], body), {}
        raise _Refused(404, f"the fake platform has no {method} {path}")

    def _queue(self, new: dict[str, Any], wait: bool) -> dict[str, Any]:
        batch = self._batch([new])
        answer = {"task_id": batch["task_ids"][0]}
        if "existing" in batch:
            answer["existing"] = batch["existing"][0]
        if "callback_taken" in batch:
            answer["callback_taken"] = batch["callback_taken"][0]
        return answer | ({"task": self.tasks[answer["task_id"]]} if wait else {})

    def _batch(self, tasks: list[dict[str, Any]]) -> dict[str, Any]:
        for new in tasks:
            self._check(new)
        ids, existing, taken = [], [], []
        for new in tasks:
            twin = self._twin(new["type"], new.get("unique_key"))
            ids.append(twin or self._store(new))
            existing.append(twin is not None)
            url = new.get("callback_url")
            taken.append(self.tasks[twin].get("callback_url") == url if twin and url else None)
        answer: dict[str, Any] = {"task_ids": ids}
        answer |= {"existing": existing} if any(new.get("unique_key") for new in tasks) else {}
        return answer | ({"callback_taken": taken} if taken.count(None) < len(taken) else {})

    def _check(self, new: dict[str, Any]) -> None:
        if unknown := sorted(new.keys() - NewTask.__annotations__.keys()):
            raise _Refused(400, f"unknown field {unknown[0]!r}")
        if new.get("type") not in self.handlers:
            raise _Refused(400, f'no handler is named "{new.get("type")}"; there are {", ".join(self.handlers)}')
        if not isinstance(new.get("data") or {}, dict):
            raise _Refused(400, "data must be an object")
        priority = new.get("priority")
        if priority is not None and (type(priority) is not int or not 0 <= priority <= 100):
            raise _Refused(400, "priority must be an integer from 0 to 100")

    def _twin(self, task_type: str, unique_key: str | None) -> str | None:
        """The id of a task with this key that has not ended."""
        for task in self.tasks.values() if unique_key else ():
            if (task["task_type"], task.get("unique_key")) == (task_type, unique_key) and task["status"] not in _FINAL:
                return str(task["id"])
        return None

    def _store(self, new: dict[str, Any]) -> str:
        id = str(uuid.uuid4())
        later = new.get("run_at") or (new.get("delay") and _now(new["delay"]))
        self.tasks[id] = {
            "id": id,
            "task_type": new["type"],
            "task_data": new.get("data") or {},
            "status": "pending",
            "priority": 50 if new.get("priority") is None else new["priority"],
            "attempts": 0,
            "result": None,
            "last_error": None,
            "failure_reason": None,
            "created_at": _now(),
            "started_at": None,
            "completed_at": None,
            "due_at": later or None,
            **{name: new[name] for name in SHOWN if new.get(name) is not None},
        }
        if self.immediately and not later:
            self._run(self.tasks[id])
        return id

    def _list(self, parameters: httpx2.QueryParams) -> tuple[list[dict[str, Any]], dict[str, str]]:
        ids = parameters.get("ids", "").split(",") if "ids" in parameters else None
        wanted = {
            name: parameters[key].split(",")
            for key, name in (("status", "status"), ("type", "task_type"), ("failure_reason", "failure_reason"))
            if key in parameters
        }
        rows = [
            task
            for task in self.tasks.values()
            if (ids is None or task["id"] in ids)
            and all(task[name] in values for name, values in wanted.items())
            and set(parameters.get_list("tag")) <= set(task.get("tags") or ())
        ]
        if parameters.get("order") != "oldest":
            rows.reverse()
        first, limit = int(parameters.get("cursor", 0)), int(parameters.get("limit", 20))
        page, more = rows[first : first + limit], len(rows) > first + limit
        if "fields" in parameters:
            page = [{name: task.get(name) for name in parameters["fields"].split(",")} for task in page]
        return page, {"Next-Cursor": str(first + limit)} if more else {}

    def _act(self, method: str, id: str, act: str | None, body: dict[str, Any]) -> dict[str, Any] | None:
        if id not in self.tasks:
            raise _Refused(404, "Task not found")
        task = self.tasks[id]
        if act is None and method == "DELETE":
            del self.tasks[id]
            return None
        if act == "cancel":
            if task["status"] in _FINAL:
                raise _Refused(
                    409, f"Task is already {task['status']}; only a pending or processing task can be cancelled"
                )
            task.update(
                status="failed", failure_reason="cancelled", last_error="cancelled", completed_at=_now(), due_at=None
            )
        elif act == "redrive":
            if task["status"] != "failed":
                raise _Refused(404, f"Task is {task['status']}; only a failed task can be redriven")
            task.update(status="pending", failure_reason=None, completed_at=None)
            task.update({"task_data": body["data"]} if body.get("data") is not None else {})
            task.update({"priority": body["priority"]} if body.get("priority") is not None else {})
            self.tasks[id] = self.tasks.pop(id)
            if self.immediately:
                self._run(task)
        elif act == "priority":
            if task["status"] != "pending":
                raise _Refused(409, f"Task is {task['status']}; only a pending task can get another priority")
            task["priority"] = body["priority"]
        return task


def _now(later: float = 0) -> str:
    return (datetime.now(timezone.utc) + timedelta(seconds=later)).isoformat().replace("+00:00", "Z")
