"""The Django application."""

import gc

from django.apps import AppConfig
from django.db import connection


class TasksConfig(AppConfig):
    """Tasks, their attempts, and the nodes that run them."""

    name = "tasks_app"
    verbose_name = "Tasks"

    def ready(self) -> None:
        """Register the system checks, and configure notifications with the deployment's id.

        Modules, classes and functions stay until the process ends. The garbage collector passes over those that are
        imported by now; `manage.py` switches it off until then. With both, a process starts in two thirds of the time.
        """
        from tasks_app.broker import notification
        from tasks_app.conf import checks, handler_checks
        from tasks_app.node import deployment
        from tasks_app.store import checks as database_checks

        def deployment_for_notifications() -> str:
            # In the notifier's thread: its connection would stay open and idle until the process ends.
            try:
                return deployment.deployment_id()
            finally:
                connection.close()

        checks.register()
        handler_checks.register()
        database_checks.register()
        notification.configure(deployment=deployment_for_notifications)
        gc.freeze()
        gc.enable()
