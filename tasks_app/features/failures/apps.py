"""What failures add to the engine."""

from tasks_app.feature import Feature


class Failures(Feature):
    """Failures with the same handler, reason and normalised error are one group."""

    name = "tasks_app.features.failures"
    panels = "tasks_app.features.failures.admin.panels"
