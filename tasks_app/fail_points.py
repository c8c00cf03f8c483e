"""Places at which a process can be told to die, for the tests of what happens then. In production nothing sets them.

`DAEMON_FAIL_POINT=before_settle` kills the process there as `kill -9` would; `before_settle:raise` lets the database
fail there instead; `before_settle:kill:/some/file` does it once, over all processes: whoever makes the file.
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

if _armed:
    log.warning("DAEMON_FAIL_POINT is set: this process will fail on purpose", fail_point=_armed, action=_action)


def fail_point(name: str) -> None:
    """Fail here, if this is where. Costs one comparison if not."""
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
    signal.pause()  # not one instruction more of what follows
