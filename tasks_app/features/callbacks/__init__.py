"""What callbacks add to the engine."""

from types import MappingProxyType

from tasks_app.feature import Feature

#: Ended tasks with a `callback_url` whose end was not told yet, as their index spells it.
UNTOLD = (
    "callback_url IS NOT NULL AND completed_at IS NOT NULL"
    " AND (callback_told IS NULL OR callback_told < completed_at OR callback_told > completed_at)"
)


class Callbacks(Feature):
    """Once a task with a `callback_url` has ended, its row is sent to this URL as Standard Webhooks say.

    A final move writes nothing for it. Each beat of a node says whether an ended task was not told of yet; one
    transaction writes what will be sent, a delivery, and marks the task.
    """

    name = "tasks_app.features.callbacks"
    options = "tasks_app.features.callbacks.options.OPTIONS"
    due_work = MappingProxyType(
        {
            "callbacks": "(SELECT next_at FROM taskdaemon_callback WHERE status = 'pending' ORDER BY next_at LIMIT 1)"
            " <= {wall}"
        }
    )
    ended_tasks = MappingProxyType({"untold": UNTOLD})
    side_jobs = "tasks_app.features.callbacks.jobs.Telling"
    calls = "tasks_app.features.callbacks.api.urlpatterns"
    bulk_acts = "tasks_app.features.callbacks.verbs.bulk_acts"
    forgets = "tasks_app.features.callbacks.verbs.forget"
    forgets_ended = "tasks_app.features.callbacks.verbs.forget_ended"
    leaves = "tasks_app.features.callbacks.telling.leaves"
    panels = "tasks_app.features.callbacks.admin.panels"
    sections = "tasks_app.features.callbacks.admin.sections"
    reads = "tasks_app.features.callbacks.metrics.waiting"
    families = "tasks_app.features.callbacks.families.families"
    problems = "tasks_app.features.callbacks.metrics.problems"
    node_threads = "tasks_app.features.callbacks.jobs.Sending"
