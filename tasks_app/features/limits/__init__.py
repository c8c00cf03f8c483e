"""What limits add to the engine."""

from types import MappingProxyType

from tasks_app.feature import Feature
from tasks_app.features.limits.statements import START_LIMITS


class Limits(Feature):
    """How many tasks of a handler run at once over all nodes, how often they start, and how many may be open."""

    name = "tasks_app.features.limits"
    start_limits = START_LIMITS
    gate = "tasks_app.features.limits.gate.gate"
    quota = "tasks_app.features.limits.queue_limit.open_tasks"
    handler_keys = "tasks_app.features.limits.settings.KEYS"
    side_jobs = "tasks_app.features.limits.jobs.Limits"
    web_jobs = "tasks_app.features.limits.jobs.web_job"
    options = "tasks_app.features.limits.options.OPTIONS"
    follower = "tasks_app.features.limits.permits.follower"
    holds = "tasks_app.features.limits.why.why"
    calls = "tasks_app.features.limits.api.urlpatterns"
    panels = "tasks_app.features.limits.admin.panels"
    reads = "tasks_app.features.limits.metrics.limited"
    families = "tasks_app.features.limits.families.families"
    problems = "tasks_app.features.limits.metrics.problems"
    process_starts = "tasks_app.features.limits.filler.allow"
    due_work = MappingProxyType({"keys_due": "EXISTS (SELECT 1 FROM taskdaemon_fill_due)"})
