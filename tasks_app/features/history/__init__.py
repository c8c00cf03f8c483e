"""What history adds to the engine."""

from types import MappingProxyType

from tasks_app.feature import Feature


class History(Feature):
    """The counters by minute, and the pictures that the admin draws from them."""

    name = "tasks_app.features.history"
    due_work = MappingProxyType({"history": "NOT EXISTS (SELECT 1 FROM taskdaemon_history WHERE minute = {minute})"})
    side_jobs = "tasks_app.features.history.history.MinuteRows"
    pages = "tasks_app.features.history.admin.urlpatterns"
    sections = "tasks_app.features.history.admin.sections"
    panels = "tasks_app.features.history.admin.panels"
