from __future__ import annotations

from typing import Any, ClassVar

from django.contrib import admin
from django.http import HttpRequest, HttpResponse
from django.utils.text import capfirst

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
