"""Nodes in the admin."""

from __future__ import annotations

from typing import Any

from django.contrib import admin, messages
from django.contrib.admin.utils import unquote
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse, HttpResponseNotAllowed, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.urls import reverse
from django.utils import timezone
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString

from tasks_app import conf
from tasks_app.admin.columns import badge
from tasks_app.admin.node_page import node_details
from tasks_app.admin.row_admin import RowAdmin
from tasks_app.admin.text import ago, harmless, line
from tasks_app.metrics.span import span
from tasks_app.metrics.system_reading import SILENCE_SECONDS
from tasks_app.models import Node


def differs(digest: str) -> bool:
    """Whether a node's handlers.toml differs from this web server's."""
    return bool(digest) and digest != conf.handlers().digest


@admin.register(Node)
class NodeAdmin(RowAdmin):
    """Read-only: a node writes its own row."""

    list_display = ("shown_name", "state", "slots", "age", "last_seen", "version", "all_problems")
    ordering = ("-started_at",)
    search_fields = ("name",)

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

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
            **node_details(node, self.version(node), tasks=request.user.has_perm("tasks_app.view_task")),
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
        return format_html(
            '<span title="{} UTC">{}</span>', f"{node.seen_at:%Y-%m-%d %H:%M:%S}", ago(node.seen_at, timezone.now())
        )

    @admin.display(description="problems")
    def all_problems(self, node: Node) -> SafeString:
        """The node's own problems and its handlers'."""
        found = [*node.problems, *(f"{name}: {p['problem']}" for name, p in node.pools.items() if p.get("problem"))]
        return format_html_join("", '<div class="td-error">{}</div>', ((harmless(str(one)[:500]),) for one in found))

    @admin.display(description="handlers.toml")
    def version(self, node: Node) -> SafeString:
        """The beginning of its handlers.toml's digest, and whether it differs from this web server's."""
        short = line(node.digest[:8])
        if node.stopped_at or not differs(node.digest):
            return format_html("{}", short)
        return format_html("{} {}", short, badge("failed", "differs"))
