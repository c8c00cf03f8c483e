"""Signals as a process in the foreground of a terminal has them."""

from __future__ import annotations

import signal


def as_in_the_foreground() -> None:
    """Ignore neither SIGINT nor SIGQUIT. A shell makes its background jobs ignore both, and their children inherit it:
    a daemon that a test tells to end while it starts would go on."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGQUIT, signal.SIG_DFL)
