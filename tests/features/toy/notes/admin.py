"""Notes in the admin."""

from __future__ import annotations

from django.contrib import admin

from tasks_app.admin.lists import ReadOnlyAdmin
from tasks_app.features.notes.models import Note
from tasks_app.rights import SEE_PAYLOADS


@admin.register(Note)
class NoteAdmin(ReadOnlyAdmin):
    """All notes."""

    seen_by = (SEE_PAYLOADS,)
    list_display = ("task", "text", "by")
    list_display_links = None
    ordering = ("-pk",)
