"""The Django application."""

from django.apps import AppConfig


class TasksConfig(AppConfig):
    """Tasks, their attempts, and the nodes that run them."""

    name = "tasks_app"
    verbose_name = "Tasks"

    def ready(self) -> None:
        """Registers the system checks, and tells the ringer which deployment its queues belong to."""
        from tasks_app import checks, deployment
        from tasks_app.broker import bell

        checks.register()
        bell.configure(deployment=_deployment_for_bells)


def _deployment_for_bells() -> str:
    # Called once, on the ringer's thread: its connection would stay open, idle, for as long as the process lives.
    try:
        return deployment.deployment_id()
    finally:
        connection.close()
