"""What failures add to the engine."""

from types import MappingProxyType

from tasks_app.feature import Feature

#: Failed tasks that `group_failures` has not counted yet, as their index spells it.
UNGROUPED = "status = 'failed' AND failure_group IS NULL"


class Failures(Feature):
    """Failures with the same handler, reason and normalised error are one group."""

    name = "tasks_app.features.failures"
    due_work = MappingProxyType({"kept_failures": "EXISTS (SELECT 1 FROM taskdaemon_ungrouped_failure)"})
    ended_tasks = MappingProxyType({"ungrouped": UNGROUPED})
    side_jobs = "tasks_app.features.failures.grouping.FailureGroups"
    leaves = "tasks_app.features.failures.grouping.leaves"
    task_filters = "tasks_app.features.failures.admin.task_filters"
    failure_links = "tasks_app.features.failures.admin.failure_links"
    group_links = "tasks_app.features.failures.admin.group_link"
    sections = "tasks_app.features.failures.admin.sections"
    panels = "tasks_app.features.failures.admin.panels"
