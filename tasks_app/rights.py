"""Who may do what: a line for each right. From it come the checks of the admin and of the API, and the table in
docs/admin.md."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import IntEnum

from django.http import HttpRequest

from tasks_app.keys.api_keys import Scope
from tasks_app.keys.caller import Caller
from tasks_app.options.known import stored


class Role(IntEnum):
    """A group of users, made by a migration. Each may do what those before it may."""

    VIEWER = 1
    OPERATOR = 2
    ADMIN = 3


@dataclass(frozen=True)
class Right:
    """What somebody may do.

    `permissions`: a user of the admin needs one of them; `called`: how the docs name many. `role`: the first role that
    has one; None: the admin has no such page. `scope`: what an API key needs; None: no call does it.
    """

    text: str
    role: Role | None
    permissions: tuple[str, ...]
    scope: Scope | None = None
    called: str = ""


SEE_TASKS = Right(
    "see the dashboard, tasks without payloads, callbacks without addresses and bodies, schedules, handlers, "
    "operations and pauses",
    Role.VIEWER, ("tasks_app.view_task", "tasks_app.change_task"), Scope.TASKS_READ,
)  # fmt: skip
SEE_NODES = Right("see nodes", Role.VIEWER, ("tasks_app.view_node", "tasks_app.change_node"), Scope.TASKS_READ)
SEE_AUDIT_LOG = Right("see the audit log, without details", Role.VIEWER, ("tasks_app.view_auditentry",))
SEE_PAYLOADS = Right(
    "see payloads, results, errors, logs, failure groups, all of callbacks and the details of the audit log",
    Role.OPERATOR, ("tasks_app.view_payload",), Scope.TASKS_READ,
)  # fmt: skip
POST_TASKS = Right(
    "post a task; in the admin, a test task",
    Role.OPERATOR, ("tasks_app.add_task", "tasks_app.change_task"), Scope.TASKS_WRITE,
)  # fmt: skip
CHANGE_TASKS = Right(
    "redrive or cancel a task, send its callbacks again, change its priority, edit its data; in the admin only if "
    "its payload may be seen",
    Role.OPERATOR, ("tasks_app.change_task",), Scope.TASKS_WRITE,
)  # fmt: skip
OPERATE = Right(
    "redrive, cancel or prioritise all tasks that match, send their callbacks again, give up callbacks, pause types, "
    "drain nodes, pause and run schedules; in the admin, if payloads may be seen, define schedules and resolve failure "
    "groups",
    Role.OPERATOR, ("tasks_app.change_task",), Scope.OPERATE,
)  # fmt: skip
DELETE_TASKS = Right("delete a task", Role.ADMIN, ("tasks_app.delete_task",), Scope.TASKS_WRITE)
DELETE_MATCHING = Right("delete all tasks that match", Role.ADMIN, ("tasks_app.delete_task",), Scope.OPERATE)
SEE_KEYS = Right("see API keys", Role.ADMIN, ("tasks_app.view_apikey", "tasks_app.change_apikey"))
MAKE_KEYS = Right("make API keys, also one that allows everything", Role.ADMIN, ("tasks_app.add_apikey",))
REVOKE_KEYS = Right("revoke API keys", Role.ADMIN, ("tasks_app.change_apikey",))
MANAGE_USERS = Right(
    "manage users and groups, and make any user a superuser",
    Role.ADMIN,
    tuple(f"auth.{verb}_{model}" for model in ("user", "group") for verb in ("view", "add", "change", "delete")),
    called="all of users and groups",
)
UNLOCK_LOGINS = Right(
    "see logins, and end lockouts",
    Role.ADMIN,
    (
        "axes.view_accessattempt", "axes.delete_accessattempt", "axes.view_accesslog", "axes.view_accessfailurelog",
    ),
    called="*view* of the three tables of logins, *delete* of access attempts",
)  # fmt: skip
SEE_METRICS = Right("read the metrics", None, (), Scope.METRICS_READ)

RIGHTS = (
    SEE_TASKS, SEE_NODES, SEE_AUDIT_LOG, SEE_PAYLOADS, POST_TASKS, CHANGE_TASKS, OPERATE, DELETE_TASKS, DELETE_MATCHING,
    SEE_KEYS, MAKE_KEYS, REVOKE_KEYS, MANAGE_USERS, UNLOCK_LOGINS, SEE_METRICS,
)  # fmt: skip

#: Of a task, what only SEE_PAYLOADS shows: what its caller sent (also an address, which may have a secret in it), what
#: its handler answered or printed, and errors, which may quote both.
TASK_PAYLOAD = ("task_data", *(option.column for option in stored() if option.payload), "result", "last_error")
#: Of an attempt, the same.
ATTEMPT_PAYLOAD = ("error", "stdout_tail", "stderr_tail")


def may(request: HttpRequest, right: Right) -> bool:
    """Whether the user of a page has a right."""
    return any(map(request.user.has_perm, right.permissions))


def allowed(caller: Caller, right: Right) -> bool:
    """Whether the caller of the API has a right."""
    return right.scope is not None and caller.may(right.scope)


def needs(**rights: Right) -> Mapping[str, Scope]:
    """The scope that a call needs, by method: `needs(GET=SEE_TASKS)`."""
    needed = {method: right.scope for method, right in rights.items() if right.scope is not None}
    if len(needed) < len(rights):
        raise ValueError("a call needs a right that has a scope")
    return needed
