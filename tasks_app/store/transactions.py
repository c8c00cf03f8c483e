"""Write transactions of this process's store."""

from __future__ import annotations

from contextlib import AbstractContextManager

from tasks_app.store.current import store


def writing() -> AbstractContextManager[object]:
    """A write transaction: see Store."""
    return store().writing()


def bare_writing(one_statement: bool = False, durable: bool = True) -> AbstractContextManager[object]:
    """A write transaction for statements of the store only: see Store."""
    return store().bare_writing(one_statement, durable)
