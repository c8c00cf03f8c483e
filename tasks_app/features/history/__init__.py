"""What history adds to the engine."""

from tasks_app.feature import Feature


class History(Feature):
    """The counters by minute, and the pictures that the admin draws from them."""

    name = "tasks_app.features.history"
    side_jobs = "tasks_app.features.history.history.MinuteRows"
    pages = "tasks_app.features.history.admin.urlpatterns"
    sections = "tasks_app.features.history.admin.sections"
    panels = "tasks_app.features.history.admin.panels"
