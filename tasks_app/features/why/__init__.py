"""What *why* adds to the engine."""

from tasks_app.feature import Feature


class Why(Feature):
    """Why a task does not run, or how it ended: facts are read, and `decide` turns them into reasons."""

    name = "tasks_app.features.why"
    panels = "tasks_app.features.why.admin.panels"
    calls = "tasks_app.features.why.api.urlpatterns"
