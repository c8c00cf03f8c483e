"""The errors that calls raise. Each is a `TaskdaemonError`."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

import httpx2

from taskdaemon_client.answers import TaskdaemonError as TaskdaemonError
from taskdaemon_client.answers import TaskFailed as TaskFailed

T = TypeVar("T")


class Unreachable(TaskdaemonError):
    """No answer: the platform is away, or the connection broke. The platform may have done the call."""


class WaitTimeout(TaskdaemonError):
    """The time of a wait is over. `ids`: the tasks or the operation that have not ended."""

    def __init__(self, ids: list[str], seconds: float, kind: str = "task") -> None:
        what = f"{kind} {ids[0]} has" if len(ids) == 1 else f"{len(ids)} {kind}s have"
        super().__init__(f"{what} not ended within {seconds:g} s")
        self.ids = ids


class TasksGone(TaskdaemonError):
    """A wait was for tasks that do not exist, or do not exist any more. `ids`: these tasks."""

    def __init__(self, ids: list[str]) -> None:
        super().__init__(f"no longer there: {', '.join(ids[:5])}{' ...' if len(ids) > 5 else ''} ({len(ids)} in all)")
        self.ids = ids


@dataclass(frozen=True)
class Fault:
    """One fault of a request: the field, such as `tasks[7].priority`, and what is wrong with it."""

    field: str
    error: str


class ApiError(TaskdaemonError):
    """The platform refused a call. Each status has a class below.

    `status`: the status of HTTP. `error`: the platform's sentence. `faults`: the wrong fields, if the platform named
    them (`details`). `method`, `url`: the request. `request_id`: finds a 500 in the platform's log. `retry_after`:
    seconds. `replayed`: the call was done before, and its target is gone. `hint`: the client's advice on a 401.
    `foreign`: another server than a platform has answered at this address.
    """

    hint = ""

    def __init__(self, response: httpx2.Response) -> None:
        self.status = response.status_code
        self.method = response.request.method
        self.url = without_user(str(response.request.url))
        parsed = _parsed(response)
        #: The JSON of the answer; empty if that is no object.
        self.body: dict[str, Any] = parsed if isinstance(parsed, dict) else {}
        # The answer of a proxy, for a platform that is away or about a body, is no JSON either.
        unknown = self.status in (404, 405, 501) and not self.body
        self.foreign = unknown or response.is_success or response.is_redirect
        said = None if self.foreign else self.body.get("error")
        self.error = str(said or _sentence(response, self.foreign))
        self.faults = _faults(self.body.get("details"))
        self.request_id: str | None = self.body.get("request_id")
        self.retry_after = _seconds(response.headers.get("Retry-After"))
        self.replayed = response.headers.get("Idempotent-Replayed") == "true"
        super().__init__(self.error)

    @property
    def sentence(self) -> str:
        """`error`, with `request_id` and `hint`."""
        return self.error + (f" (request {self.request_id})" if self.request_id else "") + self.hint

    def __str__(self) -> str:
        return f"{self.method} {self.url}: {self.status}: {self.sentence}"


class BadRequest(ApiError):
    """400, 413, 422 and every other status that means that the request is wrong."""


class NotAllowed(ApiError):
    """401, 403: there is no valid API key, or it does not allow this."""


class NotFound(ApiError):
    """404."""


class Conflict(ApiError):
    """409: the task, operation or node is in another state."""


class TryLater(ApiError):
    """408, 429, 502, 503, 504: too many requests, a full queue, or the platform is away. Retries were of no use."""


class ServerFault(ApiError):
    """500: a bug of the platform. Any other status: no answer of a platform at all, such as a redirect."""


_CLASSES = {401: NotAllowed, 403: NotAllowed, 404: NotFound, 409: Conflict} | dict.fromkeys(
    (408, 429, 502, 503, 504), TryLater
)


def refusal(response: httpx2.Response, key_hint: str = "") -> ApiError | None:
    """The error for an answer; None for a success. The body has been read. `key_hint`: advice for a 401."""
    if response.is_success and (not response.content or _is_json(response)):
        return None
    other = BadRequest if response.is_client_error else ServerFault
    error = _CLASSES.get(response.status_code, other)(response)
    error.hint = key_hint if error.status == 401 else ""
    return error


def naming_tasks(error: ApiError, name: Callable[[int], str]) -> ApiError:
    """The error of a batch, with the name `name(index)` for each task that the platform calls `tasks[index]`."""

    def named(text: str) -> str:
        return re.sub(r"\btasks\[(\d+)\]", lambda found: name(int(found[1])), text)

    error.error = named(error.error)
    error.faults = [Fault(named(fault.field), named(fault.error)) for fault in error.faults]
    return error


def without_user(url: str) -> str:
    """An address without its user and password, for messages."""
    return re.sub("//[^/]*@", "//", url)


def read_as(read: Callable[[Any], T], response: httpx2.Response) -> T:
    """The JSON of a success, converted by `read`. Raises `ServerFault` if that fails: another server has answered."""
    try:
        return read(_parsed(response))
    except (AttributeError, LookupError, TypeError, ValueError) as error:
        raise ServerFault(response) from error


def _is_json(response: httpx2.Response) -> bool:
    return "json" in response.headers.get("Content-Type", "")


def _sentence(response: httpx2.Response, foreign: bool) -> str:
    """A sentence about an answer that has none itself, from a proxy or another server."""
    said = f"HTTP {response.status_code} {response.reason_phrase}".strip()
    if response.is_redirect:
        return f"{said} to {response.headers.get('Location', 'nowhere')}; is the address right?"
    what = "not what a task platform answers" if _is_json(response) else "no JSON"
    return f"{said}, and {what}; is the address right?" if foreign else said


def _parsed(response: httpx2.Response) -> Any:
    """The JSON of an answer, or None."""
    try:
        return response.json()
    except (ValueError, RecursionError):
        return None


def _faults(details: object) -> list[Fault]:
    """The faults in an answer's `details`; none if another server means something else by the word."""
    rows = details if isinstance(details, list) else []
    return [
        Fault(str(row["field"]), str(row["error"]))
        for row in rows
        if isinstance(row, dict) and {"field", "error"} <= row.keys()
    ]


def _seconds(value: str | None) -> float | None:
    try:
        return None if value is None else max(0.0, float(value))
    except ValueError:
        return None  # A date: no answer of the platform has one.
