"""What operations add to the engine."""

from types import MappingProxyType

from tasks_app.feature import Feature


class Operations(Feature):
    """Acts on all tasks that match a filter. They are started here, and nodes work them off in batches.

    An operation's filter is frozen at its start: no task that comes later matches. Its tasks are walked by their ids.
    The moves of a batch, its counts and the id up to which the operation has come are one transaction, guarded on the
    operation's row.
    """

    name = "tasks_app.features.operations"
    due_work = MappingProxyType(
        {"operations": "(SELECT id FROM taskdaemon_operation WHERE state = 'running' ORDER BY id LIMIT 1) IS NOT NULL"}
    )
    node_threads = "tasks_app.features.operations.work.OperationWorker"
    forgets = "tasks_app.features.operations.acts.forget"
    task_actions = "tasks_app.features.operations.admin.task_actions"
    panels = "tasks_app.features.operations.admin.panels"
    sections = "tasks_app.features.operations.admin.sections"
    calls = "tasks_app.features.operations.api.urlpatterns"
