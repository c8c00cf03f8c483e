"""What the caller of a request may see and do, by its API key."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, cast
from uuid import UUID

from rest_framework.permissions import BasePermission
from rest_framework.request import Request

from tasks_app.api import inputs
from tasks_app.api.errors import NotFound
from tasks_app.audit.record import Actor
from tasks_app.handlers.handlers_toml import Handler
from tasks_app.keys.caller import Caller, Forbidden, Scope
from tasks_app.queue.models import Task
from tasks_app.queue.new_task import NewTask
from tasks_app.queue.task_filter import TaskFilter

READING: Mapping[str, Scope] = {"GET": Scope.TASKS_READ}
WRITING: Mapping[str, Scope] = {"POST": Scope.TASKS_WRITE}
OPERATING: Mapping[str, Scope] = {"POST": Scope.OPERATE}
#: Only so many tasks and types of a batch are named.
MAX_NAMED = 10


def caller_of(request: Request) -> Caller:
    """The caller of a view's request. Only of views that authenticate."""
    return cast("Caller", request.auth)


def actor_of(request: Request) -> Actor:
    """The caller of a view's request, for the audit log."""
    return Actor("api", caller_of(request).name)


class ScopePermission(BasePermission):
    """Answers 403 to a caller without the scope that the view's `scopes` has for the method. HEAD is GET.

    A method that is not in `scopes` needs none: OPTIONS, and those that the view does not allow.
    """

    def has_permission(self, request: Request, view: Any) -> bool:
        method = "GET" if request.method == "HEAD" else request.method
        if (scope := view.scopes.get(method)) is not None:
            caller_of(request).require(scope)
        return True


def task_in_path(request: Request, text: str, missing: str | None = None) -> UUID:
    """The id of a path. Raises NotFound, with the sentence `missing`, if no task can have it, or if a task has it whose
    type the caller does not know. A caller that knows all types learns nothing of the task here."""
    identity, types = inputs.task_id(text), caller_of(request).types
    if identity is None:
        raise NotFound(missing)
    if types is not None and not Task.objects.filter(pk=identity, task_type__in=types).exists():
        raise NotFound(missing)
    return identity


def known_handlers(request: Request, handlers: Mapping[str, Handler]) -> Mapping[str, Handler]:
    """Those of the handlers whose types the caller knows."""
    caller = caller_of(request)
    return {name: handler for name, handler in handlers.items() if caller.knows(name)}


def known_tasks(request: Request, wanted: TaskFilter) -> TaskFilter:
    """The filter, without types that the caller does not know."""
    types = caller_of(request).types
    if types is None:
        return wanted
    return replace(wanted, types=types if wanted.types is None else wanted.types & types)


def check_type(caller: Caller, new: NewTask) -> None:
    """Raise Forbidden if the caller may not post this task."""
    if not caller.knows(new.task_type):
        raise Forbidden(f'this API key is not for the type "{new.task_type}"')


def check_types(caller: Caller, new: Sequence[NewTask]) -> None:
    """Raise Forbidden if the caller may not post one of the tasks of a batch."""
    wrong = [index for index, task in enumerate(new) if not caller.knows(task.task_type)]
    if wrong:
        named = ", ".join(f'"{name}"' for name in dict.fromkeys(new[at].task_type for at in wrong[:MAX_NAMED]))
        at = ", ".join(f"tasks[{index}]" for index in wrong[:MAX_NAMED]) + (", ..." if wrong[MAX_NAMED:] else "")
        raise Forbidden(f"this API key is not for the type {named}: {at}; none was stored")
