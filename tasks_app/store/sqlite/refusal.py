"""What SQLite refuses: it has no limit of time."""

from __future__ import annotations

from tasks_app.store.refusal import Refusal, value_refusal


def refusal(error: Exception) -> Refusal | None:
    """See Store."""
    return value_refusal(error)
