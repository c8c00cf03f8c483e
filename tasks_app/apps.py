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
        bell.configure(deployment=deployment.deployment_id)
