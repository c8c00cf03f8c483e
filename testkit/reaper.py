"""A process above a run of the tests: when the run ends or is stopped, nothing that it has started goes on.

Deployments and servers of tests have sessions of their own, so neither Ctrl-C nor the end of pytest reaches them.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path

from tasks_app.db.node_lock import lock_domain
from testkit.images import docker
from testkit.process import children

_PR_SET_CHILD_SUBREAPER = 36
STOPS = {signal.SIGINT, signal.SIGTERM, signal.SIGHUP}
#: For pytest to close what its tests have opened.
TEARDOWN_SECONDS = 30


def under_reaper(run: Callable[[], int]) -> int:
    """Run it in a forked process. Returns its exit status, 128 and the signal if one ended it.

    At Ctrl-C or SIGTERM pytest closes what its tests have opened, as at Ctrl-C; a second one, or 30 s, end that. What
    is left then, or after a run to its end, is killed, and its containers on the shared engine are removed.
    """
    _adopt_orphans()
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, {*STOPS, signal.SIGCHLD, signal.SIGALRM})
    sys.stdout.flush()
    runner = os.fork()
    if not runner:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        sys.exit(run())
    try:
        return _until_ended(runner)
    finally:
        _end_all()


def _adopt_orphans() -> None:
    """From here on each process below this one becomes its child when its own parent ends."""
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def _until_ended(runner: int) -> int:
    """Wait for the run, reap orphans meanwhile, and pass signals to stop on to it."""
    stopped = False
    while True:
        while (ended := os.waitpid(-1, os.WNOHANG))[0]:
            if ended[0] == runner:
                code = os.waitstatus_to_exitcode(ended[1])
                return code if code >= 0 else 128 - code
        got = signal.sigwaitinfo({*STOPS, signal.SIGCHLD, signal.SIGALRM})
        if got.si_signo == signal.SIGCHLD:
            continue
        if stopped:
            return 128 + got.si_signo
        stopped = True
        signal.alarm(TEARDOWN_SECONDS)
        if got.si_pid:  # not a terminal's, which reaches the whole group
            _interrupt_group()


def _interrupt_group() -> None:
    """Ctrl-C for pytest and its processes: all below this one that have no group of their own."""
    for pid in descendants(os.getpid()):
        with contextlib.suppress(ProcessLookupError):
            if os.getpgid(pid) == os.getpgid(0):
                os.kill(pid, signal.SIGINT)


def _end_all() -> None:
    domains: set[str] = set()
    left: list[str] = []
    with contextlib.suppress(ChildProcessError):
        while True:
            for pid in descendants(os.getpid()):
                domains |= _domain(pid)
                left.append(_command(pid))
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            os.waitpid(-1, 0)
    if left:
        with contextlib.suppress(OSError):  # the terminal was closed
            print(f"killed what was left: {', '.join(dict.fromkeys(left))}", file=sys.stderr, flush=True)
    for domain in sorted(domains):
        with contextlib.suppress(docker.Trouble):
            filters = ("--filter", f"label=taskdaemon.lock_domain={domain}")
            if containers := docker.run("ps", "--all", "--quiet", *filters).split():
                docker.run("rm", "--force", *containers)


def descendants(pid: int) -> list[int]:
    """All living processes below a process, parents first."""
    return [one for child in children(pid) for one in (child, *descendants(child))]


def _domain(pid: int) -> set[str]:
    """By which the containers of a process are known, if it is one of a deployment."""
    with contextlib.suppress(OSError):
        variables = Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
        homes = [Path(os.fsdecode(one.partition(b"=")[2])) for one in variables if one.startswith(b"DAEMON_HOME=")]
        return {lock_domain(home) for home in homes if home.is_dir()}
    return set()


def _command(pid: int) -> str:
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/comm").read_text().strip()
    return str(pid)
