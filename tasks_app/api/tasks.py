"""The calls on tasks: post one or many, list them, read, delete, cancel, redrive and prioritize one."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any, ClassVar
from uuid import UUID

from rest_framework.exceptions import APIException
from rest_framework.request import Request
from rest_framework.response import Response

from tasks_app import conf
from tasks_app.api import admission, errors, list_parameters, new_tasks, pages, schema, view, waiting
from tasks_app.api.errors import Conflict, Invalid, NotFound, TooLarge
from tasks_app.api.fields import body_of, object_with, optional_body, read_object
from tasks_app.api.new_tasks import TASK_FIELDS
from tasks_app.api.pages import response_budget
from tasks_app.audit import Actor, TaskGone, TaskUnfit, act_on_task, record
from tasks_app.field import Faults, choice
from tasks_app.keys.api_keys import Scope
from tasks_app.queue.current import writing
from tasks_app.queue.models import FINAL, Task
from tasks_app.queue.redrive import LivingTwin
from tasks_app.queue.strict_json import MAX_DEPTH, BadJSON, loads_data
from tasks_app.queue.submission import Submission, Submitted, too_large
from tasks_app.queue.submit import submit_now
from tasks_app.queue.task_filter import TaskFilter
from tasks_app.queue.task_search import search
from tasks_app.rights import CHANGE_TASKS, DELETE_TASKS, POST_TASKS, SEE_TASKS, needs
from tasks_app.runner.wire import encode

#: Of a list: for what it waits.
WAIT = {
    "wait": waiting.wait_field(
        "With `ids`: answer once one of these tasks is final or gone, at once if one is already, or after so many "
        "seconds with what there is. Leave out those that you have."
    ),
    "wait_for": choice("With `ids` and a wait: for the first of the tasks, or for all.", ("any", "all")),
}
#: What a task object has instead of what its caller may not read, and the fields that it keeps.
WITHHELD = b',"task_data":{},"result":null,"last_error":null}'
NOT_WITHHELD = [name for name in pages.TASK_OBJECT_FIELDS if name not in ("task_data", "result", "last_error")]


def read(identity: UUID, headers: dict[str, str] | None = None, known: str | None = None) -> Response:
    """The task object of an id; 304 if its ETag is among those that are `known`. Raises NotFound."""
    page = pages.Page(Task.objects.filter(pk=identity), 1)
    if not page.ids:
        raise NotFound
    return _answer(page, _single, headers, known)


def changed(request: Request, identity: UUID) -> Response:
    """The task object of a task that the call has changed. Without the scope to read tasks, it has no content."""
    if view.caller_of(request).may(Scope.TASKS_READ):
        return read(identity)
    page = pages.Page(Task.objects.filter(pk=identity), 1, NOT_WITHHELD)
    return _answer(page, lambda objects: _single(objects)[:-1] + WITHHELD)


def _key(request: Request) -> view.KeyCheck:
    """What a wait for a task goes on to need."""
    return view.KeyCheck.of(request, Scope.TASKS_READ)


def _single(objects: list[bytes]) -> bytes:
    if not objects:  # deleted since its size was read
        raise NotFound
    return objects[0]


def _answer(
    page: pages.Page,
    render: Callable[[list[bytes]], bytes],
    headers: dict[str, str] | None = None,
    known: str | None = None,
) -> Response:
    """The response with a page's task objects. They are read only when the response budget has room for them. `known`:
    ETags; None: it has none."""

    def make() -> Response:
        body = render(pages.task_objects(page))
        if known is None:
            return Response(body, headers=headers)
        tag = f'"{hashlib.sha256(body).hexdigest()[:32]}"'
        tagged = {**(headers or {}), "ETag": tag}
        if tag in known or known.strip() == "*":
            return Response(status=304, headers=tagged)
        return Response(body, headers=tagged)

    return response_budget.answer(page.bytes, make)


class QueueView(admission.RateHeaders, view.API):
    """`POST /queue`."""

    scopes = needs(POST=POST_TASKS)

    @schema.call(
        "queue_task",
        "tasks",
        schema.QUEUED,
        [schema.LOCATION, *waiting.PREFER, *admission.RATE],
        request=new_tasks.NewTaskObject,
        examples=[*new_tasks.ONE_EXAMPLES, *schema.QUEUED_EXAMPLES],
        query=waiting.WAIT,
    )
    def post(self, request: Request) -> Response:
        """Queue a task. The answer means that it is stored and survives a power cut."""
        caller = view.caller_of(request)
        seconds, deferred = waiting.wanted(self, request), waiting.deferred_of(request)
        if seconds is not None:
            caller.require(Scope.TASKS_READ)  # the answer has the task, which another caller may have posted
        body = body_of(request)
        new = new_tasks.new_task(body, conf.handlers(), conf.environment().max_body, caller.signer)
        view.check_type(caller, new.task_type)
        key = view.key_of_request(request, lambda: new_tasks.meaning_of(body))
        if seconds and deferred is not None:
            deferred.reserve()  # before the task is stored: a request without a place stores nothing
        submitted = admission.admit_and_store([new], key, caller.rate)
        identity, existing = submitted.ids[0], admission.existing_of(submitted)
        (taken,) = admission.callbacks_taken([new], submitted)
        headers = admission.queued_headers(str(identity), submitted)
        if seconds is not None and deferred is not None:
            deferred.until(waiting.Wait(identity, seconds, True, existing, taken), _key(request))
            headers |= waiting.applied(seconds)
        return Response(admission.queued_body(str(identity), existing, callback_taken=taken), headers=headers)


class BatchView(admission.RateHeaders, view.API):
    """`POST /queue/batch`."""

    scopes = needs(POST=POST_TASKS)

    @schema.call(
        "queue_tasks",
        "tasks",
        schema.QUEUED_TOGETHER,
        [*admission.RATE],
        request=new_tasks.NewTasks,
        examples=[*new_tasks.MANY_EXAMPLES, schema.QUEUED_TOGETHER_EXAMPLE],
    )
    def post(self, request: Request) -> Response:
        """Queue up to 1,000 tasks, all or none. The answer means that they are stored and survive a power cut."""
        caller = view.caller_of(request)
        body = body_of(request, MAX_DEPTH + new_tasks.OUTER_LEVELS)
        new = new_tasks.new_tasks(body, conf.handlers(), conf.environment().max_body, caller.signer)
        view.check_types(caller, new)
        key = view.key_of_request(request, lambda: [new_tasks.meaning_of(task) for task in body["tasks"]])
        submitted = admission.admit_and_store(new, key, caller.rate)
        answer: dict[str, Any] = {"task_ids": [str(identity) for identity in submitted.ids]}
        if submitted.existing is not None:
            answer["existing"] = submitted.existing
            taken = admission.callbacks_taken(new, submitted)
            if taken.count(None) < len(taken):
                answer["callback_taken"] = taken
        return Response(answer, headers=admission.replayed(submitted))


class TasksView(view.API):
    """`GET /api/tasks`."""

    scopes = needs(GET=SEE_TASKS)
    compresses = True
    elsewhere: ClassVar[dict[str, str]] = {"POST": errors.POSTED_TO}

    @schema.call(
        "list_tasks",
        "tasks",
        list_parameters.LISTED,
        [*pages.NEXT, *waiting.PREFER],
        query=list_parameters.PARAMETERS | WAIT,
    )
    def get(self, request: Request) -> Response:
        """List tasks, newest first. The Link header has the address of the next page.

        A filter other than `status` and `type` reads a limited number of rows for a page: a page may be short, even
        empty, and still have a next one."""
        faults: Faults = []
        wanted = view.known_tasks(request, list_parameters.filter_of(self.asked, faults))
        if wanted.ids is None:
            faults += [(name, f"{name} needs ids: the tasks to wait for") for name in WAIT if name in self.asked]
        if faults:
            raise Invalid(faults)
        read = partial(self._page, request, wanted)
        headers: dict[str, str] = {}
        # Without ids a preference is ignored: it cannot be met.
        if wanted.ids is not None and (seconds := waiting.wanted(self, request)) is not None:
            headers = waiting.applied(seconds)
            if self._waits(request, wanted.ids, seconds, read):
                return Response(headers=headers)
        page, more = read()
        return _answer(page, pages.array, headers | more)

    def _page(self, request: Request, wanted: TaskFilter) -> tuple[pages.Page, dict[str, str]]:
        """The page as it is now, and its headers."""
        asked = self.asked
        limit = asked.get("limit") or max(list_parameters.DEFAULT_LIMIT, len(asked.get("ids", ())))
        fields, oldest = asked.get("fields"), asked.get("order") == "oldest"
        found = search(wanted, asked.get("cursor"), oldest, limit)
        shown = None if fields is None else [name for name in list_parameters.FIELDS if name in fields]
        page = pages.Page(found.rows, limit, shown, oldest)
        return page, pages.next_page(request, page.ids[-1] if page.more else found.end)

    def _waits(
        self,
        request: Request,
        ids: frozenset[UUID],
        seconds: int,
        read: Callable[[], tuple[pages.Page, dict[str, str]]],
    ) -> bool:
        """Let the answer wait; False if enough of the tasks are final or gone. To the caller other types are gone."""
        deferred, for_all = waiting.deferred_of(request), self.asked.get("wait_for") == "all"
        if not seconds or deferred is None:
            return False
        known = view.known_tasks(request, TaskFilter(ids=ids)).matching(Task.objects.all())
        going = frozenset(known.exclude(status__in=FINAL).values_list("pk", flat=True))
        if len(going) < (1 if for_all else len(ids)):
            return False
        deferred.reserve(len(going))
        deferred.until(
            waiting.ListWait(going, seconds, for_all, read, request.META.get("HTTP_ACCEPT_ENCODING", "")), _key(request)
        )
        return True


class TaskView(view.API):
    """`GET` and `DELETE /api/tasks/{id}`."""

    scopes = needs(GET=SEE_TASKS, DELETE=DELETE_TASKS)

    @schema.call(
        "get_task",
        "tasks",
        {**schema.ONE, 304: schema.UNCHANGED},
        [schema.TASK_ID, *schema.ETAG, *waiting.PREFER],
        query=waiting.WAIT,
    )
    def get(self, request: Request, task_id: str) -> Response:
        """Read a task: its status and, once it is final, its result or why it failed."""
        seconds, deferred = waiting.wanted(self, request), waiting.deferred_of(request)
        identity = view.task_in_path(request, task_id)
        known = request.META.get("HTTP_IF_NONE_MATCH", "")
        if seconds is None or deferred is None:
            return read(identity, known=known)
        headers = waiting.applied(seconds)
        if not seconds or waiting.is_final(identity):
            return read(identity, headers, known)
        deferred.reserve()
        deferred.until(waiting.Wait(identity, seconds, False), _key(request))
        return Response(headers=headers)

    @schema.call("delete_task", "tasks", schema.DELETED, [schema.TASK_ID])
    def delete(self, request: Request, task_id: str) -> Response:
        """Delete a task in any status. If it runs, its container is stopped and its result dropped."""
        identity = view.task_in_path(request, task_id)
        try:
            with act_on_task(view.actor_of(request), "delete", identity):
                return Response(status=204)
        except TaskGone:
            raise NotFound from None


# The calls that change one task: a redrive may give it other data, or another priority.

_DATA, _PRIORITY = (replace(TASK_FIELDS[name], default=None) for name in ("data", "priority"))
#: What a task is to have from a redrive on.
REDRIVE_FIELDS = {
    name: replace(field, schema={**field.schema, "description": f"{what}; absent or null: as it is."})
    for name, field, what in (
        ("data", _DATA, "Instead of its data"),
        ("priority", _PRIORITY, "Instead of its priority"),
    )
}
PRIORITY_FIELDS = {
    "priority": replace(_PRIORITY, schema={**_PRIORITY.schema, "description": "The new one."}, required=True)
}
EXAMPLE = '{"data": {"limit": 1000}}'
Redrive = object_with("Redrive", "What a task is to have from now on.", REDRIVE_FIELDS)
Priority = object_with("Priority", "Another priority.", PRIORITY_FIELDS)


def read_redrive(body: Any) -> dict[str, Any]:
    """What a redrive is to change: `data` and `priority`. Raises Invalid with every fault at once, or TooLarge."""
    asked = read_object(body, REDRIVE_FIELDS, EXAMPLE)
    if "data" in asked and (sentence := too_large(encode(asked["data"]), conf.environment().max_body)):
        raise TooLarge([("data", sentence)])
    return asked


def read_priority(body: Any) -> int:
    """Another priority. Raises Invalid with every fault at once."""
    return int(read_object(body, PRIORITY_FIELDS, '{"priority": 90}')["priority"])


class TaskAct(view.API):
    """The base of these calls."""

    scopes = needs(POST=CHANGE_TASKS)

    def act(self, request: Request, verb: str, identity: UUID, **changes: Any) -> Response:
        """Do it, and answer. Raises NotFound or Conflict."""
        try:
            with act_on_task(view.actor_of(request), verb, identity, **changes):
                # No node can claim the task before the answer is read: it says `pending` after a redrive.
                return self.answer(request, str(identity))
        except (TaskUnfit, LivingTwin) as refusal:
            missing = isinstance(refusal, TaskGone) or (verb == "redrive" and isinstance(refusal, TaskUnfit))
            raise (NotFound if missing else Conflict)(str(refusal)) from None

    def answer(self, request: Request, target: str) -> Response:
        return changed(request, UUID(target))


class CancelView(TaskAct):
    """`POST /api/tasks/{id}/cancel`."""

    @schema.call("cancel_task", "tasks", schema.CANCELLED, [schema.TASK_ID])
    def post(self, request: Request, task_id: str) -> Response:
        """Cancel a task that has not ended. If it runs, its handler gets SIGTERM, and its result is dropped."""
        return self.act(request, "cancel", view.task_in_path(request, task_id))


class RedriveView(TaskAct):
    """`POST /api/tasks/{id}/redrive`."""

    @schema.call(
        "redrive_task",
        "tasks",
        schema.REDRIVEN,
        [schema.TASK_ID],
        request=Redrive,
        examples=[
            schema.asked("as it is", {}),
            schema.asked("with other data", {"data": {"limit": 1000}}),
            schema.asked("and before others", {"data": {"limit": 1000}, "priority": 90}),
        ],
    )
    def post(self, request: Request, task_id: str) -> Response:
        """Queue a failed task again, with a new budget of retries. It may get other data and another priority."""
        identity = view.task_in_path(request, task_id)
        return self.act(request, "redrive", identity, **read_redrive(optional_body(request, EXAMPLE)))


class PriorityView(TaskAct):
    """`POST /api/tasks/{id}/priority`."""

    @schema.call(
        "prioritize_task",
        "tasks",
        schema.PRIORITIZED,
        [schema.TASK_ID],
        request=Priority,
        examples=[schema.asked("before others", {"priority": 90})],
    )
    def post(self, request: Request, task_id: str) -> Response:
        """Give a pending task another priority. With DAEMON_TASK_SELECTION=priority it goes to the back of its new
        level."""
        identity = view.task_in_path(request, task_id)
        return self.act(request, "priority", identity, priority=read_priority(body_of(request)))


# A task that an operator queues from the admin: the checks of `POST /queue`, and a line of the audit log.


def queue_for_operator(task_type: str, data: str, priority: str, limit_key: str, actor: Actor) -> UUID | list[str]:
    """Queue a task with data as JSON text and a priority and a limit key as texts; a blank one is the default.

    Returns its id, or why it is refused, in sentences. Raises DatabaseError.
    """
    faults: Faults = []
    values: dict[str, object] = {"type": task_type}
    try:
        values["data"] = loads_data(data) if data.strip() else {}
    except BadJSON as error:
        faults.append(("data", f"data: {error}"))
    text = priority.strip()
    if text:
        values["priority"] = int(text) if text.isascii() and text.isdigit() and len(text) < 10 else text[:40]
    if limit_key:
        values["limit_key"] = limit_key
    new = new_tasks.task_of(values, conf.handlers(), faults)
    if new is None or faults:
        return [sentence for _, sentence in faults]
    if (sentence := too_large(new.text, conf.environment().max_body)) is not None:
        return [sentence]

    def put(submission: Submission) -> Submitted:
        with writing():
            submitted = submit_now(submission)
            record(actor, "test_task", str(submitted.ids[0]), handler=task_type, priority=new.priority)
        return submitted

    try:
        return admission.admit_and_store([new], put=put).ids[0]
    except APIException as error:
        return [str(error.detail)]
