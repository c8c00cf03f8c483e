"""API keys in the admin: who has one, when it was used; revoke. Made by `manage.py apikey create`, never here."""

from __future__ import annotations

from typing import Any

from django.contrib import admin, messages
from django.contrib.admin.models import CHANGE, LogEntry
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from django.utils import timezone
from django.utils.html import format_html
from django.utils.safestring import SafeString

from tasks_app import api_keys
from tasks_app.admin.columns import badge
from tasks_app.admin.text import ago, line
from tasks_app.models import ApiKey


@admin.register(ApiKey)
class ApiKeyAdmin(admin.ModelAdmin):
    """Shows no secret: there is none to show. A page would be a worse place than a terminal to show a new one."""

    list_display = ("shown_name", "begins", "state", "made", "used")
    list_per_page = 50
    ordering = ("-created_at",)
    sortable_by = ()
    search_fields = ("name", "prefix")
    fields = ("shown_name", "begins", "state", "made", "used")
    readonly_fields = fields
    actions = ("revoke",)

    class Media:
        css = {"all": ("taskdaemon/admin.css",)}

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def changelist_view(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> HttpResponse:
        return super().changelist_view(request, {"title": "API keys", **(extra_context or {})})

    @admin.action(description="Revoke", permissions=("change",))
    def revoke(self, request: HttpRequest, queryset: QuerySet[ApiKey]) -> None:
        """Refuse them from now on."""
        done = [key for key in queryset.filter(revoked_at=None) if api_keys.revoke_key(key.pk)]
        if done:
            LogEntry.objects.log_actions(request.user.pk or 0, done, CHANGE, "Revoked.")
        self.message_user(
            request, f"{len(done)} revoked: refused within two seconds.", messages.SUCCESS if done else messages.WARNING
        )

    @admin.display(description="name")
    def shown_name(self, key: ApiKey) -> str:
        """Whom it is for."""
        return line(key.name)

    @admin.display(description="begins with")
    def begins(self, key: ApiKey) -> SafeString:
        """By which it can be told from others."""
        return format_html("<code>{}...</code>", key.prefix)

    @admin.display(description="state")
    def state(self, key: ApiKey) -> SafeString:
        """Whether it opens anything."""
        return badge("none", "revoked") if key.revoked_at else badge("completed", "good")

    @admin.display(description="made")
    def made(self, key: ApiKey) -> str:
        """When."""
        return f"{key.created_at:%Y-%m-%d %H:%M}"

    @admin.display(description="last used")
    def used(self, key: ApiKey) -> str:
        """To the minute."""
        return ago(key.last_used_at, timezone.now()) if key.last_used_at else "never"
