"""Waits for signals of which none may be lost."""

from __future__ import annotations

import signal
from collections.abc import Collection


def block(signals: Collection[signal.Signals]) -> None:
    """From here on these signals wait for `wait_for_signal`: none is lost between a check and a sleep.

    Call it in the main thread of a process without other threads. SIGALRM is blocked too.
    """
    signal.pthread_sigmask(signal.SIG_BLOCK, {*signals, signal.SIGALRM})


def wait_for_signal(signals: Collection[signal.Signals], seconds: float) -> signal.Signals | None:
    """Wait for one of the blocked signals; None after `seconds`, which must be more than 0, at the latest.

    What arrives just then is the answer of the next call. Uses the process's real-time timer.
    """
    # Not sigtimedwait: if the process is stopped and goes on after the deadline, Python answers uninitialised memory.
    # To ignore every answer after the deadline would lose a SIGTERM that arrived while the process was stopped.
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        got = signal.Signals(signal.sigwaitinfo({*signals, signal.SIGALRM}).si_signo)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
    return None if got == signal.SIGALRM else got
