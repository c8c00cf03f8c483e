"""What notes add to the engine."""

from tasks_app.feature import Feature


class Notes(Feature):
    """Operators' notes on tasks."""

    name = "tasks_app.features.notes"
    calls = "tasks_app.features.notes.api.urlpatterns"
    side_jobs = "tasks_app.features.notes.verbs.ForgetNotes"
