"""A child process that cannot outlive the process that spawned it (Linux; elsewhere it can)."""

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

_PR_SET_PDEATHSIG = 1
_prctl = ctypes.CDLL(None, use_errno=True).prctl if sys.platform == "linux" else None
#: Ended if the parent died before we asked to be told; no core; and but for bash's SHLVL no variable is a shell's.
_SCRIPT = 'ulimit -c 0; unset PWD OLDPWD _; [ "$PPID" = "$0" ] || kill -9 $$; exec "$@"'
#: Variables that a shell hands on as they are. It drops those that are no names to it, and knows some by itself.
_PLAIN = re.compile(
    r"(?!(LD_|BASH)|(PWD|OLDPWD|_|IFS|PPID|OPTIND|SHLVL|SHELLOPTS|ENV)$)[A-Za-z_][A-Za-z0-9_]*$", re.ASCII
)


def tied(command: Sequence[str], cwd: Path, environment: Mapping[str, str], parent: int) -> list[str] | None:
    """What starts `command` so that it dies with the process `parent`, leaves no core, and runs no Python before it.

    A child of many threads may find any lock held, for ever: Python takes some between fork and exec, and so do the
    libraries that want to hear of a fork. None where it may make a difference that two programs come before, of which
    the second is a shell: then `die_with_parent` has to do, and a start that fails says why as ever. The signal comes
    when the *thread* that spawned the child ends: spawn from one that lasts.
    """
    tool = _setpriv()
    if tool is None or not all(_PLAIN.match(name) for name in environment):
        return None
    if command[0].startswith("-") or not _runs(command[0], cwd, environment["PATH"], tool):
        return None
    return [tool, "--pdeathsig", "KILL", "--", "/bin/sh", "-c", _SCRIPT, str(parent), *command]


def _runs(program: str, cwd: Path, path: str, like: str) -> bool:
    """Whether it is found and can be run: an ELF file for the machine of `like`, or a script that names such a one."""
    folders = [""] if os.sep in program else path.split(os.pathsep)
    files = (os.path.join(cwd, folder, program) for folder in folders)
    file = next((file for file in files if os.path.isfile(file) and os.access(file, os.X_OK)), None)
    if file is None or (head := _head(file)) is None:
        return False
    if head.startswith(b"#!"):
        words = head[2:].split(b"\n")[0].split()
        interpreter = os.path.join(os.fsencode(cwd), words[0]) if words else b""
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
    """What an ELF file says of the machine that it is for: magic, word size, order of bytes, instructions."""
    return head[:6] + head[18:20] if head.startswith(b"\x7fELF") else None


@cache
def _setpriv() -> str | None:
    if sys.platform != "linux" or (tool := shutil.which("setpriv")) is None:
        return None
    tool = os.path.abspath(tool)
    words = [tool, "--pdeathsig", "KILL", "--", "/bin/sh", "-c", "ulimit -c 0"]  # busybox's knows no such word
    try:
        done = subprocess.run(
            words, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, timeout=10
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return tool if done.returncode == 0 else None


def die_with_parent(parent: int) -> Callable[[], None]:
    """What a child of the process `parent` runs at its start, or before its program where it cannot be `tied`.

    SIGKILL when the parent dies, or when the *thread* of it that spawned the child ends: spawn from one that lasts.
    """
    prctl, getppid, kill_signal = _prctl, os.getppid, int(signal.SIGKILL)

    def in_the_child() -> None:
        # Between fork and exec other threads' locks may be held for ever: no imports, no logging in here.
        if prctl is not None:
            prctl(_PR_SET_PDEATHSIG, kill_signal, 0, 0, 0)
            if getppid() != parent:  # it died before we asked to be told
                os.kill(os.getpid(), kill_signal)

    return in_the_child
