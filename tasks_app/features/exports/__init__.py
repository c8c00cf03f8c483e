"""What exports add to the engine."""

from tasks_app.feature import Feature


class Exports(Feature):
    """Lists of the admin as files."""

    name = "tasks_app.features.exports"
    pages = "tasks_app.features.exports.admin.urlpatterns"
    panels = "tasks_app.features.exports.admin.panels"
