"""Notes in the admin."""

from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.http import HttpRequest

from tasks_app.admin.lists import ReadOnlyAdmin
from tasks_app.admin.rights import sees_payloads
from tasks_app.features.notes.models import Note


@admin.register(Note)
class NoteAdmin(ReadOnlyAdmin):
    """All notes."""

    list_display = ("task", "text", "by")
    list_display_links = None
    ordering = ("-pk",)

    def has_view_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return sees_payloads(request)
