"""The Django application."""

from django.apps import AppConfig
from django.db import connection


class TasksConfig(AppConfig):
    """Tasks, their attempts, and the nodes that run them."""

    name = "tasks_app"
    verbose_name = "Tasks"

    def ready(self) -> None:
        """Registers the system checks, and tells the ringer which deployment its queues belong to."""
        from tasks_app import checks, deployment
        from tasks_app.broker import bell

        def deployment_for_bells() -> str:
            # On the ringer's thread, whose connection would stay open, idle, for as long as the process lives.
            try:
                return deployment.deployment_id()
            finally:
                connection.close()

        checks.register()
        bell.configure(deployment=deployment_for_bells)
