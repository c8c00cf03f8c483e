"""The order is read from the platform's own rows and sessions."""

from __future__ import annotations

from contextlib import closing
from typing import Any

import pytest
from django.db import connection

from tasks_app.queue.settle import settle
from testkit.process import until
from tests.chaos import rows
from tests.chaos.evidence import Evidence, by_task
from tests.chaos.horizon import Horizon
from tests.chaos.order import compared
from tests.chaos.transaction_watch import TransactionWatch
from tests.queue.moves.kit import submitted, success, take

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.database]


class Rows:
    """The tests' database."""

    def rows(self, query: str) -> list[dict[str, Any]]:
        with connection.cursor() as cursor:
            cursor.execute(query)
            names = [column.name for column in cursor.description]
            return [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]


@pytest.mark.parametrize(("selection", "missed"), [("fifo", 0), ("lifo", 1)])
def test_two_claims_are_compared(selection: str, missed: int, dsn: str) -> None:
    database = Rows()
    with closing(TransactionWatch(dsn)) as watch:

        def sampled() -> None:
            # The first may have begun before what was done last; the second shows its end, the third begins later.
            known = len(watch.samples)
            until(lambda: len(watch.samples) > known + 2, 10, "three samples")

        sampled()
        first, second = submitted(50, 50)
        for _ in range(2):
            sampled()
            settle("node", [success(task) for task in take()])
        sampled()
    evidence = Evidence(
        journal=[], events=[], tasks=rows.tasks(database), attempts=by_task(rows.attempts(database)), budget={},
        selection=selection, horizon=Horizon(watch.samples),
    )  # fmt: skip
    [one] = compared(evidence)
    assert (one.claim.task, [each.task for each in one.waiting]) == (str(first), [str(second)])
    assert len(one.missed) == missed
