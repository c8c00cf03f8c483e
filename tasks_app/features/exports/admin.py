"""The export of the list of tasks in the admin: the links below the list, and the file."""

from __future__ import annotations

from django.contrib import admin
from django.contrib.admin.options import IncorrectLookupParameters
from django.contrib.admin.views.main import ChangeList
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponseBase, HttpResponseNotAllowed
from django.urls import path, reverse
from django.utils.html import format_html, format_html_join

from tasks_app.admin.refusals import refused
from tasks_app.admin.rights import sees_tasks
from tasks_app.admin.table_files import FORMATS
from tasks_app.features.exports.exports import export_columns, export_tasks
from tasks_app.queue.models import Task

#: Parameters that are the export's, or say which page of a list is shown.
OWN = ("_format", "_payloads", "p", "all")


def links(request: HttpRequest, tasks: ChangeList) -> str:
    """To the files with the tasks that a list shows."""
    address = reverse("tasks_app_task_export") + tasks.get_query_string()
    files = ((f"{address}&_format={form}", kind.title) for form, kind in FORMATS.items())
    return format_html("· {}", format_html_join(" · ", '<a href="{}">{}</a>', files))


panels = {"tasks.end": links}


def export_view(request: HttpRequest) -> HttpResponseBase:
    """The tasks that a list with this address shows, on all its pages.

    `_format`: csv or jsonl. `_payloads`: yes. 400 for a parameter that is not understood, 503 without a free place.
    """
    if not sees_tasks(request):
        raise PermissionDenied
    if request.method != "GET":
        return HttpResponseNotAllowed(["GET"])
    form, payloads = request.GET.get("_format", "csv"), request.GET.get("_payloads", "")
    if form not in FORMATS or payloads not in ("", "yes"):
        return refused(request, f"_format must be one of {', '.join(FORMATS)}, and _payloads yes or left out.", 400)
    narrowed = request.GET.copy()
    for name in OWN:
        narrowed.pop(name, None)
    request.GET = narrowed  # type: ignore[assignment]
    try:
        tasks = admin.site.get_model_admin(Task).get_changelist_instance(request)
    except IncorrectLookupParameters:
        return refused(request, "The address has a parameter that the list of tasks does not know.", 400)
    if tasks.faults:
        return refused(request, " ".join([*tasks.faults, "Nothing is exported."]), 400)
    return export_tasks(request, tasks.queryset, export_columns(request, payloads == "yes"), form)


urlpatterns = [path("tasks_app/task/export/", admin.site.admin_view(export_view), name="tasks_app_task_export")]
