"""Django admin for the operators: it shows, and changes a task only through `lifecycle`."""

from tasks_app.admin.nodes import NodeAdmin
from tasks_app.admin.tasks import TaskAdmin

__all__ = ["NodeAdmin", "TaskAdmin"]
