"""What PostgreSQL refuses, by its SQLSTATE."""

from __future__ import annotations

from tasks_app.db.postgresql.refusal import ends_session
from tasks_app.store.refusal import Refusal, value_refusal

#: The statement was cancelled, by `statement_timeout` or by a person; no memory for it.
COST_STATES = ("57014", "53200")
#: Program limits: a jsonb value with too many bytes, a text that is nested too deeply.
LIMITS_CLASS = "54"
#: How a settle says that a result is to be dropped.
DIVISION_BY_ZERO = "22012"


def refusal(error: Exception) -> Refusal | None:
    """See Store."""
    state = getattr(error.__cause__, "sqlstate", None) or ""
    if ends_session(error.__cause__) or state == DIVISION_BY_ZERO:
        return None
    if state in COST_STATES:
        return Refusal.COST
    return Refusal.VALUE if state.startswith(LIMITS_CLASS) else value_refusal(error)
