"""Nodes in the admin: who works, with how many slots, since when."""

from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.http import HttpRequest

from tasks_app.models import Node


@admin.register(Node)
class NodeAdmin(admin.ModelAdmin):
    """Read-only: a node writes its own row."""

    list_display = ("name", "slots", "started_at", "seen_at", "stopped_at", "draining")
    ordering = ("-started_at",)

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    @admin.display(description="slots (warm / all)")
    def slots(self, node: Node) -> str:
        """Its handlers' seats."""
        return ", ".join(f"{name} {p['warm']}/{p['slots']}" for name, p in sorted(node.pools.items()))
