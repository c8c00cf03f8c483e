"""Signals to a process that was forked a moment ago."""

from __future__ import annotations

import os
import signal
from functools import partial

ENDS = (signal.SIGTERM, signal.SIGINT)


def end_forked_at_signals() -> None:
    """From now on SIGTERM and SIGINT end each process that the main thread forks, from its first moment on."""
    # Blocked until the forked process has set them: Python drops a signal that comes before.
    os.register_at_fork(
        before=partial(signal.pthread_sigmask, signal.SIG_BLOCK, ENDS),
        after_in_parent=partial(signal.pthread_sigmask, signal.SIG_UNBLOCK, ENDS),
        after_in_child=_in_child,
    )


def _in_child() -> None:
    for signum in ENDS:
        signal.signal(signum, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, ENDS)
