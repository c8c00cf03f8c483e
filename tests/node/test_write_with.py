"""On SQLite the clerk writes outcomes and claims in one commit: both or neither."""

from __future__ import annotations

import pytest
from django.db import DatabaseError, OperationalError

from tasks_app.lifecycle import submit
from tasks_app.node.ledger import Ledger
from tasks_app.node.settler import Settler
from tests.lifecycle.kit import row, running, success, take, total

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.database]


def test_outcomes_and_claims_are_one_commit() -> None:
    settler, ended = Settler("node", Ledger()), running()
    submit("echo")
    settler.put(success(ended, "7"))
    (task,) = settler.write_with(take)
    assert (row(ended).result, row(task).status) == (7, "processing")
    assert settler.idle()


def test_a_claim_that_fails_undoes_the_outcomes_which_are_written_the_next_time() -> None:
    settler, ended = Settler("node", Ledger()), running()
    other = submit("echo")
    settler.put(success(ended, "7"))

    def claim_and_fail() -> None:
        take()
        raise OperationalError("the database went away")

    with pytest.raises(OperationalError):
        settler.write_with(claim_and_fail)
    assert (row(ended).status, row(other).status, row(other).attempts) == ("processing", "pending", 0)
    assert (total("completed", "echo"), settler.idle()) == (0, False)
    (task,) = settler.write_with(take)
    assert (row(ended).result, task.id, task.attempt) == (7, str(other), 1)
    assert (total("completed", "echo"), settler.idle()) == (1, True)


def test_what_waits_outlasts_a_lock_or_a_connection_that_cannot_be_had(monkeypatch: pytest.MonkeyPatch) -> None:
    settler, ended = Settler("node", Ledger()), running()
    settler.put(success(ended, "7"))
    with pytest.raises(OperationalError):
        settler.write_with(_away)
    with monkeypatch.context() as broken:
        broken.setattr("tasks_app.node.settler.bare_writing", _malformed)
        for _ in range(2):
            with pytest.raises(DatabaseError):
                settler.write_with(take)
            assert not settler.idle()
    settler.write_with(list)
    assert (row(ended).result, settler.idle()) == (7, True)


def _away() -> None:
    raise OperationalError("the database went away")


def _malformed() -> None:
    raise DatabaseError("database disk image is malformed")
