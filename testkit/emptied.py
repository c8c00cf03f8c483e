"""The tests' database after a test that commits: empty, but for what migrations leave there."""

from __future__ import annotations

from functools import cache
from typing import Any
from uuid import uuid4

from django.db import connections, transaction
from django.test import TransactionTestCase

#: Filled after each migration, from the models; no test changes them.
KEPT = {"auth_permission", "django_content_type"}
#: Bytes. What has grown further is made anew: dead rows would be read by the tests that follow.
SMALL = 128 << 10


def without_flush() -> None:
    """From now on delete rows. Django's flush makes new files for every table, and its permissions anew.

    On PostgreSQL that is 50 ms of processor time and half a second of waiting for a disk; this is 3 ms.
    """

    def teardown(case: TransactionTestCase) -> None:
        for alias in case._databases_names(include_mirrors=False):  # type: ignore[attr-defined]
            empty(alias)

    TransactionTestCase._fixture_teardown = teardown  # type: ignore[attr-defined]


def empty(alias: str = "default") -> None:
    """Delete all rows of all tables in one transaction, at whose end foreign keys are checked. The deployment is a new
    one."""
    with transaction.atomic(using=alias), connections[alias].cursor() as cursor:
        large = _large(connections[alias].vendor, cursor)
        if large:
            cursor.execute(f"TRUNCATE {', '.join(large)} CASCADE")
        for table in _tables(alias):
            cursor.execute(f"DELETE FROM {table}")
        _deployment(alias)


def _deployment(alias: str) -> None:
    from tasks_app.queue.node_models import Deployment  # the models are loaded after this module

    Deployment.objects.using(alias).create(id=uuid4())


@cache
def _tables(alias: str) -> list[str]:
    connection = connections[alias]
    names = connection.introspection.django_table_names(only_existing=True, include_views=False)
    return [connection.ops.quote_name(name) for name in names if name not in KEPT]


def _large(vendor: str, cursor: Any) -> list[str]:
    if vendor != "postgresql":
        return []
    cursor.execute(
        "SELECT quote_ident(relname) FROM pg_class WHERE relkind = 'r' AND relname LIKE 'taskdaemon%%'"
        " AND relnamespace = current_schema::regnamespace AND pg_table_size(oid) > %s",
        [SMALL],
    )
    return [name for (name,) in cursor.fetchall()]
