"""A toy that holds tasks: a row of its table says which, and why."""

from __future__ import annotations

from tasks_app.feature import Feature


class Holds(Feature):
    """It holds what a test asks it to hold."""

    name = "tests.features.toy.holds"
    holds = "tests.features.toy.holds.verbs.why"


TABLE = "CREATE TABLE toy_hold (task char(36) NOT NULL, reason varchar(100) NOT NULL)"
