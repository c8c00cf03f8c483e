"""Nodes in the admin."""

from __future__ import annotations

from collections import Counter
from typing import Any

from django.contrib import admin, messages
from django.contrib.admin.utils import unquote
from django.core.exceptions import PermissionDenied
from django.db.models import Count
from django.http import HttpRequest, HttpResponse, HttpResponseNotAllowed, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.urls import reverse
from django.utils import timezone
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString

from tasks_app import conf
from tasks_app.admin.lists import ReadOnlyAdmin, badge
from tasks_app.admin.pools import MAX_PROBLEM_CHARS, pool_row, running
from tasks_app.admin.text import ago, handler_link, harmless, line
from tasks_app.handlers.words import moment_text, plural, span
from tasks_app.metrics.system_reading import SILENCE_SECONDS, current_reading
from tasks_app.queue.claim import running_tasks
from tasks_app.queue.node_models import Node

# Everything that a node's page shows.


def node_details(node: Node, version: Any, handlers_toml: Any, tasks: bool) -> dict[str, Any]:
    """The context of its template. `version` and `handlers_toml`: as the list shows them. `tasks`: show running
    ones."""
    now = timezone.now()
    mine = running_tasks().filter(node=node.name)
    busy = Counter(dict(mine.order_by().values_list("task_type").annotate(count=Count("pk"))))
    cap = max((state.get("cap") or 0 for state in node.pools.values()), default=0)
    facts = [
        ("Started", f"{node.started_at:%Y-%m-%d %H:%M:%S} ({ago(node.started_at, now)})"),
        ("Last seen", f"{node.seen_at:%Y-%m-%d %H:%M:%S} ({ago(node.seen_at, now)})"),
        ("Ended", f"{node.stopped_at:%Y-%m-%d %H:%M:%S} ({ago(node.stopped_at, now)})" if node.stopped_at else ""),
        ("Age", span((node.stopped_at or now) - node.started_at)),
        ("Draining", "yes: it takes no more tasks" if node.draining else ""),
        ("Running tasks", f"{sum(busy.values()):,}" + (f" of {cap} at most" if cap else "")),
        ("Version", version),
        ("handlers.toml", handlers_toml),
        ("Lock domain", line(node.lock_domain, 300)),
    ]
    return {
        "title": line(node.name),
        "facts": [(name, value) for name, value in facts if value],
        "problems": [harmless(str(one)[:MAX_PROBLEM_CHARS]) for one in node.problems],
        "pools": [pool_row(name, handler_link(name), state, busy[name]) for name, state in sorted(node.pools.items())],
        "running": running(mine, now) if tasks else [],
    }


def differs(digest: str) -> bool:
    """Whether a node's handlers.toml differs from this web server's."""
    return bool(digest) and digest != conf.handlers().digest


def runs_another_version(node: Node) -> bool:
    """Whether a node runs another version of the platform than this web server."""
    return node.version != conf.version()


def drained_state(node: Node, running: int) -> str:
    """How far the drain of a node is, in a few words."""
    if not node.draining:
        return "drain asked for"
    return f"drained, {running:,} {plural(running, 'runs', 'run')}" if running else "drained, empty"


def drained_badge(node: Node, running: int) -> SafeString:
    """The same, with who drained it and when."""
    since = "" if node.drain_requested_at is None else moment_text(node.drain_requested_at)
    state = badge("pending" if running or not node.draining else "none", drained_state(node, running))
    return format_html("{} by {} since {}", state, line(node.drain_requested_by), since)


@admin.register(Node)
class NodeAdmin(ReadOnlyAdmin):
    """Read-only: a node writes its own row."""

    list_display = ("shown_name", "state", "slots", "age", "last_seen", "platform", "handlers_toml", "all_problems")
    ordering = ("-started_at",)
    search_fields = ("name",)

    def change_view(
        self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: Any = None
    ) -> HttpResponse:
        if request.method not in ("GET", "HEAD"):
            return HttpResponseNotAllowed(["GET", "HEAD"])
        if not self.has_view_permission(request):
            raise PermissionDenied
        node: Node | None = self.get_object(request, unquote(object_id))
        if node is None:
            self.message_user(request, "There is no such node any more.", messages.WARNING)
            return HttpResponseRedirect(reverse("admin:tasks_app_node_changelist"))
        context = {
            **self.admin_site.each_context(request),
            "opts": self.opts,
            "original": node,
            "state": self.state(node),
            "media": self.media,
            **node_details(
                node, self.platform(node), self.handlers_toml(node), tasks=request.user.has_perm("tasks_app.view_task")
            ),
        }
        return TemplateResponse(request, "taskdaemon/node.html", context)

    @admin.display(description="name")
    def shown_name(self, node: Node) -> str:
        """Host, process id and random digits."""
        return line(node.name)

    @admin.display(description="state")
    def state(self, node: Node) -> SafeString:
        """Alive, draining, silent or ended."""
        if node.stopped_at:
            return badge("none", "ended")
        if (timezone.now() - node.seen_at).total_seconds() > SILENCE_SECONDS:
            return badge("failed", "silent")
        if node.drained:
            return drained_badge(node, current_reading().running_on(node.name))
        return badge("pending", "draining") if node.draining else badge("completed", "alive")

    @admin.display(description="slots (warm of all)")
    def slots(self, node: Node) -> SafeString:
        """Warm slots and all slots of each handler."""
        states = ((line(name, 60), p.get("warm"), p.get("slots")) for name, p in sorted(node.pools.items()))
        return format_html_join(", ", "{}&nbsp;{}/{}", states)

    @admin.display(description="age")
    def age(self, node: Node) -> str:
        """How long it has run, or ran."""
        return span((node.stopped_at or timezone.now()) - node.started_at)

    @admin.display(description="last seen")
    def last_seen(self, node: Node) -> SafeString:
        """When it last wrote its row."""
        shown = ago(node.seen_at, timezone.now())
        return format_html('<span title="{}">{}</span>', moment_text(node.seen_at), shown)

    @admin.display(description="problems")
    def all_problems(self, node: Node) -> SafeString:
        """The node's own problems and its handlers'."""
        found = [*node.problems, *(f"{name}: {p['problem']}" for name, p in node.pools.items() if p.get("problem"))]
        return format_html_join("", '<div class="td-error">{}</div>', ((harmless(str(one)[:500]),) for one in found))

    @admin.display(description="version")
    def platform(self, node: Node) -> SafeString:
        """The version of the platform that it runs, and whether it differs from this web server's."""
        known = line(node.version or "unknown")
        if node.stopped_at or not runs_another_version(node):
            return format_html("{}", known)
        return format_html("{} {}", known, badge("failed", "differs"))

    @admin.display(description="handlers.toml")
    def handlers_toml(self, node: Node) -> SafeString:
        """The beginning of its handlers.toml's digest, and whether it differs from this web server's."""
        short = line(node.digest[:8])
        if node.stopped_at or not differs(node.digest):
            return format_html("{}", short)
        return format_html("{} {}", short, badge("failed", "differs"))
