"""Activity in the admin: the page with pictures over time, what its script asks for, and what the dashboard shows."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from functools import partial, wraps
from typing import Any
from urllib.parse import urlencode

from django.contrib import admin
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse, HttpResponseNotAllowed, JsonResponse
from django.template.loader import render_to_string
from django.urls import path
from django.utils import timezone

from tasks_app.admin.handlers import handler_acts
from tasks_app.admin.navigation import Section
from tasks_app.admin.pages import page
from tasks_app.admin.search import known_types
from tasks_app.admin.text import handler_link, line, listed, task_link
from tasks_app.feature import registered
from tasks_app.features.history.history import (
    WINDOWS,
    Window,
    failing,
    first_attempt,
    moment,
    present_minute,
    trends,
)
from tasks_app.features.history.pictures import as_list, latest_runs, pictures, runs, tables
from tasks_app.handlers.words import span
from tasks_app.logs import harmless
from tasks_app.metrics.reading import slot_states
from tasks_app.metrics.system_reading import current_reading
from tasks_app.queue.claim import running_tasks
from tasks_app.queue.node_models import Node
from tasks_app.rights import OPERATE, SEE_TASKS, may

DEFAULT_WINDOW = "hour"


class _BadAddress(ValueError):
    """A parameter of the address is not understood; the text says why and what there is."""


@dataclass(frozen=True)
class Wanted:
    """What a request asks for. `handler`: None for all of them."""

    name: str
    handler: str | None

    @property
    def window(self) -> Window:
        """How far it looks back."""
        return WINDOWS[self.name]

    def query(self, **other: str | None) -> str:
        """The address's query for this, with something else in place of a part."""
        words = {"span": self.name, "handler": self.handler, **other}
        return urlencode({name: value for name, value in words.items() if value is not None})


def _wanted(request: HttpRequest) -> Wanted:
    name = request.GET.get("span", DEFAULT_WINDOW)
    handler = request.GET.get("handler") or None
    if name not in WINDOWS:
        raise _BadAddress(f"There is no span “{line(name, 40)}”; there are {', '.join(WINDOWS)}.")
    if handler is not None and handler not in (known := known_types()):
        raise _BadAddress(f"There is no handler “{line(handler, 60)}”; there are {', '.join(known) or 'none'}.")
    return Wanted(name, handler)


View = Callable[[HttpRequest], HttpResponse]


def _for_viewers(view: View) -> View:
    """Only GET, and only for users who may see tasks."""

    @wraps(view)
    def checked(request: HttpRequest) -> HttpResponse:
        if request.method not in ("GET", "HEAD"):
            return HttpResponseNotAllowed(["GET"])
        if not may(request, SEE_TASKS):
            raise PermissionDenied
        return view(request)

    return checked


def _json(answer: Callable[[Wanted], dict[str, Any]]) -> View:
    def view(request: HttpRequest) -> HttpResponse:
        try:
            return JsonResponse(answer(_wanted(request)))
        except _BadAddress as error:
            return JsonResponse({"error": str(error)}, status=400)

    return _for_viewers(view)


def _trends(wanted: Wanted) -> dict[str, Any]:
    window = wanted.window
    shown = trends(window.minutes, window.step, present_minute(), wanted.handler)
    return {"minutes": shown.minutes, "pictures": pictures(shown)}


def _runs(wanted: Wanted) -> dict[str, Any]:
    since = present_minute() - wanted.window.minutes
    found, sampled = runs(first_attempt(since), moment(since), wanted.handler)
    return {"sampled": sampled, "runs": list(map(as_list, found))}


def _slots(wanted: Wanted) -> dict[str, Any]:
    return {"rows": [asdict(row) for row in slot_rows(wanted.handler)]}


def _activity(request: HttpRequest) -> HttpResponse:
    show = partial(page, request, "history/activity.html", "Activity", handlers=known_types())
    try:
        wanted = _wanted(request)
    except _BadAddress as error:
        return show(400, wrong=str(error), wanted=Wanted(DEFAULT_WINDOW, None))
    window, now = wanted.window, present_minute()
    shown = trends(window.minutes, window.step, now, wanted.handler, every=window.table_step)
    latest = latest_runs(moment(now - window.minutes), wanted.handler)
    return show(
        wanted=wanted,
        spans=[(name, wanted.query(span=name), name == wanted.name) for name in WINDOWS],
        query=wanted.query(),
        empty=shown.empty,
        needed=2 * window.step,
        tables=tables(shown, days=window.minutes > WINDOWS["day"].minutes),
        rows=slot_rows(wanted.handler),
        runs=[(run, task_link(run.task_id)) for run in latest],
        now=datetime.now(UTC),
    )


# The strips of slots on the activity page: what each slot of a handler on a node does now.

