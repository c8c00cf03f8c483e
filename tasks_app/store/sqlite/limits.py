"""Statements on SQLite have no time limit; only a wait for the write lock has one."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext


def limited(seconds: float) -> AbstractContextManager[None]:
    """See Store."""
    return nullcontext()


def extended(seconds: float) -> AbstractContextManager[None]:
    """See Store."""
    return nullcontext()


def unlimited() -> AbstractContextManager[None]:
    """See Store."""
    return nullcontext()
