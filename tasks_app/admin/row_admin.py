from __future__ import annotations

from typing import Any, ClassVar

from django.contrib import admin
from django.contrib.admin.utils import unquote
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.utils.text import capfirst

from tasks_app.admin.links import audit_link
from tasks_app.admin.paging import StrictList


class RowAdmin(admin.ModelAdmin):
    """Rows that no page adds, in a `changelist` with the model's name as its title."""

    changelist: type[StrictList] = StrictList
    list_per_page = 50
    sortable_by: ClassVar[tuple[str, ...]] = ()

    class Media:
        css = {"all": ("taskdaemon/admin.css",)}

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def get_changelist(self, request: HttpRequest, **kwargs: Any) -> type[StrictList]:
        return self.changelist

    def changelist_view(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> HttpResponse:
        title = capfirst(self.opts.verbose_name_plural)
        return super().changelist_view(request, {"title": title, **(extra_context or {})})

    def get_object(self, request: HttpRequest, object_id: str, from_field: str | None = None) -> Any:
        # PostgreSQL refuses a text with a NUL, by another error than those that Django expects of an id.
        return None if "\0" in object_id else super().get_object(request, object_id, from_field)

    def history_view(
        self, request: HttpRequest, object_id: str, extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        """The audit log's lines about a row, also about one that is gone."""
        if not self.has_view_permission(request):
            raise PermissionDenied
        row = self.get_object(request, unquote(object_id))
        target = unquote(object_id) if row is None else self.audit_target(row)
        return HttpResponseRedirect(audit_link(target))

    def audit_target(self, row: Any) -> str:
        """What the audit log calls a row."""
        return str(row.pk)


class ReadOnlyAdmin(RowAdmin):
    """Rows that no form changes or deletes: what may be done to them has a view of its own."""

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False