#: Running tasks that are read, slots that one row shows, and rows.
MAX_TASKS, MAX_SLOTS, MAX_ROWS = 2_000, 200, 200
MAX_PROBLEM_CHARS = 200


@dataclass(frozen=True)
class SlotRow:
    """The slots of a handler on a node. `busy`: the task of each that runs one, for how long, and the address of its
    page; `dead`: those of a silent node, or without a container because of `problem`; `more`: not shown."""

    handler: str
    node: str
    state: str
    busy: list[dict[str, str]]
    warm: int
    starting: int
    dead: int
    more: int
    problem: str

    @property
    def marks(self) -> list[tuple[str, str]]:
        """(state, letter) of each slot without a task."""
        numbers = (("warm", "W", self.warm), ("starting", "S", self.starting), ("dead", "D", self.dead))
        return [(state, letter) for state, letter, number in numbers for _ in range(number)]


def slot_rows(handler: str | None = None) -> list[SlotRow]:
    """Of living nodes and of those that have been silent for some minutes. Raises DatabaseError."""
    reading, now = current_reading(), timezone.now()
    running: dict[tuple[str, str | None], list[dict[str, str]]] = {}
    tasks = running_tasks() if handler is None else running_tasks().filter(task_type=handler)
    for key, name, node, started_at in tasks.values_list("pk", "task_type", "node", "started_at")[:MAX_TASKS]:
        busy = {"task": str(key), "seconds": span(now - (started_at or now)), "link": task_link(key)}
        running.setdefault((name, node), []).append(busy)
    rows = [
        _row(name, node, states, running.get((name, node.name), ()), silent)
        for nodes, silent in ((reading.nodes, False), (reading.silent, True))
        for node in nodes
        for name, states in node.pools.items()
        if handler is None or name == handler
    ]
    return sorted(rows, key=lambda row: (row.handler, row.node))[:MAX_ROWS]


def _row(name: str, node: Node, state: Mapping[str, Any], busy: Sequence[dict[str, str]], silent: bool) -> SlotRow:
    slots, problem = int(state["slots"]), state.get("problem") or ""
    states = slot_states(min(slots, MAX_SLOTS), int(state["warm"]), len(busy), bool(problem), silent)
    return SlotRow(
        handler=line(name, 60),
        node=line(node.name),
        state=node.state(len(busy), not silent, name),
        busy=list(busy[:MAX_SLOTS]),
        warm=states.warm,
        starting=states.starting,
        dead=states.dead,
        more=max(slots - MAX_SLOTS, 0),
        problem=harmless(problem[:MAX_PROBLEM_CHARS]),
    )


urlpatterns = [
    path(f"activity/{end}", admin.site.admin_view(view), name=name)
    for name, end, view in (
        ("activity", "", _for_viewers(_activity)),
        ("activity-trends", "trends/", _json(_trends)),
        ("activity-runs", "runs/", _json(_runs)),
        ("activity-slots", "slots/", _json(_slots)),
    )
]


# What the dashboard shows of it.

#: How far back it looks for failures, and of the handlers that fail those that it shows, the worst.
FAILING_MINUTES, MAX_FAILING = 15, 10


def _failing_now(request: HttpRequest, _: None) -> str:
    """The handlers whose tasks fail now, with links to what failed, and to what may be done about it."""
    found = failing(current_reading(), FAILING_MINUTES)
    if found is None:
        return ""
    handlers, minutes = found
    names = [one.handler for one in handlers[:MAX_FAILING]]
    errors = [links(request, names) for links in registered("failure_links")] if names else []
    acts = handler_acts(names, may(request, OPERATE)) if names else {}
    context = {
        "minutes": minutes,
        "more": len(handlers[MAX_FAILING:]),
        "rows": [
            {
                "name": line(one.handler, 60),
                "link": handler_link(one.handler),
                "failed": f"{one.failed:,}",
                "tasks": listed(type=one.handler, failed="quarter"),
                "share": f"{one.failed / one.ended:.0%}" if one.failed * 100 >= one.ended else "< 1%",
                "ended": f"{one.ended:,}",
                "rate": f"{one.failed / minutes:.2g}" if one.failed < 10 * minutes else f"{one.failed / minutes:,.0f}",
                "errors": [link for by_name in errors for link in by_name.get(one.handler, ())],
                "acts": acts[one.handler],
            }
            for one in handlers[:MAX_FAILING]
        ],
    }
    return render_to_string("history/failing.html", context)


def _last_hour(request: HttpRequest, _: None) -> str:
    """Places for the pictures of the last hour, which the dashboard's script draws."""
    return render_to_string("history/last_hour.html")


panels = {"dashboard.failing": _failing_now, "dashboard.numbers": _last_hour}
sections = [Section("Activity", "activity", 10, (SEE_TASKS,))]
