"""Makes child processes end with their parent (on Linux only)."""

from __future__ import annotations

import ctypes
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from pathlib import Path

from tasks_app.handlers.program_head import interpreter_of

_PR_SET_PDEATHSIG = 1
_prctl = ctypes.CDLL(None, use_errno=True).prctl if sys.platform == "linux" else None
#: The shell kills itself if the parent died before the signal was requested. It disables core dumps and adds no
#: variable to the environment except bash's SHLVL.
_SCRIPT = 'ulimit -c 0; unset PWD OLDPWD _; [ "$PPID" = "$0" ] || kill -9 $$; exec "$@"'
#: The names of variables that any shell passes on unchanged: it drops names that it considers invalid, and sets some
#: others itself.
_PLAIN = re.compile(
    r"(?!(LD_|BASH)|(PWD|OLDPWD|_|IFS|PPID|OPTIND|SHLVL|SHELLOPTS|ENV)$)[A-Za-z_][A-Za-z0-9_]*$", re.ASCII
)


def tied_command(command: Sequence[str], cwd: Path, environment: Mapping[str, str], parent: int) -> list[str] | None:
    """The command line that runs `command` so that it dies with process `parent` and leaves no core.

    Runs no Python in the child: in a child forked from a threaded process any lock may be held for ever, and Python
    takes some between fork and exec, as do libraries with fork handlers. None if setpriv or the shell would change what
    the handler gets, or hide why it cannot start: use `die_with_parent` then. The signal is sent when the *thread* that
    started the child ends, so start it in a thread that outlives it.
    """
    tool = find_setpriv()
    if tool is None or not all(_PLAIN.match(name) for name in environment):
        return None
    if command[0].startswith("-") or not _runs(command[0], cwd, environment["PATH"], tool):
        return None
    return [tool, "--pdeathsig", "KILL", "--", "/bin/sh", "-c", _SCRIPT, str(parent), *command]


def _runs(program: str, cwd: Path, path: str, like: str) -> bool:
    """True if the program is found and runs: an ELF file for the machine of `like`, or a script that names one."""
    folders = [""] if os.sep in program else path.split(os.pathsep)
    files = (os.path.join(cwd, folder, program) for folder in folders)
    file = next((file for file in files if os.path.isfile(file) and os.access(file, os.X_OK)), None)
    if file is None or (head := _head(file)) is None:
        return False
    if head.startswith(b"#!"):
        named = interpreter_of(head)
        interpreter = os.path.join(os.fsencode(cwd), named) if named else b""
        if not (os.path.isfile(interpreter) and os.access(interpreter, os.X_OK)):
            return False
        head = _head(interpreter) or b""
    return _machine(head) == _machine(_head(like) or b"")


def _head(file: str | bytes) -> bytes | None:
    try:
        with open(file, "rb") as opened:
            return opened.read(256)
    except OSError:
        return None


def _machine(head: bytes) -> bytes | None:
    """The machine of an ELF file: magic, word size, byte order, instruction set."""
    return head[:6] + head[18:20] if head.startswith(b"\x7fELF") else None


@cache
def find_setpriv() -> str | None:
    if sys.platform != "linux" or (tool := shutil.which("setpriv")) is None:
        return None
    tool = os.path.abspath(tool)
    words = [tool, "--pdeathsig", "KILL", "--", "/bin/sh", "-c", "ulimit -c 0"]  # fails with busybox's setpriv
    try:
        completed = subprocess.run(
            words, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, timeout=10
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return tool if completed.returncode == 0 else None


def die_with_parent(parent: int) -> Callable[[], None]:
    """A function for a child of process `parent`: called at its start, or before exec if there is no `tied_command`.

    The child gets SIGKILL when the parent dies, or when the *thread* that started it ends: see `tied_command`.
    """
    prctl, getppid, kill_signal = _prctl, os.getppid, int(signal.SIGKILL)

    def in_the_child() -> None:
        # Between fork and exec other threads' locks may be held for ever: no imports and no logging here.
        if prctl is not None:
            prctl(_PR_SET_PDEATHSIG, kill_signal, 0, 0, 0)
            if getppid() != parent:  # the parent died before the signal was requested
                os.kill(os.getpid(), kill_signal)

    return in_the_child
