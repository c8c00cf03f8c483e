"""DAEMON_ variables that have no effect."""

from __future__ import annotations

import os

from tasks_app.conf import variables
from tasks_app.handlers.spelling import nearest

#: Variables of the earlier daemon that have no effect here. They are accepted, with one warning.
IGNORED_VARIABLES = ("DAEMON_QUEUE_TYPE", "DAEMON_BATCH_SIZE", "DAEMON_GRPC_PORT", "DAEMON_DB_MAX_CONNECTIONS")


def unknown_variables() -> list[str]:
    """One warning for the earlier daemon's variables, and one for each unknown variable."""
    found = []
    if ignored := [name for name in IGNORED_VARIABLES if name in os.environ]:
        found.append(f"{', '.join(ignored)}: used by the earlier daemon; ignored")
    known = [name for name, _ in variables()]
    for name in sorted(os.environ):
        if name.startswith("DAEMON_") and name not in known and name not in IGNORED_VARIABLES:
            near = nearest(name, known)
            found.append(f"{name}: no such variable; ignored" + (f" (did you mean {near}?)" if near else ""))
    return found
