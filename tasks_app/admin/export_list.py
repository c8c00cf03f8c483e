"""The view that exports a list of tasks."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from django.contrib.admin.options import IncorrectLookupParameters
from django.http import HttpRequest, HttpResponseBase, HttpResponseNotAllowed

from tasks_app.admin.export_columns import export_columns
from tasks_app.admin.export_rows import FORMATS
from tasks_app.admin.export_tasks import export_tasks
from tasks_app.admin.refusals import refused

#: Parameters that are the export's, or say which page of a list is shown.
OWN = ("_format", "_payloads", "p", "all")


def export_list(request: HttpRequest, changelist_of: Callable[[HttpRequest], Any]) -> HttpResponseBase:
    """The tasks that a list with this address shows, on all its pages. The user may see tasks.

    `_format`: csv or jsonl. `_payloads`: yes. 400 for a parameter that is not understood, 503 without a free place.
    """
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
        changelist = changelist_of(request)
    except IncorrectLookupParameters:
        return refused(request, "The address has a parameter that the list of tasks does not know.", 400)
    if changelist.faults:
        return refused(request, " ".join([*changelist.faults, "Nothing is exported."]), 400)
    return export_tasks(request, changelist.queryset, export_columns(request, payloads == "yes"), form)
