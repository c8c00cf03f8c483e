"""An upgrade of a deployment with millions of tasks takes its time, and nothing cancels it. A database from before
0.1.0 goes on if it has all migrations."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from importlib import import_module
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.core.management.commands import migrate
from django.db import connection
from django.db.migrations.executor import MigrationExecutor
from django.db.migrations.recorder import MigrationRecorder

from tasks_app.queue.current import FIRST_MIGRATION, check_migrations, partly_migrated, store
from tasks_app.queue.models import Task
from tasks_app.queue.submit import submit
from tests.queue.store.kit import limits

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.database]


@pytest.mark.parametrize("fails", [False, True])
def test_a_migration_is_not_held_to_the_limits_of_a_request(monkeypatch: pytest.MonkeyPatch, fails: bool) -> None:
    before, within = limits(), []

    def handle(*_: Any, **__: Any) -> None:
        within.append(limits())
        if fails:
            raise RuntimeError("it broke")

    monkeypatch.setattr(migrate.Command, "handle", handle)
    try:
        call_command("migrate", verbosity=0)
    except RuntimeError:
        assert fails
    if store().is_server:
        assert within == [(["0", "0", "10s"], None)]
    assert limits() == before


#: In their order.
BEFORE = [name for _, name in import_module(f"tasks_app.migrations.{FIRST_MIGRATION}").Migration.replaces]


def recorded() -> set[str]:
    """The migrations of the platform that the database has."""
    return {name for app, name in MigrationRecorder(connection).applied_migrations() if app == "tasks_app"}


@pytest.fixture
def only_first() -> Iterator[Callable[[int], None]]:
    """Lets the database record no more than so many of the migrations from before 0.1.0, until the test ends."""
    recorder, all_ = MigrationRecorder(connection), recorded()

    def keep(count: int) -> None:
        for name in ({*BEFORE, FIRST_MIGRATION} & all_) - set(BEFORE[:count]):
            recorder.record_unapplied("tasks_app", name)

    yield keep
    for name in all_ - recorded():
        recorder.record_applied("tasks_app", name)


def test_a_database_with_all_migrations_from_before_0_1_0_goes_on_with_its_tasks(
    only_first: Callable[[int], None],
) -> None:
    assert {*BEFORE, FIRST_MIGRATION} <= recorded(), "a new database records both"
    task = submit("echo")
    only_first(len(BEFORE))
    assert partly_migrated() is None and check_migrations() == []
    call_command("migrate", verbosity=0)
    assert FIRST_MIGRATION in recorded()
    assert list(Task.objects.values_list("pk", "status")) == [(task, "pending")]


@pytest.mark.parametrize("count", [1, 19, len(BEFORE) - 1])
def test_a_database_with_some_of_them_is_refused_by_name_and_stays_as_it_is(
    only_first: Callable[[int], None], count: int
) -> None:
    task = submit("echo")
    only_first(count)
    before = recorded()
    with pytest.raises(CommandError) as refused:
        call_command("migrate", verbosity=0)
    said = str(refused.value)
    assert f"{store().where()} has {count} of the {len(BEFORE)} migrations from before 0.1.0" in said
    assert BEFORE[count - 1] in said and "run its manage.py migrate on this database" in said
    assert refused.value.returncode == 2
    assert (recorded(), Task.objects.get().pk) == (before, task)
    assert [(check.id, check.msg) for check in check_migrations()] == [("tasks_app.E008", said)]


def test_the_column_of_followed_tasks_is_added_without_a_copy_of_the_table() -> None:
    def file() -> object:
        with connection.cursor() as cursor:
            if store().is_server:
                cursor.execute("SELECT pg_relation_filenode('taskdaemon_task')")
            else:  # a copy would be another table of the same name
                cursor.execute("SELECT rootpage FROM sqlite_master WHERE name = 'taskdaemon_task'")
            return cursor.fetchone()

    task = submit("echo")
    with connection.cursor() as cursor:
        cursor.execute("ALTER TABLE taskdaemon_task DROP COLUMN followed")
    MigrationRecorder(connection).record_unapplied("tasks_app", "0003_followed")
    before = file()
    # Alone: later files of the tests' database are applied already.
    executor = MigrationExecutor(connection)
    state = executor.loader.project_state([("tasks_app", "0002_ended_tasks")])
    executor.apply_migration(state, executor.loader.get_migration("tasks_app", "0003_followed"))
    assert file() == before
    assert list(Task.objects.values_list("pk", "followed")) == [(task, None)]
