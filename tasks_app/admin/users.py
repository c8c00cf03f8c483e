"""Users and groups: Django's own pages, whose acts are also in the audit log."""

from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.contrib.auth.admin import GroupAdmin, UserAdmin
from django.contrib.auth.models import Group, User
from django.db.models import QuerySet
from django.http import HttpRequest

from tasks_app.admin.rights import actor
from tasks_app.audit.record import record


class Recorded(admin.ModelAdmin):
    """Records what is added, changed and deleted. Django calls these methods in the transaction of the act.

    Only the names of fields are recorded: a password has no place in a log.
    """

    def log_addition(self, request: HttpRequest, obj: Any, message: Any) -> Any:
        record(actor(request), f"add_{self.opts.model_name}", str(obj))
        return super().log_addition(request, obj, message)

    def log_change(self, request: HttpRequest, obj: Any, message: Any) -> Any:
        record(actor(request), f"change_{self.opts.model_name}", str(obj), changed=_changed(message))
        return super().log_change(request, obj, message)

    def log_deletions(self, request: HttpRequest, queryset: QuerySet[Any]) -> Any:
        for one in queryset:
            record(actor(request), f"delete_{self.opts.model_name}", str(one))
        return super().log_deletions(request, queryset)


def _changed(message: Any) -> Any:
    """The names of the changed fields; Django gives a list, or a sentence for a new password."""
    if not isinstance(message, list):
        return str(message)
    return sorted({str(field) for part in message for field in part.get("changed", {}).get("fields", ())})


class RecordedUserAdmin(Recorded, UserAdmin):
    """Users."""

    readonly_fields = ("last_login", "date_joined")


class RecordedGroupAdmin(Recorded, GroupAdmin):
    """Groups."""


for model, kind in ((User, RecordedUserAdmin), (Group, RecordedGroupAdmin)):
    admin.site.unregister(model)
    admin.site.register(model, kind)
