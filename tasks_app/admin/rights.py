"""What a user of the admin may do, and as whom the audit log knows it."""

from __future__ import annotations

from django.http import HttpRequest

from tasks_app.audit.record import Actor

#: Of a task, what only users who may see payloads see: what its caller sent, what its handler answered or printed, and
#: errors, which may quote both.
TASK_PAYLOAD = ("task_data", "metadata", "result", "last_error")
#: Of an attempt, the same.
ATTEMPT_PAYLOAD = ("error", "stdout_tail", "stderr_tail")


def sees_tasks(request: HttpRequest) -> bool:
    """Whether the user may see tasks, and what is known of them: handlers, nodes' slots, operations, pauses."""
    return request.user.has_perm("tasks_app.view_task") or acts_on_tasks(request)


def acts_on_tasks(request: HttpRequest) -> bool:
    """Whether the user may redrive, cancel, pause and drain."""
    return request.user.has_perm("tasks_app.change_task")


def sees_payloads(request: HttpRequest) -> bool:
    """Whether the user may see payloads, results, errors and logs."""
    return request.user.has_perm("tasks_app.view_payload")


def sees_audit_log(request: HttpRequest) -> bool:
    """Whether the user may see what operators and callers did."""
    return request.user.has_perm("tasks_app.view_auditentry")


def actor(request: HttpRequest) -> Actor:
    """The user, for the audit log."""
    return Actor("admin", request.user.get_username())
