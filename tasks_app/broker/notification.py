"""Notifications from this process: tells the nodes that a handler has work, in a thread of its own, with best effort.

    notification.configure(deployment=read_deployment_id)       # once per process
    transaction.on_commit(lambda: notification.notify("resize", 80))

A lost, late or duplicate notification costs only time, because nodes also poll. Only the notifier's thread waits for
the broker; `notify` neither blocks nor raises.
"""

from __future__ import annotations

import atexit

from tasks_app.broker.notifier import Notifier

__all__ = ["close", "configure", "flush", "notify", "open", "stats"]

#: The import of Celery is part of it.
FLUSH_AT_EXIT_SECONDS = 1.0

_notifier = Notifier()

configure = _notifier.configure
notify = _notifier.notify
flush = _notifier.flush
open = _notifier.open
close = _notifier.close
stats = _notifier.stats


@atexit.register
def _flush_at_exit() -> None:
    # A command that submits one task and exits would otherwise lose its notification.
    flush(FLUSH_AT_EXIT_SECONDS)
