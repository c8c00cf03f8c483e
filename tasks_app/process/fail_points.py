"""Named points at which a test can make a process fail. Never set in production.

`DAEMON_FAIL_POINT=before_settle` kills the process at that point, as `kill -9` would; `before_settle:raise` raises a
database error instead; `before_settle:kill:/some/file` fails only in the first process that creates the file.
"""

from __future__ import annotations

import os
import signal

import structlog
from django.db import OperationalError

from tasks_app import conf

log = structlog.get_logger(__name__)


def _spec() -> tuple[str | None, str, str]:
    name, _, rest = (conf.environment().fail_point or "").partition(":")
    action, _, once = rest.partition(":")
    return name or None, action or "kill", once


_armed, _action, _once = _spec()
#: Whether one is set. What every task passes asks this first, and calls nothing in production.
ARMED = _armed is not None

if ARMED:
    log.warning("DAEMON_FAIL_POINT is set: this process will fail on purpose", fail_point=_armed, action=_action)


def fail_point(name: str) -> None:
    """Fail here if this point is set."""
    if name == _armed:
        _fail(name)


def _fail(name: str) -> None:
    if _once:
        try:
            os.close(os.open(_once, os.O_CREAT | os.O_EXCL))
        except FileExistsError:
            return
    log.warning("failing on purpose", fail_point=name, action=_action)
    if _action == "raise":
        raise OperationalError(f"DAEMON_FAIL_POINT={name}")
    os.kill(os.getpid(), signal.SIGKILL)
    signal.pause()  # no further instruction runs before the kill
