"""What retention adds to the engine."""

from tasks_app.feature import Feature


class Retention(Feature):
    """Old tasks are removed, by the rules of their handlers."""

    name = "tasks_app.features.retention"
    node_threads = "tasks_app.features.retention.retention.retention_of"
