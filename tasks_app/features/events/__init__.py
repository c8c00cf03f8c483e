"""What events add to the engine."""

from tasks_app.feature import Feature


class Events(Feature):
    """What a task does and writes, while it runs: event streams and live pages."""

    name = "tasks_app.features.events"
    pages = "tasks_app.features.events.admin.urlpatterns"
    panels = "tasks_app.features.events.admin.panels"
    streams = "tasks_app.features.events.streams.Streams"
    calls = "tasks_app.features.events.api.urlpatterns"
