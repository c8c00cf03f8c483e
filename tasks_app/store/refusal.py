"""Why a database that is available refuses a statement."""

from __future__ import annotations

from enum import Enum

from django.db import DatabaseError, InterfaceError, InternalError, OperationalError, ProgrammingError

#: Errors that do not depend on the values: no connection, a table that does not exist yet, a read-only server.
UNAVAILABLE_ERRORS = (OperationalError, InterfaceError, ProgrammingError, InternalError)
#: All that a statement with values raises. A text that is not valid Unicode is a ValueError.
STATEMENT_ERRORS = (DatabaseError, InterfaceError, ValueError)


class Refusal(Enum):
    """What the database refuses. `VALUE`: one of the values, each time. `COST`: the time or the memory that the
    statement takes, which may be the values' fault or the database's."""

    VALUE = "value"
    COST = "cost"


def value_refusal(error: Exception) -> Refusal | None:
    """VALUE for an error that no fault of a database causes."""
    if isinstance(error, STATEMENT_ERRORS) and not isinstance(error, UNAVAILABLE_ERRORS):
        return Refusal.VALUE
    return None
