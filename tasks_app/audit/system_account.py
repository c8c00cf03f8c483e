"""Who runs a command."""

from __future__ import annotations

import getpass
import os

from tasks_app.audit.actor import Actor


def system_account() -> Actor:
    """The account that this process runs as; its number if it has no name, as in many containers."""
    try:
        name = getpass.getuser()
    except (OSError, KeyError):
        name = f"uid {os.getuid()}"
    return Actor("command", name)
