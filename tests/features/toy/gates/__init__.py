"""A toy that limits types: a row of its table says how many more tasks of a type may run, and from when on."""

from __future__ import annotations

from tasks_app.feature import Feature


class Gates(Feature):
    """It limits, and nothing sees to it."""

    name = "tests.features.toy.gates"
    start_limits = "SELECT type, places, opens - {now} AS seconds FROM toy_gate"


TABLE = "CREATE TABLE toy_gate (type varchar(100) NOT NULL, places int, opens double precision)"
