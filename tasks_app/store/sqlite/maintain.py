"""Maintenance of the store on SQLite."""

from __future__ import annotations


def maintain(ending: bool = False) -> set[str]:
    """See Store. There is none: a reader's snapshot keeps no dead rows in the tables."""
    return set()


def problem() -> str | None:
    """See Store."""
    return None
