"""API keys in the admin: list and revoke. Only `manage.py apikey create` creates them."""

from __future__ import annotations

from typing import Any

from django.contrib import admin, messages
from django.contrib.admin.models import CHANGE, LogEntry
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils import timezone
from django.utils.html import format_html
from django.utils.safestring import SafeString

from tasks_app.admin.columns import badge
from tasks_app.admin.row_admin import RowAdmin
from tasks_app.admin.text import ago, line
from tasks_app.keys import api_keys
from tasks_app.models import ApiKey


@admin.register(ApiKey)
class ApiKeyAdmin(RowAdmin):
    """Shows no secret: the database has only hashes."""

    list_display = ("shown_name", "begins", "state", "made", "used")
    ordering = ("-created_at",)
    search_fields = ("name", "prefix")
    fields = ("shown_name", "begins", "state", "made", "used")
    readonly_fields = fields
    actions = ("revoke",)

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    @admin.action(description="Revoke", permissions=("change",))
    def revoke(self, request: HttpRequest, queryset: QuerySet[ApiKey]) -> None:
        """Revoke the selected keys."""
        revoked = [key for key in queryset.filter(revoked_at=None) if api_keys.revoke_key(key.pk)]
        if revoked:
            LogEntry.objects.log_actions(request.user.pk or 0, revoked, CHANGE, "Revoked.")
        self.message_user(
            request,
            f"{len(revoked)} revoked: refused within two seconds.",
            messages.SUCCESS if revoked else messages.WARNING,
        )

    @admin.display(description="name")
    def shown_name(self, key: ApiKey) -> str:
        """The key's name."""
        return line(key.name)

    @admin.display(description="begins with")
    def begins(self, key: ApiKey) -> SafeString:
        """Its first characters."""
        return format_html("<code>{}...</code>", key.prefix)

    @admin.display(description="state")
    def state(self, key: ApiKey) -> SafeString:
        """Whether it is revoked."""
        return badge("none", "revoked") if key.revoked_at else badge("completed", "good")

    @admin.display(description="made")
    def made(self, key: ApiKey) -> str:
        """When it was created."""
        return f"{key.created_at:%Y-%m-%d %H:%M}"

    @admin.display(description="last used")
    def used(self, key: ApiKey) -> str:
        """When it was last used, to the minute."""
        return ago(key.last_used_at, timezone.now()) if key.last_used_at else "never"
