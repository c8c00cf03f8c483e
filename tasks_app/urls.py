"""Every address. Both slash forms work: a redirect would lose the body of a POST."""

from typing import Any

from django.contrib import admin
from django.http import HttpRequest, HttpResponse
from django.urls import URLPattern, path
from django.views.generic import RedirectView

from tasks_app.admin import refusals
from tasks_app.api import attempts, batch, docs, errors, system, tasks

handler400 = "tasks_app.api.errors.bad_request"
handler403 = "tasks_app.urls.permission_denied"
handler404 = "tasks_app.urls.page_not_found"
handler500 = "tasks_app.api.errors.server_error"


def permission_denied(request: HttpRequest, exception: Exception) -> HttpResponse:
    """Django's handler403: a page in the admin, JSON elsewhere."""
    if _in_admin(request):
        return refusals.permission_denied(request, exception)
    return errors.permission_denied(request, exception)


def page_not_found(request: HttpRequest, exception: Exception) -> HttpResponse:
    """Django's handler404, likewise."""
    if _in_admin(request):
        return refusals.page_not_found(request, exception)
    return errors.page_not_found(request, exception)


def csrf_failure(request: HttpRequest, reason: str = "") -> HttpResponse:
    """A form without its token, likewise."""
    if _in_admin(request):
        return refusals.csrf_failure(request, reason)
    return errors.csrf_failure(request, reason)


def _in_admin(request: HttpRequest) -> bool:
    """Whether a person is there to read a page: logged in, or with a browser at the login."""
    if not request.path_info.startswith("/admin/") or not hasattr(request, "user"):
        return False
    return bool(request.user.is_authenticated) or "text/html" in request.headers.get("Accept", "")


def both(address: str, view: Any, name: str) -> list[URLPattern]:
    """An address with a slash at its end and without, which is the form that the OpenAPI document has."""
    return [path(address, view, name=name), path(f"{address}/", view, name=name)]


urlpatterns = [
    path("", system.front_door, name="front-door"),
    *both("queue", tasks.QueueView.as_view(), "queue"),
    *both("queue/batch", batch.BatchView.as_view(), "batch"),
    *both("api/tasks", tasks.TasksView.as_view(), "tasks"),
    *both("api/tasks/<str:task_id>", tasks.TaskView.as_view(), "task"),
    *both("api/tasks/<str:task_id>/attempts", attempts.AttemptsView.as_view(), "attempts"),
    *both("api/tasks/<str:task_id>/redrive", tasks.RedriveView.as_view(), "redrive"),
    *both("health", system.HealthView.as_view(), "health"),
    *both("health/live", system.LiveView.as_view(), "live"),
    *both("health/ready", system.ReadyView.as_view(), "ready"),
    *both("metrics", system.metrics, "metrics"),
    *both("api/metrics", system.APIMetricsView.as_view(), "api-metrics"),
    *both("openapi.json", docs.SchemaView.as_view(), "schema"),
    *both("docs", docs.SwaggerView.as_view(), "docs"),
    *both("redoc", docs.RedocView.as_view(), "redoc"),
    path("admin", RedirectView.as_view(url="/admin/")),
    path("admin/", admin.site.urls),
]
