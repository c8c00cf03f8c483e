"""Nodes in the admin: who works, with how many slots, since when."""

from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.http import HttpRequest, HttpResponse
from django.utils import timezone
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString

from tasks_app import conf
from tasks_app.admin.columns import badge
from tasks_app.admin.text import ago, harmless, line, span
from tasks_app.metrics.figures import SILENCE
from tasks_app.models import Node


def differs(digest: str) -> bool:
    """Whether a node runs another handlers.toml than this web server."""
    return bool(digest) and digest != conf.handlers().digest


@admin.register(Node)
class NodeAdmin(admin.ModelAdmin):
    """Read-only: a node writes its own row."""

    list_display = ("shown_name", "state", "slots", "age", "heard", "version", "trouble")
    list_per_page = 50
    ordering = ("-started_at",)
    sortable_by = ()
    search_fields = ("name",)
    fields = ("shown_name", "state", "age", "heard", "slots", "trouble", "domain", "version")
    readonly_fields = fields

    class Media:
        css = {"all": ("taskdaemon/admin.css",)}

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def changelist_view(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> HttpResponse:
        return super().changelist_view(request, {"title": "Nodes", **(extra_context or {})})

    @admin.display(description="name")
    def shown_name(self, node: Node) -> str:
        """Host, process, chance."""
        return line(node.name)

    @admin.display(description="state")
    def state(self, node: Node) -> SafeString:
        """Whether it lives, by its own word and by its silence."""
        if node.stopped_at:
            return badge("none", "ended")
        if (timezone.now() - node.seen_at).total_seconds() > SILENCE:
            return badge("failed", "silent")
        return badge("pending", "draining") if node.draining else badge("completed", "alive")

    @admin.display(description="slots (warm of all)")
    def slots(self, node: Node) -> SafeString:
        """Its handlers' seats."""
        seats = ((line(name, 60), p.get("warm"), p.get("slots")) for name, p in sorted(node.pools.items()))
        return format_html_join(", ", "{}&nbsp;{}/{}", seats)

    @admin.display(description="age")
    def age(self, node: Node) -> str:
        """How long it lives, or lived."""
        return span((node.stopped_at or timezone.now()) - node.started_at)

    @admin.display(description="last heard of")
    def heard(self, node: Node) -> SafeString:
        """When it last wrote its row."""
        return format_html(
            '<span title="{} UTC">{}</span>', f"{node.seen_at:%Y-%m-%d %H:%M:%S}", ago(node.seen_at, timezone.now())
        )

    @admin.display(description="problems")
    def trouble(self, node: Node) -> SafeString:
        """Its own and its handlers', in its words."""
        found = [*node.problems, *(f"{name}: {p['problem']}" for name, p in node.pools.items() if p.get("problem"))]
        return format_html_join("", '<div class="td-error">{}</div>', ((harmless(str(one)[:500]),) for one in found))

    @admin.display(description="handlers.toml")
    def version(self, node: Node) -> SafeString:
        """What its handlers.toml comes to, in short; and whether that is another one than this web server's."""
        short = line(node.digest[:8])
        if node.stopped_at or not differs(node.digest):
            return format_html("{}", short)
        return format_html("{} {}", short, badge("failed", "differs"))

    @admin.display(description="lock domain")
    def domain(self, node: Node) -> str:
        """Host and DAEMON_HOME."""
        return line(node.lock_domain, 300)
