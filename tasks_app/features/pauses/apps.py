"""The feature's application."""

from django.apps import AppConfig


class Pauses(AppConfig):
    """Pauses of task types."""

    name = "tasks_app.features.pauses"
