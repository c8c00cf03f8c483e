"""Variables that look like ours and do nothing."""

from __future__ import annotations

import difflib
import os

from tasks_app.conf import variables

#: Variables of the earlier daemon that mean nothing here: accepted, with one warning.
MEANINGLESS = ("DAEMON_QUEUE_TYPE", "DAEMON_BATCH_SIZE", "DAEMON_GRPC_PORT", "DAEMON_DB_MAX_CONNECTIONS")


def odd_variables() -> list[str]:
    """What is odd in the environment but stops nothing, a sentence each."""
    found = []
    if old := [name for name in MEANINGLESS if name in os.environ]:
        found.append(f"{', '.join(old)}: meant something to the earlier daemon, means nothing here; ignored")
    known = [name for name, _ in variables()]
    for name in sorted(os.environ):
        if name.startswith("DAEMON_") and name not in known and name not in MEANINGLESS:
            near = difflib.get_close_matches(name, known, 1)
            found.append(f"{name}: no such variable; ignored" + (f" (did you mean {near[0]}?)" if near else ""))
    return found
