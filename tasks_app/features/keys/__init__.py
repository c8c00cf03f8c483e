"""What keys add to the engine."""

from tasks_app.feature import Feature


class Keys(Feature):
    """The pages and the command by which API keys are made and revoked."""

    name = "tasks_app.features.keys"
