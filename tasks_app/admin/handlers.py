"""Handlers in the admin: the list, and a page for each with its slots, tasks and failures, and a test task.

They have no table, so these are plain views. `tasks_app.urls` wraps them, and gives them what queues a test task.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any
from uuid import UUID

from django.contrib import messages
from django.core.exceptions import PermissionDenied
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseNotAllowed, HttpResponseRedirect
from django.utils import timezone

from tasks_app import conf
from tasks_app.admin.holds import pause_text
from tasks_app.admin.lists import moment
from tasks_app.admin.nodes import MAX_RUNNING, differs, of_type, pool_row, running
from tasks_app.admin.pages import actor, only, page
from tasks_app.admin.text import handler_link, line, listed, node_link, task_link
from tasks_app.audit import Actor
from tasks_app.feature import Link, registered
from tasks_app.handlers.handlers_toml import Handler
from tasks_app.handlers.words import span
from tasks_app.logs import harmless
from tasks_app.metrics.reading import HandlerReading, Rates, recent_rates
from tasks_app.metrics.system_reading import SystemReading, current_reading
from tasks_app.options.known import named
from tasks_app.queue.claim import running_tasks
from tasks_app.queue.node_models import HandlerPause
from tasks_app.queue.reloads import Process
from tasks_app.rights import OPERATE, POST_TASKS, SEE_TASKS, may

Queue = Callable[[str, str, str, str, Actor], "UUID | list[str]"]
"""Queues a task by type, data as JSON text, priority and limit key as texts. Returns its id, or why it is refused."""


def handlers_view(request: HttpRequest) -> HttpResponse:
    """All handlers of handlers.toml, of a living node, or with tasks."""
    if not may(request, SEE_TASKS):
        raise PermissionDenied
    reading, rates = current_reading(), recent_rates()
    names = sorted({*conf.handlers(), *reading.handlers})
    acts = handler_acts(names, may(request, OPERATE))
    rows = [_row(name, reading, rates, acts[name]) for name in names]
    uses = [_use(process) for process in reading.processes]
    return page(request, "taskdaemon/handlers.html", "Handlers", rows=rows, uses=uses, rate_span=span(rates.seconds))


def handler_view(request: HttpRequest, queue: Queue) -> HttpResponse:
    """GET: the handler that the parameter `type` names. POST: queue a test task for it."""
    if not may(request, SEE_TASKS):
        raise PermissionDenied
    if request.method not in ("GET", "HEAD", "POST"):
        return HttpResponseNotAllowed(["GET", "HEAD", "POST"])
    only(request, "type")
    name = request.GET.get("type", "")
    known = conf.handlers().get(name)
    reading = current_reading()
    if known is None and name not in reading.handlers:
        raise Http404(f"There is no handler {line(name, 60)}.")
    data, priority, faults = request.POST.get("data", "{}"), request.POST.get("priority", "50"), list[str]()
    limit_key = request.POST.get("limit_key", "")
    if request.method == "POST":
        if not may(request, POST_TASKS):
            raise PermissionDenied
        queued = queue(name, data, priority, limit_key, actor(request))
        if isinstance(queued, UUID):
            messages.success(request, f"The test task {queued} is queued.")
            return HttpResponseRedirect(task_link(queued))
        faults = [harmless(fault[:1000]) for fault in queued]
    return page(
        request,
        "taskdaemon/handler.html",
        line(name, 60),
        400 if faults else 200,
        acts=handler_acts([name], may(request, OPERATE))[name],
        may_test=may(request, POST_TASKS) and known is not None,
        data=data,
        priority=priority,
        limit_key=limit_key,
        has_limit_key="limit_key" in named(),
        faults=faults,
        **_details(name, known, reading),
    )


def handler_acts(names: Sequence[str], may_act: bool) -> dict[str, list[Link]]:
    """What features offer to do to each of these handlers; nothing to who may not act on tasks."""
    offered = [links(names) for links in registered("handler_links")] if may_act else []
    return {name: [by_name[name] for by_name in offered if name in by_name] for name in names}


def handler_row(name: str, one: HandlerReading, pause: HandlerPause | None, acts: list[Link]) -> dict[str, Any]:
    """What each list of handlers shows of one. `paused`: by whom and since when; "" if it is not."""
    return {
        "name": line(name, 60),
        "link": handler_link(name),
        "one": one,
        "paused": "" if pause is None else pause_text(pause),
        "oldest": span(one.oldest) if one.ready else "",
        "acts": acts,
    }


def _row(name: str, reading: SystemReading, rates: Rates, acts: list[Link]) -> dict[str, Any]:
    one = reading.handlers.get(name, HandlerReading())
    return handler_row(name, one, one.paused, acts) | {
        "rate": _rate(rates, name),
        "problem": harmless(one.problems[0][:300]) if one.problems else reading.unserved(name),
    }


def _use(process: Process) -> dict[str, Any]:
    """What a process uses of handlers.toml."""
    return {
        "process": line(str(process)),
        "link": node_link(process.name) if process.kind == "node" else "",
        "revision": line(process.used.revision) or "unknown",
        "since": moment(process.since) if process.since else "unknown",
        "problem": harmless(process.used.fault or ""),
    }


def _rate(rates: Rates, name: str) -> str:
    return f"{rates.per_second(rates.succeeded, name):.3g} / {rates.per_second(rates.failed, name):.3g}"


def _details(name: str, known: Handler | None, reading: SystemReading) -> dict[str, Any]:
    one = reading.handlers.get(name, HandlerReading())
    rates = recent_rates()
    rows = _pools(name, reading)
    stored = reading.stored(name) if name in reading.handlers else {}
    problems = [harmless(text[:2_000]) for text in one.problems] or [reading.unserved(name)]
    pause = HandlerPause.objects.of(name)
    return {
        "name": name,
        "link": handler_link(name),
        "paused": "" if pause is None else pause_text(pause),
        "known": known,
        "description": harmless(known.description or "") if known else "",
        "one": one,
        "problems": [text for text in problems if text],
        "numbers": [(status, f"{count:,}", listed(type=name, status=status)) for status, count in stored.items()],
        "facts": _facts(known, one, rates, name),
        "pools": rows,
        "versions": len({row["digest"] for row in rows}),
        "image_versions": len({image for row in rows for image in row["images"]}),
        "running": running(running_tasks().filter(task_type=name), timezone.now()),
        "max_running": MAX_RUNNING,
        "all_running": listed(type=name, status="processing"),
    }  # fmt: skip


def _pools(name: str, reading: SystemReading) -> list[dict[str, Any]]:
    return [
        pool_row(
            node.name, node_link(node.name), node.pools[name], reading.running.get((name, node.name), 0),
            digest=line(node.digest[:8]), differs=differs(node.digest), draining=node.draining,
            drained=of_type(node.type_drains.get(name), reading.running.get((name, node.name), 0)),
        )
        for node in reading.nodes
        if name in node.pools
    ]  # fmt: skip


def _facts(known: Handler | None, one: HandlerReading, rates: Rates, name: str) -> list[tuple[str, str]]:
    facts = [
        ("Slots", f"{one.active} busy, {one.warm} warm, {one.slots} in all"),
        ("Oldest ready", span(one.oldest) if one.ready else "none"),
        ("Waiting for a retry or their time", f"{one.waiting:,}"),
        *([("Held by a limit or a predecessor", f"{one.held:,}")] if one.held else []),
        (f"Succeeded / failed attempts a second, {span(rates.seconds)}", _rate(rates, name)),
    ]
    if known is not None:
        facts += [
            ("Image", line(known.image, 200) if known.image else "none: a child process"),
            ("Timeout", span(known.timeout)),
            ("Retries", str(known.max_retries)),
            ("Slots on each worker", str(known.instances)),
            ("Memory", f"{known.memory_limit:,} bytes" if known.memory_limit else "no limit"),
        ]
    return facts
