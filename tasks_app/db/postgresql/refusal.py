"""The server's errors for writes that it refuses.

psycopg raises an InternalError for one of them, which would look like a bug of this project.
"""

from __future__ import annotations

#: SQLSTATE of a write in a read-only transaction: on a standby, on a demoted primary, or on a server that its provider
#: made read-only because its disk is full.
READ_ONLY = "25006"
#: SQLSTATE of a full disk.
DISK_FULL = "53100"


def is_refused_write(error: object) -> bool:
    """Whether this is psycopg's error for a refused write.

    Not if the error ends the session: without room for its log the server stops within a commit, which may be stored.
    """
    return getattr(error, "sqlstate", None) in (READ_ONLY, DISK_FULL) and not ends_session(error)


def is_read_only(error: object) -> bool:
    """Whether the error says that the session is read-only."""
    return getattr(error, "sqlstate", None) == READ_ONLY


def ends_session(error: object) -> bool:
    """Whether the server ends the session with this error."""
    return getattr(getattr(error, "diag", None), "severity_nonlocalized", None) in ("FATAL", "PANIC")
