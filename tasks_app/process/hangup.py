"""SIGHUP, on which other servers reload, is ignored: this platform has no reload."""

from __future__ import annotations

import signal
import threading
from typing import Any

import structlog

log = structlog.get_logger(__name__)


def ignore_hangup(*_: Any) -> None:
    """From now on SIGHUP only writes a log line. Call it in the main thread."""
    signal.signal(signal.SIGHUP, _on_hangup)


def _on_hangup(*_: Any) -> None:
    # In a thread: the signal may interrupt a log line of the main thread, whose stream is not reentrant.
    threading.Thread(target=_log_ignored, name="hangup", daemon=True).start()


def _log_ignored() -> None:
    log.warning("SIGHUP is ignored: there is no reload; stop this process with SIGTERM and start a new one")
