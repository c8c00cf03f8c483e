"""What costs add to the engine."""

from tasks_app.feature import Feature


class Costs(Feature):
    """Each task may name who pays for it."""

    name = "tasks_app.features.costs"
    options = "tasks_app.features.costs.options.OPTIONS"
