"""Every address, with and without a slash at its end: a redirect would lose the body of a POST."""

from functools import partial
from itertools import chain

from django.conf import settings
from django.contrib import admin
from django.http import HttpRequest, HttpResponse
from django.templatetags.static import static
from django.urls import include, path
from django.views.generic import RedirectView

from tasks_app.admin import handlers as handler_pages
from tasks_app.admin import navigation, pages
from tasks_app.api import attempts, document, errors, handlers, nodes, system, tasks
from tasks_app.api.view import both
from tasks_app.feature import registered

admin.autodiscover()

handler400 = "tasks_app.api.errors.bad_request"
handler403 = "tasks_app.urls.permission_denied"
handler404 = "tasks_app.urls.page_not_found"
handler500 = "tasks_app.api.errors.server_error"


def permission_denied(request: HttpRequest, exception: Exception) -> HttpResponse:
    """Django's handler403: an HTML page in the admin, JSON elsewhere."""
    if pages.is_for_person(request):
        return pages.permission_denied(request, exception)
    return errors.json_error("forbidden", 403)


def page_not_found(request: HttpRequest, exception: Exception) -> HttpResponse:
    """Django's handler404: an HTML page in the admin, JSON elsewhere, and only for those with a key."""
    if pages.is_for_person(request):
        return pages.page_not_found(request, exception)
    if request.path_info.startswith(("/admin/", settings.STATIC_URL)):
        return errors.json_error(errors.no_such_page(request.path), 404)
    return system.unknown(request)


def csrf_failure(request: HttpRequest, reason: str = "") -> HttpResponse:
    """Django's CSRF_FAILURE_VIEW: an HTML page in the admin, JSON elsewhere."""
    if pages.is_for_person(request):
        return pages.csrf_failure(request)
    return errors.json_error("the form is too old or came from another site; go back, reload, try again", 403)


urlpatterns = [
    path("", system.RootView.as_view(), name="front-door"),  # the name is a label of counters in the database
    *both("queue", tasks.QueueView.as_view(), "queue"),
    *both("queue/batch", tasks.BatchView.as_view(), "batch"),
    *both("api/tasks/<one:task_id>", tasks.TaskView.as_view(), "task"),
    *both("api/tasks/<one:task_id>/attempts", attempts.AttemptsView.as_view(), "attempts"),
    *both("api/tasks", tasks.TasksView.as_view(), "tasks"),
    *both("api/tasks/<one:task_id>/cancel", tasks.CancelView.as_view(), "cancel"),
    *both("api/tasks/<one:task_id>/redrive", tasks.RedriveView.as_view(), "redrive"),
    *both("api/tasks/<one:task_id>/priority", tasks.PriorityView.as_view(), "priority"),
    *both("api/handlers", handlers.HandlersView.as_view(), "handlers"),
    *both("api/handlers/<str:type>", handlers.HandlerView.as_view(), "handler"),
    *both("api/nodes", nodes.NodesView.as_view(), "nodes"),
    *both("api/nodes/<str:name>", nodes.NodeView.as_view(), "node"),
    *both("health", system.HealthView.as_view(), "health"),
    *both("health/live", system.LiveView.as_view(), "live"),
    *both("health/ready", system.ReadyView.as_view(), "ready"),
    *both("metrics", system.MetricsView.as_view(), "metrics"),
    *both("api/metrics", system.APIMetricsView.as_view(), "api-metrics"),
    *both("openapi.json", document.SchemaView.as_view(), "schema"),
    *both("docs", document.swagger, "docs"),
    *both("redoc", document.redoc, "redoc"),
    *chain.from_iterable(registered("calls")),
    path("admin", RedirectView.as_view(url="/admin/")),
    path("admin/search/", admin.site.admin_view(navigation.search_view), name="admin-search"),
    path("admin/handlers/", admin.site.admin_view(handler_pages.handlers_view), name="admin-handlers"),
    path(
        "admin/handler/",
        admin.site.admin_view(partial(handler_pages.handler_view, queue=tasks.queue_for_operator)),
        name="admin-handler",
    ),
    path("admin/", include([*chain.from_iterable(registered("pages"))])),
    # In place of Django's: there is no other site to show rows on.
    path("admin/r/<path:rest>", admin.site.admin_view(pages.no_page)),
    path("admin/", admin.site.urls),
    # Browsers ask for it on every page.
    path("favicon.ico", RedirectView.as_view(url=static("taskdaemon/favicon.svg")), name="favicon"),
]
