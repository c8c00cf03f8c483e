"""What a test that commits leaves to the next one: nothing (testkit/emptied.py)."""

from __future__ import annotations

import pytest
from django.contrib.auth.models import Permission, User
from django.contrib.contenttypes.models import ContentType
from django.db import connection
from django.db.models.functions import Now

from tasks_app.queue.models import Attempt, Task
from tasks_app.queue.submission import NewTask
from tasks_app.queue.submit import submit_many
from testkit.emptied import SMALL, empty

pytestmark = pytest.mark.django_db(transaction=True)


def size() -> int:
    """Bytes of the table of tasks."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_table_size('taskdaemon_task')")
        return int(cursor.fetchone()[0])


def test_rows_are_gone_whatever_refers_to_them_and_what_migrations_made_is_there() -> None:
    (task,) = submit_many([NewTask("echo")])
    Attempt.objects.create(task_id=task, number=1, node="n", started_at=Now(), ended_at=Now(), outcome="success")
    User.objects.create(username="ada").user_permissions.add(Permission.objects.all()[0])
    before = ContentType.objects.count(), Permission.objects.count()
    empty()
    assert not Task.objects.exists() and not Attempt.objects.exists() and not User.objects.exists()
    assert (ContentType.objects.count(), Permission.objects.count()) == before
    assert all(before)


def test_a_table_that_has_grown_is_small_again() -> None:
    if connection.vendor != "postgresql":
        pytest.skip("only PostgreSQL keeps dead rows")
    submit_many([NewTask("echo", {"n": n}) for n in range(2_000)])
    assert size() > SMALL
    empty()
    assert size() < SMALL
