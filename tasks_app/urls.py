"""Every address. Both slash forms work: a redirect would lose the body of a POST."""

from django.contrib import admin
from django.urls import path, re_path
from drf_spectacular.views import SpectacularJSONAPIView, SpectacularRedocView, SpectacularSwaggerView

from tasks_app.api import system, tasks

handler400 = "tasks_app.api.errors.bad_request"
handler403 = "tasks_app.api.errors.permission_denied"
handler404 = "tasks_app.api.errors.page_not_found"
handler500 = "tasks_app.api.errors.server_error"

urlpatterns = [
    path("", system.front_door),
    re_path(r"^queue/?$", tasks.QueueView.as_view(), name="queue"),
    re_path(r"^api/tasks/?$", tasks.TasksView.as_view(), name="tasks"),
    re_path(r"^api/tasks/(?P<task_id>[^/]+)/?$", tasks.TaskView.as_view(), name="task"),
    re_path(r"^api/tasks/(?P<task_id>[^/]+)/redrive/?$", tasks.RedriveView.as_view(), name="redrive"),
    re_path(r"^health/?$", system.HealthView.as_view(), name="health"),
    re_path(r"^health/live/?$", system.LiveView.as_view(), name="live"),
    re_path(r"^health/ready/?$", system.ReadyView.as_view(), name="ready"),
    re_path(r"^metrics/?$", system.metrics, name="metrics"),
    re_path(r"^api/metrics/?$", system.APIMetricsView.as_view(), name="api-metrics"),
    re_path(r"^openapi\.json/?$", SpectacularJSONAPIView.as_view(), name="schema"),
    re_path(r"^docs/?$", SpectacularSwaggerView.as_view(url_name="schema"), name="docs"),
    re_path(r"^redoc/?$", SpectacularRedocView.as_view(url_name="schema"), name="redoc"),
    path("admin/", admin.site.urls),
]
