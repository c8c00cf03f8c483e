"""What drains add to the engine."""

from tasks_app.feature import Feature


class Drains(Feature):
    """A drained node starts no task; running ones go on. An attempt whose handler lacks a part of its line goes back.

    A node may be drained for a type, too. Drains write the node's row, and know nothing of claims.
    """

    name = "tasks_app.features.drains"
    calls = "tasks_app.features.drains.api.urlpatterns"
    pages = "tasks_app.features.drains.admin.urlpatterns"
    panels = "tasks_app.features.drains.admin.panels"
