"""What pauses add to the engine."""

from tasks_app.feature import Feature


class Pauses(Feature):
    """No task of a paused type starts, until an operator or a time ends the pause.

    It writes the engine's table of types on hold, `HandlerPause`, and knows nothing of claims.
    """

    name = "tasks_app.features.pauses"
    calls = "tasks_app.features.pauses.api.urlpatterns"
    handler_links = "tasks_app.features.pauses.admin.handler_links"
