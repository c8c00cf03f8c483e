"""Nodes in the admin: the list, and a page for each, which shows pools and running tasks as a handler's page does."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from django.contrib import admin
from django.db.models import Count
from django.http import HttpRequest, HttpResponse
from django.utils import timezone
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString

from tasks_app import conf
from tasks_app.admin.holds import drain_text
from tasks_app.admin.lists import PageAdmin, badge, column, moment
from tasks_app.admin.text import ago, handler_link, line
from tasks_app.handlers.words import plural, span, utc_text
from tasks_app.logs import harmless
from tasks_app.metrics.system_reading import SILENCE_SECONDS, current_reading, known_dead
from tasks_app.queue.claim import running_tasks
from tasks_app.queue.models import Task, TaskQuerySet
from tasks_app.queue.node_models import Drain, Node
from tasks_app.rights import SEE_NODES, SEE_TASKS, may

MAX_PROBLEM_CHARS = 2_000
#: `sha256:` is left out, as `docker images` does.
IMAGE_DIGEST_CHARS = 12


def pool_row(name: str, link: str, state: Mapping[str, Any], busy: int, **more: Any) -> dict[str, Any]:
    """A pool by the state that its node wrote. `name`, `link`: of its handler on the page of a node, of its node on the
    page of a handler; `more`: what else the page shows of it."""
    return {
        "name": line(name, 60),
        "link": link,
        "busy": busy,
        "warm": state.get("warm", 0),
        "slots": state.get("slots", 0),
        "images": [line(str(image).removeprefix("sha256:")[:IMAGE_DIGEST_CHARS]) for image in state.get("images", ())],
        "problem": harmless(str(state.get("problem") or "")[:MAX_PROBLEM_CHARS]),
        **more,
    }


#: Those that were started last are shown.
MAX_RUNNING = 50


def running(tasks: TaskQuerySet, now: datetime) -> list[tuple[Task, str, str, str]]:
    """The running tasks that were started last, MAX_RUNNING at most, each with its type, its node, and how long its
    attempt has run."""
    # In an order that no index has: by the key, SQLite would look for them among all finished tasks.
    rows = tasks.order_by("-started_at").only("pk", "task_type", "node", "attempts", "started_at")[:MAX_RUNNING]
    return [
        (row, line(row.task_type, 60), line(row.node), span(now - row.started_at) if row.started_at else "")
        for row in rows
    ]


def differs(digest: str) -> bool:
    """Whether a node's handlers.toml differs from this web server's."""
    return bool(digest) and digest != conf.handlers().digest


def runs_another_version(node: Node) -> bool:
    """Whether a node runs another version of the platform than this web server."""
    return node.version != conf.version()


def drained_state(drain: Drain, running: int) -> str:
    """How far a drain is, in a few words."""
    if not drain.noticed:
        return "drain asked for"
    return f"drained, {running:,} {plural(running, 'runs', 'run')}" if running else "drained, empty"


#: The colour of a node's state; the others are like those of what is pending.
TONES = {"alive": "completed", "silent": "failed", "ended": "none", "drained": "none"}


def state_of(node: Node, running: int, lives: bool) -> tuple[str, str]:
    """The colour and the words of a node's state. See `Node.state`."""
    state = node.state(running, lives)
    if node.drain is not None and state in ("drained", "draining"):
        return TONES.get(state, "pending"), drained_state(node.drain, running)
    if state == "alive" and node.type_drains:
        return "pending", f"drained for {line(', '.join(node.type_drains))}"
    return TONES.get(state, "pending"), state


def of_type(drain: Drain | None, running: int) -> Sequence[str]:
    """How far the drain of a type on a node is, and by whom it is drained; nothing without one."""
    return () if drain is None else (drained_state(drain, running), drain_text(drain))


@admin.register(Node)
class NodeAdmin(PageAdmin):
    """Read-only: a node writes its own row."""

    seen_by = (SEE_NODES,)
    gone = "There is no such node any more."
    list_display = ("shown_name", "state", "slots", "age", "last_seen", "platform", "handlers_toml", "all_problems")
    ordering = ("-started_at",)
    search_fields = ("name",)

    def show(self, request: HttpRequest, node: Node) -> HttpResponse:
        """What it serves and runs, and its problems."""
        now = timezone.now()
        mine = running_tasks().filter(node=node.name)
        busy = Counter(dict(mine.order_by().values_list("task_type").annotate(count=Count("pk"))))
        drains = node.type_drains
        cap = max((state.get("cap") or 0 for state in node.pools.values()), default=0)
        moments = (("Started", node.started_at), ("Last seen", node.seen_at), ("Ended", node.stopped_at))
        facts = [
            *((name, f"{utc_text(at)} ({ago(at, now)})" if at else "") for name, at in moments),
            ("Age", self.age(node)),
            ("Draining", "yes: it takes no more tasks" if node.draining else ""),
            ("Running tasks", f"{sum(busy.values()):,}" + (f" of {cap} at most" if cap else "")),
            ("Version", self.platform(node)),
            ("handlers.toml", self.handlers_toml(node)),
            ("Lock domain", line(node.lock_domain, 300)),
        ]
        return self.page(
            request,
            "taskdaemon/node.html",
            line(node.name),
            original=node,
            state=self.state(node),
            facts=[(name, value) for name, value in facts if value],
            problems=[harmless(str(problem)[:MAX_PROBLEM_CHARS]) for problem in node.problems],
            pools=[
                pool_row(name, handler_link(name), state, busy[name], drained=of_type(drains.get(name), busy[name]))
                for name, state in sorted(node.pools.items())
            ],
            running=running(mine, now) if may(request, SEE_TASKS) else [],
        )

    shown_name = column("name", lambda node: line(node.name))

    @admin.display(description="state")
    def state(self, node: Node) -> SafeString:
        """How it is, and by whom it is drained."""
        lives = (timezone.now() - node.seen_at).total_seconds() <= SILENCE_SECONDS and not known_dead(node)
        running = 0 if node.drain is None else current_reading().running_on(node.name)
        shown = badge(*state_of(node, running, lives))
        return format_html("{} {}", shown, "" if node.drain is None or node.stopped_at else drain_text(node.drain))

    @admin.display(description="slots (warm of all)")
    def slots(self, node: Node) -> SafeString:
        """Warm slots and all slots of each handler."""
        states = ((line(name, 60), p.get("warm"), p.get("slots")) for name, p in sorted(node.pools.items()))
        return format_html_join(", ", "{}&nbsp;{}/{}", states)

    age = column("age", lambda node: span((node.stopped_at or timezone.now()) - node.started_at))
    last_seen = column("last seen", lambda node: moment(node.seen_at))

    @admin.display(description="problems")
    def all_problems(self, node: Node) -> SafeString:
        """The node's own problems and its handlers'."""
        found = [*node.problems, *(f"{name}: {p['problem']}" for name, p in node.pools.items() if p.get("problem"))]
        return format_html_join("", '<div class="td-error">{}</div>', ((harmless(str(one)[:500]),) for one in found))

    platform = column("version", lambda node: _compared(node, node.version or "unknown", runs_another_version(node)))
    handlers_toml = column("handlers.toml", lambda node: _compared(node, node.digest[:8], differs(node.digest)))


def _compared(node: Node, what: str, is_other: bool) -> SafeString:
    """What a node runs, with a mark if it `is_other` than what this web server runs."""
    mark = format_html(" {}", badge("failed", "differs")) if is_other and not node.stopped_at else ""
    return format_html("{}{}", line(what), mark)
