"""What schedules add to the engine."""

from types import MappingProxyType

from tasks_app.feature import Feature


class Schedules(Feature):
    """Tasks that are made at their times: cron lines and intervals.

    Each beat of a node says whether a tick is due. A tick moves its schedule's row on, makes the task and writes
    a line of the ledger in one transaction, guarded on the row: no node leads, and no tick fires twice.
    """

    name = "tasks_app.features.schedules"
    options = "tasks_app.features.schedules.options.OPTIONS"
    calls = "tasks_app.features.schedules.api.urlpatterns"
    sections = "tasks_app.features.schedules.admin.sections"
    panels = "tasks_app.features.schedules.admin.panels"
    tables = MappingProxyType({"schedules": "tasks_app.features.schedules.fields.read_table"})
    due_work = MappingProxyType(
        {
            "ticks": "(SELECT next_at FROM taskdaemon_schedule WHERE next_at IS NOT NULL ORDER BY next_at LIMIT 1)"
            " <= {wall}"
        }
    )
    side_jobs = "tasks_app.features.schedules.jobs.Schedules"
    web_jobs = "tasks_app.features.schedules.jobs.web_job"
    problems = "tasks_app.features.schedules.jobs.problems"
    families = "tasks_app.features.schedules.api.families"
