"""A toy that follows tasks: a row of its table for each move, and for each that leaves its end."""

from __future__ import annotations

from tasks_app.feature import Feature


class Follows(Feature):
    """It writes down what it is told."""

    name = "tests.features.toy.follows"
    follower = "tests.features.toy.follows.verbs.follower"
    leaves = "tests.features.toy.follows.verbs.leaves"


TABLE = "CREATE TABLE toy_follow (task char(36) NOT NULL, told varchar(20) NOT NULL, at bigint NOT NULL)"
