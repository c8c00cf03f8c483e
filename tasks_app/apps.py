"""The Django application."""

import gc
from collections.abc import Iterator
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from pkgutil import iter_modules
from typing import Any

from django.apps import AppConfig
from django.conf import settings
from django.contrib.admin import autodiscover
from django.contrib.admin.apps import SimpleAdminConfig
from django.contrib.admin.checks import check_admin_app, check_dependencies
from django.core.checks import CheckMessage, Tags, register
from django.db import connection
from django.utils.module_loading import import_string

#: Where the engine's tables are.
ENGINE_MODELS = ("queue.models", "queue.node_models", "queue.permit_models", "keys.api_keys", "audit")


class AdminConfig(SimpleAdminConfig):
    """Django's admin. Its pages are imported with the addresses (tasks_app/urls.py): only a web server has them."""

    def ready(self) -> None:
        """Register Django's checks of the admin, which read the pages."""
        register(check_dependencies, Tags.admin)
        register(_check_pages, Tags.admin)


def _check_pages(app_configs: Any, **options: Any) -> list[CheckMessage]:
    autodiscover()
    return check_admin_app(app_configs, **options)


class TasksConfig(AppConfig):
    """Tasks, their attempts, and the nodes that run them."""

    name = "tasks_app"
    verbose_name = "Tasks"

    def import_models(self) -> None:
        """Import the engine's tables, and those of each folder of `features/`.

        A table, or a column of an option, belongs to its folder, not to the feature's line in INSTALLED_APPS. So a
        deployment without the line has the same migrations, and keeps the rows.
        """
        super().import_models()
        _add_columns(import_module("tasks_app.queue.models").Task, self.path)
        # An application without such a module has no permissions, and `flush` passes it over.
        self.models_module = import_module("tasks_app.queue.models")
        for name in ENGINE_MODELS:
            import_module(f"tasks_app.{name}")
        for name in _folders(self.path, "models"):
            import_module(name)

    def ready(self) -> None:
        """Register the system checks, and configure notifications with the deployment's id.

        Modules, classes and functions stay until the process ends. The garbage collector passes over those that are
        imported by now; `manage.py` switches it off until then. With both, a process starts in two thirds of the time.
        """
        from tasks_app.broker import notification
        from tasks_app.conf import checks
        from tasks_app.node.record import deployment_id
        from tasks_app.queue import current

        def deployment_for_notifications() -> str:
            # In the notifier's thread: its connection would stay open and idle until the process ends.
            try:
                return deployment_id()
            finally:
                connection.close()

        checks.register()
        current.register_checks()
        notification.configure(deployment_for_notifications, app=lambda: import_string(settings.CELERY_APP))
        gc.freeze()
        gc.enable()


def _folders(top: str, module: str) -> Iterator[str]:
    """The modules of this name in the folders of `features/`."""
    for folder in iter_modules([str(Path(top, "features"))], "tasks_app.features."):
        if find_spec(name := f"{folder.name}.{module}"):
            yield name


def _add_columns(task: Any, top: str) -> None:
    """Give the table of tasks the columns that options add."""
    for name in _folders(top, "options"):
        for option in import_module(name).OPTIONS:
            if option.adds is not None:
                task.add_to_class(option.column, option.adds.clone())  # a clone comes after the columns of the class
