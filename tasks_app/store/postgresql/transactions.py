"""Write transactions on PostgreSQL."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager

from django.db import DEFAULT_DB_ALIAS, InternalError, OperationalError, connections, transaction

from tasks_app.db.write_health import write_health


def writing() -> AbstractContextManager[None]:
    """See Store."""
    return _write(in_transaction=True)


def bare_writing(one_statement: bool = False, durable: bool = True) -> AbstractContextManager[None]:
    """See Store. One statement needs no transaction, which saves two round trips."""
    return _write(in_transaction=not one_statement or connections[DEFAULT_DB_ALIAS].in_atomic_block)


@contextmanager
def _write(in_transaction: bool) -> Iterator[None]:
    here = connections[DEFAULT_DB_ALIAS]
    try:
        with here.wrap_database_errors:
            if in_transaction:
                with transaction.atomic():
                    yield
            else:
                here.close_if_health_check_failed()
                yield
    except (OperationalError, InternalError) as error:
        write_health.failed(error)
        raise
    write_health.succeeded()
